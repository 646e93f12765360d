#include "retrieval/indexer.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "retrieval/near_duplicates.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

// A file that has been read: to be put, or not readable.
struct LoadedFile {
  FoundFile found;
  absl::StatusOr<Document> document = absl::UnknownError("not read");
};

// Documents on their way from the loaders to the committer; a loader that is too far ahead waits.
class Queue {
 public:
  explicit Queue(size_t limit) : limit_(limit) {}
  // False: nobody will read any more.
  bool Push(LoadedFile file) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || files_.size() < limit_; });
    if (closed_) return false;
    files_.push_back(std::move(file));
    changed_.notify_all();
    return true;
  }
  // Waits for a file.
  LoadedFile Pop() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !files_.empty(); });
    LoadedFile file = std::move(files_.front());
    files_.pop_front();
    changed_.notify_all();
    return file;
  }
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  const size_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<LoadedFile> files_;
  bool closed_ = false;
};

LoadedFile Load(const FoundFile& found, const LoaderOptions& options) {
  LoadedFile loaded{found};
  absl::StatusOr<DocumentFormat> format = FormatFromPath(found.path);
  if (!format.ok()) {
    loaded.document = format.status();
    return loaded;
  }
  absl::StatusOr<std::string> bytes = ReadDocumentFile(found.file, options.limits);
  if (!bytes.ok()) {
    loaded.document = bytes.status();
    return loaded;
  }
  loaded.document = LoadDocument(*format, *bytes, found.path, options);
  if (loaded.document.ok()) loaded.document->source = found.source;
  return loaded;
}

absl::Status Refusal(const SkippedFile& skipped) {
  return absl::FailedPreconditionError(
      absl::StrCat(skipped.path, " cannot be read, and --strict ends there: ", skipped.reason.message()));
}

}  // namespace

Indexer::Indexer(Collection& collection, IndexerOptions options)
    : collection_(collection), options_(std::move(options)) {}

absl::StatusOr<IndexReport> Indexer::Add(absl::Span<const fs::path> paths) {
  PlanOptions planning;
  planning.find = options_.find;
  planning.loader = options_.loader;
  planning.metadata = options_.metadata;
  planning.language = options_.language;
  planning.threads = options_.loader_threads;
  planning.cache = options_.cache;
  if (options_.progress) {
    planning.progress = [this](int64_t done, int64_t total, const std::string& path) {
      return options_.progress({false, done, total, 0, 0, path});
    };
  }
  absl::StatusOr<SyncPlan> plan = PlanSync(&collection_, paths, planning);
  if (!plan.ok()) return plan.status();
  return Apply(*plan);
}

