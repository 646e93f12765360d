#include "retrieval/indexer.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "retrieval/files.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

// A file that has been read: to be put, unchanged, or not readable.
struct LoadedFile {
  FoundFile found;
  size_t bytes = 0;
  bool current = false;
  absl::StatusOr<Document> document = absl::UnknownError("not read");
};

bool IsHidden(const fs::path& name) { return name.string().starts_with('.'); }

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

LoadedFile Load(const FoundFile& found, const LoaderOptions& options, const Collection& collection) {
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
  loaded.bytes = bytes->size();
  const absl::StatusOr<bool> current =
      collection.IsCurrent(found.source, found.path, ContentDigest(*bytes), ParserVersion(*format, options));
  if (current.ok() && *current) {
    loaded.current = true;
    return loaded;
  }
  loaded.document = LoadDocument(*format, *bytes, found.path, options);
  if (loaded.document.ok()) loaded.document->source = found.source;
  return loaded;
}

}  // namespace

absl::StatusOr<FoundFiles> FindFiles(absl::Span<const fs::path> paths, const std::string& source_name) {
  FoundFiles found;
  std::set<std::pair<std::string, std::string>> present;
  for (const fs::path& given : paths) {
    std::error_code error;
    const fs::path root = fs::canonical(given, error);
    if (error) return FileError("open", given, error.value());
    const bool folder = fs::is_directory(root, error);
    const std::string source = !source_name.empty() ? source_name
                               : folder             ? root.filename().string()
                                                    : root.parent_path().filename().string();
    const auto add = [&](const fs::path& file, std::string path) {
      if (present.emplace(source, path).second) found.files.push_back({file, source, std::move(path)});
    };
    if (!folder) {
      add(root, root.filename().string());
      continue;
    }
    found.sources.push_back(source);
    fs::recursive_directory_iterator walk(root, fs::directory_options::none, error), end;
    if (error) return FileError("list", root, error.value());
    while (!error && walk != end) {
      const fs::directory_entry& entry = *walk;
      std::error_code kind_error;
      if (IsHidden(entry.path().filename())) {
        if (entry.is_directory(kind_error)) walk.disable_recursion_pending();
      } else if (entry.is_regular_file(kind_error)) {
        if (FormatFromPath(entry.path()).ok()) {
          add(entry.path(), entry.path().lexically_relative(root).generic_string());
        } else {
          ++found.unsupported;
        }
      } else if (kind_error) {
        found.skipped.push_back({"", entry.path().string(), FileError("examine", entry.path(), kind_error.value())});
      }
      const fs::path at = entry.path();
      walk.increment(error);
      if (error) {  // a folder that may not be read ends the walk: say so, the rest is still to be had
        found.skipped.push_back({"", at.string(), FileError("list", at, error.value())});
      }
    }
    if (error) found.complete = false;
  }
  std::sort(found.files.begin(), found.files.end(), [](const FoundFile& a, const FoundFile& b) {
    return std::tie(a.source, a.path) < std::tie(b.source, b.path);
  });
  return found;
}

Indexer::Indexer(Collection& collection, IndexerOptions options)
    : collection_(collection), options_(std::move(options)) {}

absl::StatusOr<IndexReport> Indexer::Add(absl::Span<const fs::path> paths) {
  if (options_.loader_threads < 1 || options_.loader_threads > 64)
    return absl::InvalidArgumentError("loader_threads must be 1 to 64");
  if (options_.queue_documents < 1) return absl::InvalidArgumentError("queue_documents must be at least 1");
  IndexReport report;
  absl::StatusOr<FoundFiles> found = FindFiles(paths, options_.source);
  if (!found.ok()) return found.status();
  const std::vector<FoundFile>& files = found->files;
  report.skipped = std::move(found->skipped);
  report.unsupported = found->unsupported;

  Queue queue(static_cast<size_t>(options_.queue_documents));
  std::mutex next_mutex;
  size_t next = 0;
  std::vector<std::thread> loaders;
  for (int i = 0; i < options_.loader_threads; ++i) {
    loaders.emplace_back([&] {
      while (true) {
        size_t mine;
        {
          const std::lock_guard<std::mutex> lock(next_mutex);
          if (next == files.size()) return;
          mine = next++;
        }
        if (!queue.Push(Load(files[mine], options_.loader, collection_))) return;
      }
    });
  }
  const auto join = [&] {
    queue.Close();
    for (std::thread& loader : loaders) loader.join();
  };

  std::vector<Document> group;
  size_t group_bytes = 0;
  IndexProgress progress;
  progress.files_total = static_cast<int64_t>(files.size());
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
    progress.bytes_done += static_cast<int64_t>(loaded.bytes);
    if (loaded.current) {
      ++report.unchanged;
      if (options_.acknowledged) options_.acknowledged(id, loaded.found.path, PutOutcome::kUnchanged);
    } else if (!loaded.document.ok()) {
      report.skipped.push_back({id, loaded.found.path, loaded.document.status()});
    } else {
      for (std::string& warning : loaded.document->warnings)
        report.warnings.push_back({id, loaded.found.path, std::move(warning)});
      group_bytes += loaded.document->text.size();
      group.push_back(*std::move(loaded.document));
    }
    if (group_bytes >= options_.commit_text_bytes || i + 1 == files.size()) {
      if (absl::Status status = commit(); !status.ok()) {
        join();
        return status;
      }
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

  if (options_.prune && found->complete && !report.stopped) {
    std::set<std::pair<std::string, std::string>> present;
    for (const FoundFile& file : files) present.emplace(file.source, file.path);
    for (const std::string& source : found->sources) {
      std::vector<std::string> gone;
      std::string token;
      do {
        Filter filter;
        filter.source = source;
        absl::StatusOr<DocumentPage> page = collection_.List(1000, token, filter);
        if (!page.ok()) return page.status();
        for (const DocumentInfo& document : page->documents) {
          if (!present.contains({document.source, document.path})) gone.push_back(document.id);
        }
        token = page->next_page_token;
      } while (!token.empty());
      absl::StatusOr<int64_t> removed = collection_.Delete(gone);
      if (!removed.ok()) return removed.status();
      report.pruned += *removed;
    }
  }
  return report;
}

}  // namespace blazon::retrieval
