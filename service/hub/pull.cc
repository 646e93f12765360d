#include "service/hub/pull.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/hub/blob_file.h"
#include "service/hub/file_fetcher.h"
#include "service/hub/file_selection.h"
#include "service/hub/retries.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;
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
      : reference_(reference), hub_(hub), cache_(cache), options_(options) {
    retries_.interrupted = [this] { return failed_ || (options_.interrupted && options_.interrupted()); };
    retries_.on_note = [this](const std::string& note) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (options_.on_note) options_.on_note(note);
    };
    retries_.max_tries = options_.max_tries;
    retries_.wait = options_.wait;
  }

  absl::StatusOr<PulledModel> Run() {
    absl::Status status = WithRetries(retries_, [&](int64_t&) {
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
    if (status = FetchAll(selection->files); !status.ok()) return status;
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
    total_ = index.bytes;
    if (absl::Status status = FetchAll({index}); !status.ok()) return status;
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
      total_ += file.bytes;
      if (missing.emplace(file.digest.hex, file.bytes).second) to_fetch += file.bytes - BytesThere(file);
    }
    if (options_.on_plan) options_.on_plan(total_, to_fetch);
    const int64_t free = options_.free_bytes ? options_.free_bytes(cache_.folder()) : FreeBytes(cache_.folder());
    if (free < 0 || free >= to_fetch) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat(
        reference_.repository, " needs ", Mebibytes(to_fetch), " more in ", cache_.folder().string(), ", and ",
        Mebibytes(free), " are free there; free some space, or choose another folder with HF_HUB_CACHE"));
  }

  // How much of a file earlier attempts have left.
  int64_t BytesThere(const HubFile& file) const {
    const fs::path blob = cache_.Blob(reference_.repository, file.digest);
    if (BlobIsThere(blob, file.bytes)) return file.bytes;
    std::error_code error;
    const auto part = fs::file_size(absl::StrCat(blob.string(), ".incomplete"), error);
    return error ? 0 : std::min(static_cast<int64_t>(part), file.bytes);
  }

  // Files of one content, which are fetched once.
  struct Job {
    std::vector<size_t> files;  // their places in result_.files
    HubFile content;            // the first of them
    int64_t there = 0;          // bytes of each
    int64_t fetched = 0;
  };

  absl::Status FetchAll(const std::vector<HubFile>& files) {
    std::vector<Job> jobs;
    std::map<std::string, size_t> by_digest;
    for (const HubFile& file : files) {
      const auto [at, is_new] = by_digest.emplace(file.digest.hex, jobs.size());
      if (is_new) jobs.push_back({.files = {}, .content = file, .there = BytesThere(file)});
      jobs[at->second].files.push_back(result_.files.size());
      done_ += jobs[at->second].there;
      result_.files.push_back(
          {file.name, file.bytes, 0, cache_.Snapshot(reference_.repository, result_.model.commit) / file.name});
    }
    if (options_.on_progress && !jobs.empty()) options_.on_progress({done_, total_, jobs.front().content.name});
    const auto at_once = std::min(jobs.size(), static_cast<size_t>(std::max(1, options_.files_at_once)));
    std::atomic<size_t> next = 0;
    const auto work = [&](HubClient& hub) {
      FileFetcher fetcher(result_.model, hub, cache_, retries_);
      for (size_t job = next++; job < jobs.size() && !failed_; job = next++) {
        if (absl::Status status = Finish(fetcher, jobs[job]); !status.ok()) Fail(std::move(status));
      }
    };
    std::vector<std::unique_ptr<HttpClient>> connections;
    std::vector<std::thread> workers;
    for (size_t i = 1; i < at_once && options_.connect; ++i) {
      connections.push_back(options_.connect());
      workers.emplace_back([&work, hub = hub_.Over(connections.back().get())]() mutable { work(hub); });
    }
    work(hub_);
    for (std::thread& worker : workers) worker.join();
    return error_;
  }

  // Fetches a content and gives it its names.
  absl::Status Finish(FileFetcher& fetcher, Job& job) {
    const auto show = [&](int64_t there) {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ += (there - job.there) * static_cast<int64_t>(job.files.size());
      job.there = there;
      if (options_.on_progress) options_.on_progress({done_, total_, job.content.name});
    };
    if (absl::Status status = fetcher.Fetch(job.content, show, job.fetched); !status.ok()) return status;
    for (const size_t place : job.files) {
      HubFile named = job.content;
      named.name = result_.files[place].name;
      if (absl::Status status = cache_.Link(reference_.repository, result_.model.commit, named); !status.ok())
        return status;
    }
    result_.files[job.files.front()].fetched_bytes = job.fetched;
    show(job.content.bytes);
    return absl::OkStatus();
  }

  // The first error counts; those of files that it stopped do not.
  void Fail(absl::Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error_.ok()) error_ = std::move(status);
    failed_ = true;
  }

  const ModelReference& reference_;
  HubClient& hub_;
  const Cache& cache_;
  const PullOptions& options_;
  RetryOptions retries_;
  PulledModel result_;  // each worker writes to the files of its jobs alone
  int64_t total_ = 0;   // bytes of all files

  std::mutex mutex_;  // for what follows, and the calls of options_.on_...
  int64_t done_ = 0;  // bytes that are there
  absl::Status error_;
  std::atomic<bool> failed_ = false;
};

}  // namespace

absl::StatusOr<PulledModel> Pull(const ModelReference& reference, HubClient& hub, const Cache& cache,
                                 const PullOptions& options) {
  return Puller(reference, hub, cache, options).Run();
}

}  // namespace blazon::service::hub
