#include "service/adapter_store.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/quoted.h"
#include "service/checkpoint/weights_digest.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxAdapterName = 128;
constexpr size_t kMaxAdapterSource = 1024;
constexpr size_t kMaxListedSources = 1000;
constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kAdapterWeights = "adapter_model.safetensors";

absl::Status CheckAdapterName(const std::string& name) {
  const bool characters = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
  if (!name.empty() && name.size() <= kMaxAdapterName && characters && name[0] != '.') return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("name is ", Quoted(name), "; it must be 1 to ", kMaxAdapterName,
                                                 " letters, digits, '.', '_' or '-' and begin with no dot"));
}

absl::Status CheckAdapterSource(const std::string& source) {
  const fs::path path(source);
  bool good = !source.empty() && source.size() <= kMaxAdapterSource && source.find('\0') == std::string::npos &&
              path.is_relative();
  for (const fs::path& part : path) good = good && part != ".." && part != "." && !part.empty();
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("source is ", Quoted(source),
                   "; it must be the path of a folder relative to one of those that adapters are loaded from, without "
                   "'.' and '..'"));
}

// The linear layers and the memory of an adapter.
AdapterInfo Describe(const language::Adapter& adapter, const std::string& source) {
  AdapterInfo info;
  info.name = adapter.name;
  info.source = source;
  info.layers = static_cast<int64_t>(adapter.modules.size());
  for (const auto& [module, weights] : adapter.modules) {
    info.rank = std::max(info.rank, weights.a.size(0));
    info.bytes += static_cast<int64_t>(weights.a.nbytes() + weights.b.nbytes());
  }
  return info;
}

// The digest of both files, so that one adapter with another scale is another one.
absl::StatusOr<std::string> DigestOf(const fs::path& folder) {
  return WeightsDigest({folder / kAdapterConfig, folder / kAdapterWeights}).Get();
}

}  // namespace

absl::Status AdapterStore::Check(const AdapterStoreOptions& options) {
  if (options.max_adapters < 1 || options.max_adapters > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_adapters is ", options.max_adapters, "; its range is 1 to 1024"));
  }
  if (options.max_bytes < 1)
    return absl::InvalidArgumentError(absl::StrCat("the limit of adapters' bytes is ", options.max_bytes));
  for (const fs::path& folder : options.folders) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) {
      return absl::NotFoundError(absl::StrCat("there is no folder ", folder.string(),
                                              "; --adapters names one that adapters may be loaded from"));
    }
  }
  return absl::OkStatus();
}

absl::Status AdapterStore::LoadDefault(const fs::path& folder, const language::LanguageModel& model) {
  absl::StatusOr<std::shared_ptr<language::Adapter>> adapter = ReadAdapter(folder, model);
  if (!adapter.ok()) return adapter.status();
  AdapterInfo info = Describe(**adapter, (*adapter)->name);
  absl::StatusOr<std::string> digest = DigestOf(folder);
  if (!digest.ok()) return digest.status();
  info.digest = *std::move(digest);
  info.is_default = true;
  const std::lock_guard lock(mutex_);
  default_ = info.name;
  loaded_[info.name] = {info, *std::move(adapter)};
  return absl::OkStatus();
}

absl::Status AdapterStore::CheckRoom(const std::string& name, int64_t bytes) const {
  int count = 0;
  int64_t used = 0, of_unloaded = 0;
  for (const auto& [other, each] : loaded_) {
    if (other == default_ || other == name) continue;
    ++count;
    used += each.info.bytes;
  }
  if (count >= options_.max_adapters) {
    return absl::ResourceExhaustedError(absl::StrCat(count, " adapters are loaded, and the limit is ",
                                                     options_.max_adapters,
                                                     "; unload one, or start the server with a larger --max-adapters"));
  }
  for (const auto& [weights, size] : retired_) of_unloaded += weights.expired() ? 0 : size;
  if (bytes <= options_.max_bytes - used - of_unloaded) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "adapter ", Quoted(name), " takes ", bytes, " bytes, the others ", used,
      of_unloaded > 0 ? absl::StrCat(", unloaded ones that requests still use ", of_unloaded) : std::string(),
      ", and the limit of all is ", options_.max_bytes,
      "; unload one, or start the server with a larger --max-adapter-mib"));
}

absl::Status AdapterStore::NotLoaded(std::string_view name) const {
  std::vector<std::string> names;
  for (const auto& [each, adapter] : loaded_) names.push_back(each);
  return absl::NotFoundError(absl::StrCat("adapter ", Quoted(std::string(name)), " is not loaded; ",
                                          names.empty() ? "none is" : "loaded are " + absl::StrJoin(names, ", ")));
}

