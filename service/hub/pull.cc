#include "service/hub/pull.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/hub/blob_file.h"
#include "service/hub/file_selection.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr int64_t kProgressBytes = 1 << 20;  // that make a try count as none
constexpr seconds kFirstWait(1), kLongestWait(32), kLongestAskedWait(300);

// Of the file system of the nearest folder that is there.
int64_t FreeBytes(fs::path folder) {
  std::error_code error;
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  struct statvfs info = {};
  if (statvfs(folder.empty() ? "." : folder.c_str(), &info) != 0) return -1;
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

std::string Mebibytes(int64_t bytes) { return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

class Puller {
 public:
  Puller(const ModelReference& reference, HubClient& hub, const Cache& cache, const PullOptions& options)
      : reference_(reference), hub_(hub), cache_(cache), options_(options) {}

  absl::StatusOr<PulledModel> Run() {
    absl::Status status = WithRetries([&](int64_t&) {
      absl::StatusOr<HubModel> model = hub_.GetModel(reference_);
      if (!model.ok()) return model.status();
      result_.model = *std::move(model);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    if (options_.on_model) options_.on_model(result_.model);
    absl::StatusOr<FileSelection> selection = SelectFiles(result_.model, reference_.file);
    if (!selection.ok()) return selection.status();
    if (status = cache_.Prepare(reference_.repository); !status.ok()) return status;
    if (!selection->index.empty()) {
      if (status = AddFilesOfIndex(*selection); !status.ok()) return status;
    }
    if (status = Plan(selection->files); !status.ok()) return status;
    for (const HubFile& file : selection->files) {
      if (status = FetchFile(file); !status.ok()) return status;
    }
    // Only now: a snapshot that a revision points to is whole.
    if (status = cache_.WriteRef(reference_.repository, reference_.revision, result_.model.commit); !status.ok()) {
      return status;
    }
    result_.path = cache_.Snapshot(reference_.repository, result_.model.commit);
    if (!reference_.file.empty()) result_.path /= reference_.file;
    return std::move(result_);
  }

 private:
  // The index is fetched and read first; the weights' files are those that it names.
  absl::Status AddFilesOfIndex(FileSelection& selection) {
    const HubFile index = selection.index.front();
    progress_.total = index.bytes;
    if (absl::Status status = FetchFile(index); !status.ok()) return status;
    std::ifstream file(cache_.Blob(reference_.repository, index.digest), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    const absl::StatusOr<std::vector<HubFile>> weights = FilesOfIndex(result_.model, text.str());
    if (!weights.ok()) return weights.status();
    selection.files.insert(selection.files.end(), weights->begin(), weights->end());
    return absl::OkStatus();
  }

  // Counts the bytes, and checks that the disk has room for those that are missing.
  absl::Status Plan(const std::vector<HubFile>& files) {
    int64_t to_fetch = 0;
    std::map<std::string, int64_t> missing;  // by digest: files of one content are fetched once
    for (const HubFile& file : files) {
      progress_.total += file.bytes;
      const fs::path blob = cache_.Blob(reference_.repository, file.digest);
      if (BlobIsThere(blob, file.bytes)) continue;
      std::error_code error;
      const auto part = fs::file_size(absl::StrCat(blob.string(), ".incomplete"), error);
      const int64_t begun = error ? 0 : std::min(static_cast<int64_t>(part), file.bytes);
      if (missing.emplace(file.digest.hex, file.bytes).second) to_fetch += file.bytes - begun;
    }
    if (options_.on_plan) options_.on_plan(progress_.total, to_fetch);
    const int64_t free = options_.free_bytes ? options_.free_bytes(cache_.folder()) : FreeBytes(cache_.folder());
    if (free < 0 || free >= to_fetch) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat(
        reference_.repository, " needs ", Mebibytes(to_fetch), " more in ", cache_.folder().string(), ", and ",
        Mebibytes(free), " are free there; free some space, or choose another folder with HF_HUB_CACHE"));
  }

  absl::Status FetchFile(const HubFile& file) {
    PulledFile pulled{file.name, file.bytes, 0,
                      cache_.Snapshot(reference_.repository, result_.model.commit) / file.name};
    const int64_t before = progress_.done;
    progress_.file = file.name;
    if (!BlobIsThere(cache_.Blob(reference_.repository, file.digest), file.bytes)) {
      absl::StatusOr<std::unique_ptr<BlobFile>> blob =
          BlobFile::Open(cache_, reference_.repository, file, options_.interrupted,
                         [&] { Note(absl::StrCat("waiting for another process that fetches ", file.name)); });
      if (!blob.ok()) return blob.status();
      if (absl::Status status = FetchBlob(file, **blob, pulled.fetched_bytes); !status.ok()) {
        (*blob)->Flush();
        return status;
      }
    }
    progress_.done = before + file.bytes;
    if (absl::Status status = cache_.Link(reference_.repository, result_.model.commit, file); !status.ok())
      return status;
    result_.files.push_back(std::move(pulled));
    return absl::OkStatus();
  }

  absl::Status FetchBlob(const HubFile& file, BlobFile& blob, int64_t& fetched) {
    if (blob.complete()) return absl::OkStatus();
    const int64_t before = progress_.done;
    bool continues = blob.size() > 0;  // what an earlier process left: it may be wrong without this one's fault
    while (true) {
      absl::Status status = WithRetries([&](int64_t& progress) { return FetchRest(file, blob, before, progress); });
      fetched += fetched_;
      fetched_ = 0;
      if (!status.ok()) return status;
      status = blob.Finish();
      if (status.ok() || !continues) return status;
      Note(absl::StrCat("what was there of ", file.name, " does not fit the rest; fetching it anew"));
      continues = false;
    }
  }

  // One try. before: bytes of the files before this one.
  absl::Status FetchRest(const HubFile& file, BlobFile& blob, int64_t before, int64_t& progress) {
    if (blob.size() == file.bytes && file.bytes > 0) return absl::OkStatus();
    const auto receive = [&](int64_t offset, absl::string_view bytes) -> absl::Status {
      if (offset != blob.size()) {  // the server began anew
        if (absl::Status status = blob.Restart(); !status.ok()) return status;
      }
      if (absl::Status status = blob.Append(bytes); !status.ok()) return status;
      fetched_ += static_cast<int64_t>(bytes.size());
      progress += static_cast<int64_t>(bytes.size());
      progress_.done = before + blob.size();
      if (options_.on_progress) options_.on_progress(progress_);
      return Interrupted() ? absl::CancelledError("stopped") : absl::OkStatus();
    };
    const absl::Status status = hub_.GetFile(result_.model, file, blob.size(), receive);
    if (!status.ok() || blob.size() == file.bytes) return status;
    return absl::DataLossError(
        absl::StrCat(file.name, " has ", file.bytes, " bytes in the hub's list, and ", blob.size(), " came"));
  }

  // Calls `attempt` until it succeeds or fails for good; it adds what it got to its argument.
  absl::Status WithRetries(const std::function<absl::Status(int64_t&)>& attempt) {
    seconds wait = kFirstWait;
    for (int tries = 1;; ++tries) {
      if (Interrupted()) return absl::CancelledError("stopped");
      int64_t progress = 0;
      absl::Status status = attempt(progress);
      if (!absl::IsUnavailable(status)) return status;
      if (progress >= kProgressBytes) {
        tries = 1;
        wait = kFirstWait;
      }
      if (tries >= options_.max_tries) {
        return absl::UnavailableError(absl::StrCat(status.message(), "; given up after ", tries,
                                                   " tries. The same command goes on where this one ended."));
      }
      const seconds asked = RetryAfter(status);
      if (asked > kLongestAskedWait) {
        return absl::UnavailableError(absl::StrCat(status.message(), "; it asks for ", asked.count(),
                                                   " s of patience. The same command goes on where this one ended."));
      }
      const seconds now = std::max(wait, asked);
      Note(absl::StrCat(status.message(), "; trying again in ", now.count(), " s"));
      if (!Wait(now)) return absl::CancelledError("stopped");
      wait = std::min(2 * wait, kLongestWait);
    }
  }

  bool Wait(seconds time) const {
    if (options_.wait) return options_.wait(time);
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      if (Interrupted()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return true;
  }

  bool Interrupted() const { return options_.interrupted && options_.interrupted(); }

  void Note(const std::string& note) const {
    if (options_.on_note) options_.on_note(note);
  }

  const ModelReference& reference_;
  HubClient& hub_;
  const Cache& cache_;
  const PullOptions& options_;
  PulledModel result_;
  PullProgress progress_;
  int64_t fetched_ = 0;  // bytes of the blob under way
};

}  // namespace

absl::StatusOr<PulledModel> Pull(const ModelReference& reference, HubClient& hub, const Cache& cache,
                                 const PullOptions& options) {
  return Puller(reference, hub, cache, options).Run();
}

}  // namespace blazon::service::hub
