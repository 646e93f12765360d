// Files and folders into a collection: compare, then read and parse beside embedding, commit in groups, fold files of
// the same bytes, skip what cannot be read and say so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/collection.h"
#include "retrieval/document_loader.h"
#include "retrieval/find_files.h"
#include "retrieval/sync_plan.h"

namespace blazon::retrieval {

// What a person should know of a file that was indexed (Document::warnings).
struct FileWarning {
  std::string id;
  std::string path;
  std::string text;
};

// Two files of the same bytes: the first is not in the collection, the second stands for it.
struct DuplicateFile {
  std::string id;  // of the document that it would be
  std::string path, same_as;
};

// Two documents that are nearly the same; both are in the collection.
struct NearDuplicateFiles {
  std::string path, other;
  double similarity = 0;
};

struct IndexProgress {
  bool indexing = false;  // false: files are compared with the collection; true: those new or changed are indexed
  int64_t files_done = 0, files_total = 0;  // of this step
  int64_t bytes_done = 0, bytes_total = 0;  // of files; 0 in the first step
  std::string path;                         // the last file done
};

struct IndexerOptions {
  FindOptions find;
  LoaderOptions loader;
  // Put on every document beside what the file itself says, and instead of it where both do.
  std::map<std::string, std::string> metadata;
  std::string language;          // of every document, as Document::language has it; empty: each tells its own
  int loader_threads = 1;        // [1, 64]
  int64_t queue_documents = 64;  // parsed and waiting at most
  // A commit is made when this much text has come together, or nothing more is to come.
  size_t commit_text_bytes = 64 << 10;
  // Afterwards delete the documents of the folders' sources that have no file any more, or one that patterns leave out;
  // none when a folder could not be listed.
  bool prune = false;
  // The first file that cannot be read ends it with kFailedPrecondition, which names it.
  bool strict = false;
  // Tell of documents of the same sources that are nearly the same as a new or changed one, from this similarity on
  // (near_duplicates.h), [0.5, 1]; 0: do not look. All their texts are read for it.
  double near_duplicates = 0;
  DigestCache* cache = nullptr;  // as PlanOptions::cache
  // Called from the thread that called, after each file; false stops: what is committed stays, the report says
  // `stopped`.
  std::function<bool(const IndexProgress&)> progress;
  // Called for each document once it is durable, with its id (DocumentId), and for each unchanged one.
  std::function<void(const std::string& id, const std::string& path, PutOutcome outcome)> acknowledged;
};

struct IndexReport {
  int64_t added = 0, replaced = 0, unchanged = 0, pruned = 0;
  std::vector<DocumentInfo> gone;                   // documents without a file; pruned or, without `prune`, still there
  std::vector<DuplicateFile> duplicates;            // by path
  std::vector<NearDuplicateFiles> near_duplicates;  // the most alike first
  std::vector<SkippedFile> skipped;                 // files that could not be read or parsed
  std::vector<FileWarning> warnings;                // of files that were read and are new or changed, by path
  int64_t unsupported = 0, left_out = 0;            // as FoundFiles counts them; they are not in `skipped`
  bool stopped = false;
};

class Indexer {
 public:
  // `collection` must be open for writing and outlive the indexer.
  Indexer(Collection& collection, IndexerOptions options);

  // Indexes what FindFiles finds. kNotFound: a path does not exist; nothing is indexed then. Any error of the
  // collection ends it; what was acknowledged stays, and doing it again goes on from there.
  absl::StatusOr<IndexReport> Add(absl::Span<const std::filesystem::path> paths);

  // Carries a plan out: puts what is new or changed, then removes documents of duplicates and, with `prune`, what is
  // gone.
  absl::StatusOr<IndexReport> Apply(const SyncPlan& plan);

 private:
  absl::StatusOr<std::vector<NearDuplicateFiles>> FindNearDuplicates(const SyncPlan& plan) const;

  Collection& collection_;
  IndexerOptions options_;
};

}  // namespace blazon::retrieval