absl::StatusOr<IndexReport> Indexer::Apply(const SyncPlan& plan) {
  if (options_.loader_threads < 1 || options_.loader_threads > 64)
    return absl::InvalidArgumentError("loader_threads must be 1 to 64");
  if (options_.queue_documents < 1) return absl::InvalidArgumentError("queue_documents must be at least 1");
  if (options_.near_duplicates != 0 && !(options_.near_duplicates >= 0.5 && options_.near_duplicates <= 1))
    return absl::InvalidArgumentError("near_duplicates must be 0, or 0.5 to 1");
  IndexReport report;
  report.gone = plan.gone;
  report.skipped = plan.skipped;
  report.unsupported = plan.unsupported;
  report.left_out = plan.left_out;
  report.stopped = plan.stopped;
  if (options_.strict && !report.skipped.empty()) return Refusal(report.skipped[0]);
  if (report.stopped) return report;

  std::vector<const PlannedFile*> files;  // to be indexed
  std::vector<std::string> folded;        // documents of what has become a duplicate
  IndexProgress progress;
  progress.indexing = true;
  for (const PlannedFile& file : plan.files) {
    const std::string id = DocumentId(file.found.source, file.found.path);
    switch (file.state) {
      case FileState::kUnchanged:
        ++report.unchanged;
        if (options_.acknowledged) options_.acknowledged(id, file.found.path, PutOutcome::kUnchanged);
        break;
      case FileState::kDuplicate:
        report.duplicates.push_back({id, file.found.path, file.duplicate_of});
        if (file.has_document) folded.push_back(id);
        break;
      case FileState::kNew:
      case FileState::kChanged:
        files.push_back(&file);
        progress.bytes_total += file.bytes;
        break;
    }
  }
  progress.files_total = static_cast<int64_t>(files.size());

  Queue queue(static_cast<size_t>(options_.queue_documents));
  std::mutex next_mutex;
  size_t next = 0;
  std::vector<std::thread> loaders;
  for (int i = 0; i < options_.loader_threads && !files.empty(); ++i) {
    loaders.emplace_back([&] {
      while (true) {
        size_t mine;
        {
          const std::lock_guard<std::mutex> lock(next_mutex);
          if (next == files.size()) return;
          mine = next++;
        }
        if (!queue.Push(Load(files[mine]->found, options_.loader))) return;
      }
    });
  }
  const auto join = [&] {
    queue.Close();
    for (std::thread& loader : loaders) loader.join();
  };
  std::map<std::string, int64_t> bytes;  // by document id
  for (const PlannedFile* file : files) bytes[DocumentId(file->found.source, file->found.path)] = file->bytes;

  std::vector<Document> group;
  size_t group_bytes = 0;
  const auto commit = [&]() -> absl::Status {
    if (group.empty()) return absl::OkStatus();
    const absl::StatusOr<std::vector<PutOutcome>> outcomes = collection_.Put(group);
    if (!outcomes.ok()) return outcomes.status();
    for (size_t i = 0; i < group.size(); ++i) {
      ++((*outcomes)[i] == PutOutcome::kAdded      ? report.added
         : (*outcomes)[i] == PutOutcome::kReplaced ? report.replaced
                                                   : report.unchanged);
      if (options_.acknowledged)
        options_.acknowledged(DocumentId(group[i].source, group[i].path), group[i].path, (*outcomes)[i]);
    }
    group.clear();
    group_bytes = 0;
    return absl::OkStatus();
  };
  for (size_t i = 0; i < files.size() && !report.stopped; ++i) {
    LoadedFile loaded = queue.Pop();
    const std::string id = DocumentId(loaded.found.source, loaded.found.path);
    progress.path = loaded.found.path;
    progress.bytes_done += bytes[id];
    absl::Status status;
    if (!loaded.document.ok()) {
      report.skipped.push_back({id, loaded.found.path, loaded.document.status()});
      if (options_.strict) status = Refusal(report.skipped.back());
    } else {
      for (std::string& warning : loaded.document->warnings)
        report.warnings.push_back({id, loaded.found.path, std::move(warning)});
      for (const auto& [name, value] : options_.metadata) loaded.document->metadata[name] = value;
      loaded.document->language = options_.language;
      group_bytes += loaded.document->text.size();
      group.push_back(*std::move(loaded.document));
    }
    if (status.ok() && (group_bytes >= options_.commit_text_bytes || i + 1 == files.size())) status = commit();
    if (!status.ok()) {
      join();
      return status;
    }
    ++progress.files_done;
    if (options_.progress && !options_.progress(progress)) report.stopped = true;
  }
  join();
  if (absl::Status status = commit(); !status.ok()) return status;
  std::sort(report.skipped.begin(), report.skipped.end(),
            [](const SkippedFile& a, const SkippedFile& b) { return a.path < b.path; });
  std::stable_sort(report.warnings.begin(), report.warnings.end(),
                   [](const FileWarning& a, const FileWarning& b) { return a.path < b.path; });
  if (report.stopped) return report;

  std::vector<std::string> gone;
  if (options_.prune) {
    for (const DocumentInfo& document : plan.gone) gone.push_back(document.id);
  }
  // Together, so that a document whose file has moved is not twice, or never, for longer than need be.
  std::vector<std::string> removed = gone;
  removed.insert(removed.end(), folded.begin(), folded.end());
  if (!removed.empty()) {
    if (absl::StatusOr<int64_t> count = collection_.Delete(removed); !count.ok()) return count.status();
    report.pruned = static_cast<int64_t>(gone.size());
  }
  if (options_.near_duplicates > 0 && report.added + report.replaced > 0) {
    absl::StatusOr<std::vector<NearDuplicateFiles>> near = FindNearDuplicates(plan);
    if (!near.ok()) return near.status();
    report.near_duplicates = *std::move(near);
  }
  return report;
}

absl::StatusOr<std::vector<NearDuplicateFiles>> Indexer::FindNearDuplicates(const SyncPlan& plan) const {
  std::set<std::string> sources, fresh;  // fresh: ids of new and changed documents
  for (const PlannedFile& file : plan.files) {
    sources.insert(file.found.source);
    if (file.state == FileState::kNew || file.state == FileState::kChanged)
      fresh.insert(DocumentId(file.found.source, file.found.path));
  }
  NearDuplicates near;
  std::vector<DocumentInfo> documents;
  const auto text_of = [&](size_t number) -> absl::StatusOr<std::string> {
    absl::StatusOr<Document> document = collection_.Get(documents[number].id);
    if (!document.ok()) return document.status();
    return std::move(document->text);
  };
  for (const std::string& source : sources) {
    Filter filter;
    filter.source = source;
    std::string token;
    do {
      absl::StatusOr<DocumentPage> page = collection_.List(1000, token, filter);
      if (!page.ok()) return page.status();
      for (DocumentInfo& document : page->documents) {
        documents.push_back(std::move(document));
        absl::StatusOr<std::string> text = text_of(documents.size() - 1);
        if (!text.ok()) return text.status();
        near.Add(*text);
      }
      token = page->next_page_token;
    } while (!token.empty());
  }
  absl::StatusOr<std::vector<NearDuplicate>> pairs = near.Find(options_.near_duplicates, text_of);
  if (!pairs.ok()) return pairs.status();
  std::vector<NearDuplicateFiles> found;
  for (const NearDuplicate& pair : *pairs) {
    const DocumentInfo &first = documents[pair.first], &second = documents[pair.second];
    if (fresh.contains(first.id) || fresh.contains(second.id))
      found.push_back({first.path, second.path, pair.similarity});
  }
  return found;
}

}  // namespace blazon::retrieval
