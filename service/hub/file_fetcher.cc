#include "service/hub/file_fetcher.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "service/hub/blob_file.h"

namespace blazon::service::hub {

absl::Status FileFetcher::Fetch(const HubFile& file, const std::function<void(int64_t there)>& on_bytes,
                                int64_t& fetched) {
  if (BlobIsThere(cache_.Blob(model_.repository, file.digest), file.bytes)) return absl::OkStatus();
  const auto note = [&](const std::string& text) {
    if (options_.on_note) options_.on_note(text);
  };
  const absl::StatusOr<std::unique_ptr<BlobFile>> opened =
      BlobFile::Open(cache_, model_.repository, file, options_.interrupted,
                     [&] { note(absl::StrCat("waiting for another process that fetches ", file.name)); });
  if (!opened.ok()) return opened.status();
  BlobFile& blob = **opened;
  if (blob.complete()) return absl::OkStatus();

  const auto rest = [&](int64_t& progress) -> absl::Status {
    if (blob.size() == file.bytes && file.bytes > 0) return absl::OkStatus();
    const auto receive = [&](int64_t offset, absl::string_view bytes) -> absl::Status {
      if (offset != blob.size()) {  // the server began anew
        if (absl::Status status = blob.Restart(); !status.ok()) return status;
      }
      if (absl::Status status = blob.Append(bytes); !status.ok()) return status;
      fetched += static_cast<int64_t>(bytes.size());
      progress += static_cast<int64_t>(bytes.size());
      on_bytes(blob.size());
      return options_.interrupted && options_.interrupted() ? absl::CancelledError("stopped") : absl::OkStatus();
    };
    const absl::Status status = hub_.GetFile(model_, file, blob.size(), receive);
    if (!status.ok() || blob.size() == file.bytes) return status;
    return absl::DataLossError(
        absl::StrCat(file.name, " has ", file.bytes, " bytes in the hub's list, and ", blob.size(), " came"));
  };
  bool continues = blob.size() > 0;  // what an earlier process left: it may be wrong without this one's fault
  while (true) {
    absl::Status status = WithRetries(options_, rest);
    if (!status.ok()) {
      blob.Flush();
      return status;
    }
    status = blob.Finish();
    if (status.ok() || !continues) return status;
    note(absl::StrCat("what was there of ", file.name, " does not fit the rest; fetching it anew"));
    continues = false;
  }
}

}  // namespace blazon::service::hub
