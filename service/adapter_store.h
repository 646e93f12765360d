// The low-rank adapters of one language model, by name: loaded and unloaded while requests run.
//
// A request holds its adapter for as long as it runs; one that is unloaded meanwhile goes when the last request lets it
// go. Thread safety: every method may be called from any thread. Loads take turns; they keep no request waiting.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::language {
struct Adapter;
class LanguageModel;
}  // namespace blazon::language

namespace blazon::service {

struct AdapterStoreOptions {
  // Load reads adapters that lie in these, and nothing else on this machine. None: nothing can be loaded.
  std::vector<std::filesystem::path> folders;
  int max_adapters = 16;                    // loaded at once, 1 .. 1024; the default one is not counted
  int64_t max_bytes = int64_t{1024} << 20;  // of memory, of all that were loaded and are still in use; at least 1
};

struct AdapterInfo {
  std::string name;    // what requests call it
  std::string source;  // as Load was told; for the default one the folder's own name
  std::string digest;  // "sha256:..." over adapter_config.json and adapter_model.safetensors
  int64_t rank = 0;    // the largest of its layers
  int64_t layers = 0;  // linear layers that it updates
  int64_t bytes = 0;   // of memory
  bool is_default = false;
};

// Both empty: the model without an adapter.
struct ChosenAdapter {
  AdapterInfo info;
  std::shared_ptr<const language::Adapter> weights;
};

class AdapterStore {
 public:
  // kInvalidArgument: a limit out of range. kNotFound: a folder is not there.
  static absl::Status Check(const AdapterStoreOptions& options);

  explicit AdapterStore(AdapterStoreOptions options) : options_(std::move(options)) {}  // for which Check is OK

  // Reads the adapter in `folder`, wherever it lies, and makes it what requests that name none go through. It stays for
  // good. Once, before requests run. Errors: as ReadAdapter (service/checkpoint/adapter_folder.h).
  absl::Status LoadDefault(const std::filesystem::path& folder, const language::LanguageModel& model);

  // Loads the adapter in the folder `source`, a relative path within one of options.folders (the first that has it), as
  // `name`; empty: the last part of `source`. Where that name is loaded from the same bytes already nothing changes;
  // from others it is refused, or with `replace` exchanged: requests that run go on with the old one.
  // kInvalidArgument: source or name is not of the form, or the adapter is not one for this model; kFailedPrecondition:
  // there are no folders; kNotFound: no such folder, the message lists those that there are; kPermissionDenied: a link
  // leads out of the folders; kAlreadyExists; kResourceExhausted: max_adapters or max_bytes would be passed;
  // kUnimplemented and kDataLoss as ReadAdapter. After an error nothing has changed.
  // `model` is asked for the language model once the request is known to be of the form.
  using GetModel = std::function<absl::StatusOr<const language::LanguageModel*>()>;
  absl::StatusOr<AdapterInfo> Load(const std::string& source, const std::string& name, bool replace,
                                   const GetModel& model);

  // Requests that run with it go on; later ones that name it are refused. kNotFound: as Choose. kFailedPrecondition: it
  // is the default one.
  absl::StatusOr<AdapterInfo> Unload(std::string_view name);

  // What a request goes through. Not set: the default adapter, or none where there is none. Empty: none.
  // kNotFound: there is none of this name; the message lists those that there are.
  absl::StatusOr<ChosenAdapter> Choose(const std::optional<std::string>& name) const;

  // By name, the default one included.
  std::vector<AdapterInfo> List() const;

  // The adapters in options.folders, as Load takes them: folders with an adapter_config.json, by name; at most 1,000.
  std::vector<std::string> Sources() const;

 private:
  absl::Status CheckRoom(const std::string& name, int64_t bytes) const;  // with mutex_ held
  absl::Status NotLoaded(std::string_view name) const;                   // with mutex_ held

  const AdapterStoreOptions options_;
  std::mutex loading_;  // before mutex_
  mutable std::mutex mutex_;
  std::map<std::string, ChosenAdapter, std::less<>> loaded_;
  std::string default_;  // its name in loaded_; empty: none
  // What was unloaded, with its bytes, as long as requests hold it.
  std::vector<std::pair<std::weak_ptr<const language::Adapter>, int64_t>> retired_;
};

}  // namespace blazon::service