absl::StatusOr<AdapterInfo> AdapterStore::Load(const std::string& source, const std::string& name_given, bool replace,
                                               const GetModel& get_model) {
  if (absl::Status status = CheckAdapterSource(source); !status.ok()) return status;
  const std::string name = name_given.empty() ? fs::path(source).filename().string() : name_given;
  if (absl::Status status = CheckAdapterName(name); !status.ok()) return status;
  if (options_.folders.empty()) {
    return absl::FailedPreconditionError(
        "this server loads no adapters; start it with --adapters DIR, the folder that they may be loaded from");
  }
  std::error_code error;
  const auto root = std::find_if(options_.folders.begin(), options_.folders.end(),
                                 [&](const fs::path& folder) { return fs::is_directory(folder / source, error); });
  if (root == options_.folders.end()) {
    const std::vector<std::string> sources = Sources();
    return absl::NotFoundError(
        absl::StrCat("source ", Quoted(source), " is no folder of those that adapters are loaded from; ",
                     sources.empty() ? "there is no adapter in them" : "there are " + absl::StrJoin(sources, ", ")));
  }
  const fs::path within = fs::canonical(*root, error);
  const fs::path folder = fs::canonical(*root / source, error);
  if (error || std::mismatch(within.begin(), within.end(), folder.begin(), folder.end()).first != within.end()) {
    return absl::PermissionDeniedError(
        absl::StrCat("source ", Quoted(source), " is a link that leads out of the folder of adapters"));
  }

  const absl::StatusOr<const language::LanguageModel*> model = get_model();
  if (!model.ok()) return model.status();
  const std::lock_guard one_load(loading_);
  const auto bytes_on_disk = static_cast<int64_t>(fs::file_size(folder / kAdapterWeights, error));
  {
    const std::lock_guard lock(mutex_);
    if (name == default_) {
      return absl::AlreadyExistsError(absl::StrCat(
          "adapter ", Quoted(name), " is the one that the server was started with; give this one another name"));
    }
    if (absl::Status status = CheckRoom(name, error ? 0 : bytes_on_disk / 2); !status.ok()) return status;
  }
  absl::StatusOr<std::shared_ptr<language::Adapter>> adapter = ReadAdapter(folder, **model);
  absl::StatusOr<std::string> digest = adapter.ok() ? DigestOf(folder) : adapter.status();
  if (!digest.ok()) {  // without where the folder lies on this machine
    return absl::Status(digest.status().code(),
                        absl::StrReplaceAll(digest.status().message(), {{folder.string(), source}}));
  }
  (*adapter)->name = name;
  ChosenAdapter chosen = {Describe(**adapter, source), *std::move(adapter)};
  chosen.info.digest = *std::move(digest);

  const std::lock_guard lock(mutex_);
  const auto old = loaded_.find(name);
  if (old != loaded_.end() && old->second.info.digest == chosen.info.digest) return old->second.info;
  if (old != loaded_.end() && !replace) {
    return absl::AlreadyExistsError(absl::StrCat("adapter ", Quoted(name), " is loaded from ",
                                                 Quoted(old->second.info.source),
                                                 " with other contents; unload it first, or ask to replace it"));
  }
  if (absl::Status status = CheckRoom(name, chosen.info.bytes); !status.ok()) return status;
  std::erase_if(retired_, [](const auto& each) { return each.first.expired(); });
  if (old != loaded_.end()) retired_.emplace_back(old->second.weights, old->second.info.bytes);
  const AdapterInfo info = chosen.info;
  loaded_.insert_or_assign(name, std::move(chosen));
  return info;
}

absl::StatusOr<AdapterInfo> AdapterStore::Unload(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = loaded_.find(name);
  if (found == loaded_.end()) return NotLoaded(name);
  if (name == default_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "adapter ", Quoted(default_), " is the one that the server was started with, and stays as long as it runs"));
  }
  std::erase_if(retired_, [](const auto& each) { return each.first.expired(); });
  retired_.emplace_back(found->second.weights, found->second.info.bytes);
  AdapterInfo info = std::move(found->second.info);
  loaded_.erase(found);
  return info;
}

absl::StatusOr<ChosenAdapter> AdapterStore::Choose(const std::optional<std::string>& name) const {
  const std::lock_guard lock(mutex_);
  const std::string& chosen = name.has_value() ? *name : default_;
  if (chosen.empty()) return ChosenAdapter();
  const auto found = loaded_.find(chosen);
  if (found == loaded_.end()) return NotLoaded(chosen);
  return found->second;
}

std::vector<AdapterInfo> AdapterStore::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<AdapterInfo> adapters;
  for (const auto& [name, adapter] : loaded_) adapters.push_back(adapter.info);
  return adapters;
}

std::vector<std::string> AdapterStore::Sources() const {
  std::vector<std::string> sources;
  for (const fs::path& folder : options_.folders) {
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
      std::error_code unreadable;
      if (sources.size() < kMaxListedSources && fs::exists(entry->path() / kAdapterConfig, unreadable))
        sources.push_back(entry->path().filename().string());
    }
  }
  std::sort(sources.begin(), sources.end());
  sources.erase(std::unique(sources.begin(), sources.end()), sources.end());
  return sources;
}

}  // namespace blazon::service
