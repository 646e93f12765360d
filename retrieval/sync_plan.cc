#include "retrieval/sync_plan.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "retrieval/files.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSettledNs = 2000000000;

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * int64_t{1000000000} + time.tv_nsec; }

// What is known of one file after it was looked at.
struct Examined {
  absl::Status status;
  DigestCache::Entry entry;
  bool settled = false;  // the entry may be kept
};

Examined Examine(const FoundFile& found, const DigestCache::Entry* known, const LoaderLimits& limits) {
  Examined examined;
  struct stat before {};
  if (stat(found.file.c_str(), &before) != 0) {
    examined.status = FileError("examine", found.file, errno);
    return examined;
  }
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  DigestCache::Entry& entry = examined.entry;
  entry.size = before.st_size;
  entry.inode = static_cast<int64_t>(before.st_ino);
  entry.modified_ns = Nanoseconds(before.st_mtim);
  entry.changed_ns = Nanoseconds(before.st_ctim);
  if (known && known->size == entry.size && known->inode == entry.inode && known->modified_ns == entry.modified_ns &&
      known->changed_ns == entry.changed_ns) {
    entry.digest = known->digest;
    return examined;
  }
  absl::StatusOr<std::string> bytes = ReadDocumentFile(found.file, limits);
  if (!bytes.ok()) {
    examined.status = bytes.status();
    return examined;
  }
  entry.size = static_cast<int64_t>(bytes->size());
  entry.digest = ContentDigest(*bytes);
  examined.settled = entry.size == before.st_size && entry.changed_ns + kSettledNs < Nanoseconds(now) &&
                     entry.modified_ns + kSettledNs < Nanoseconds(now);
  return examined;
}

// Whether a document has the metadata and the language that all are to have.
bool HasAsked(const DocumentInfo& document, const PlanOptions& options) {
  if (!options.language.empty() && document.language != options.language) return false;
  return std::all_of(options.metadata.begin(), options.metadata.end(), [&document](const auto& asked) {
    const auto found = document.metadata.find(asked.first);
    return found != document.metadata.end() && found->second == asked.second;
  });
}

}  // namespace

const DigestCache::Entry* DigestCache::Find(const fs::path& file) const {
  const auto found = entries_.find(file);
  return found == entries_.end() ? nullptr : &found->second;
}

void DigestCache::Keep(const fs::path& file, Entry entry) { entries_[file] = std::move(entry); }

absl::StatusOr<SyncPlan> PlanSync(const Collection* collection, absl::Span<const fs::path> paths,
                                  const PlanOptions& options) {
  if (options.threads < 1 || options.threads > 64) return absl::InvalidArgumentError("threads must be 1 to 64");
  absl::StatusOr<FoundFiles> found = FindFiles(paths, options.find);
  if (!found.ok()) return found.status();
  SyncPlan plan;
  plan.skipped = std::move(found->skipped);
  plan.unsupported = found->unsupported;
  plan.left_out = found->left_out;
  plan.complete = found->complete;
  const std::vector<FoundFile>& files = found->files;

  // The calling thread tells of progress, the others read.
  std::vector<Examined> examined(files.size());
  std::vector<const DigestCache::Entry*> known(files.size());
  for (size_t i = 0; options.cache && i < files.size(); ++i) known[i] = options.cache->Find(files[i].file);
  std::atomic<bool> stopped = false;
  {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<bool> done(files.size());
    std::atomic<size_t> next = 0;
    std::vector<std::thread> readers;
    for (int t = 0; t < options.threads; ++t) {
      readers.emplace_back([&] {
        for (size_t i; !stopped && (i = next++) < files.size();) {
          examined[i] = Examine(files[i], known[i], options.loader.limits);
          const std::lock_guard<std::mutex> lock(mutex);
          done[i] = true;
          changed.notify_one();
        }
      });
    }
    for (size_t i = 0; i < files.size() && !stopped; ++i) {
      {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return done[i]; });
      }
      if (options.progress &&
          !options.progress(static_cast<int64_t>(i + 1), static_cast<int64_t>(files.size()), files[i].path))
        stopped = true;
    }
    for (std::thread& reader : readers) reader.join();
  }
  if (stopped) {
    plan.stopped = true;
    return plan;
  }

  // The documents that there are, of all sources in question.
  std::map<std::pair<std::string, std::string>, DocumentInfo> documents;
  std::set<std::string> sources(found->sources.begin(), found->sources.end());
  for (const FoundFile& file : files) sources.insert(file.source);
  for (const std::string& source : sources) {
    Filter filter;
    filter.source = source;
    std::string token;
    while (collection) {
      absl::StatusOr<DocumentPage> page = collection->List(1000, token, filter);
      if (!page.ok()) return page.status();
      for (DocumentInfo& document : page->documents) {
        const std::pair<std::string, std::string> key(document.source, document.path);
        documents.emplace(key, std::move(document));
      }
      token = page->next_page_token;
      if (token.empty()) break;
    }
  }

  std::map<std::string, std::vector<size_t>> same;  // digest and parser -> places in plan.files
  for (size_t i = 0; i < files.size(); ++i) {
    const FoundFile& file = files[i];
    absl::StatusOr<DocumentFormat> format = FormatFromPath(file.path);
    const absl::Status status = examined[i].status.ok() ? format.status() : examined[i].status;
    const auto document = documents.find({file.source, file.path});
    if (!status.ok()) {
      plan.skipped.push_back({DocumentId(file.source, file.path), file.path, status});
    } else {
      const DigestCache::Entry& entry = examined[i].entry;
      if (options.cache && examined[i].settled) options.cache->Keep(file.file, entry);
      const std::string parser = ParserVersion(*format, options.loader);
      PlannedFile& planned = plan.files.emplace_back();
      planned.found = file;
      planned.bytes = entry.size;
      planned.has_document = document != documents.end();
      planned.state = planned.has_document ? FileState::kChanged : FileState::kNew;
      if (planned.has_document && document->second.content_digest == entry.digest &&
          document->second.parser == parser) {
        const absl::StatusOr<bool> current = collection->IsCurrent(file.source, file.path, entry.digest, parser);
        if (!current.ok()) return current.status();
        if (*current && HasAsked(document->second, options)) planned.state = FileState::kUnchanged;
      }
      same[absl::StrCat(entry.digest, " ", parser)].push_back(plan.files.size() - 1);
    }
    if (document != documents.end()) documents.erase(document);
  }
  for (const auto& [key, places] : same) {
    if (places.size() < 2) continue;
    size_t first = places[0];
    for (const size_t place : places) {
      if (plan.files[place].state == FileState::kUnchanged) {
        first = place;
        break;
      }
    }
    const FoundFile& original = plan.files[first].found;
    for (const size_t place : places) {
      if (place == first) continue;
      PlannedFile& duplicate = plan.files[place];
      duplicate.state = FileState::kDuplicate;
      duplicate.duplicate_of =
          duplicate.found.source == original.source ? original.path : absl::StrCat(original.source, "/", original.path);
    }
  }
  if (plan.complete) {
    const std::set<std::string> roots(found->sources.begin(), found->sources.end());
    for (auto& [key, document] : documents) {
      if (roots.contains(key.first)) plan.gone.push_back(std::move(document));
    }
  }
  return plan;
}

}  // namespace blazon::retrieval
