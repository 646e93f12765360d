// Files and folders into a collection: walk, read and parse beside embedding, commit in groups, skip what cannot be
// read and say so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/collection.h"
#include "retrieval/document_loader.h"

namespace blazon::retrieval {

struct IndexProgress {
  int64_t files_done = 0, files_total = 0;
  int64_t bytes_done = 0;  // of files
  std::string path;        // the last file done
};

struct IndexerOptions {
  std::string source;  // name of the root; empty: the folder's own name (a file's parent folder's)
  LoaderLimits limits;
  int loader_threads = 1;        // [1, 64]
  int64_t queue_documents = 64;  // parsed and waiting at most
  // A commit is made when this much text has come together, or nothing more is to come.
  size_t commit_text_bytes = 64 << 10;
  bool prune = false;  // afterwards delete documents of this source, under the paths given, whose files are gone
  // Called from the thread that called Add, after each file; false stops: what is committed stays, the report says
  // `stopped`.
  std::function<bool(const IndexProgress&)> progress;
  // Called for each document once it is durable.
  std::function<void(const std::string& path, PutOutcome outcome)> acknowledged;
};

struct SkippedFile {
  std::string path;
  absl::Status reason;
};

struct IndexReport {
  int64_t added = 0, replaced = 0, unchanged = 0, pruned = 0;
  std::vector<SkippedFile> skipped;  // files that could not be read or parsed
  int64_t unsupported = 0;           // files in folders of kinds that are not read; they are not in `skipped`
  bool stopped = false;
};

class Indexer {
 public:
  // `collection` must be open for writing and outlive the indexer.
  Indexer(Collection& collection, IndexerOptions options);

  // Indexes files, and folders with all beneath them (hidden files and folders are left out, links to folders not
  // followed).
  // kNotFound: a path does not exist; nothing is indexed then. Any error of the collection ends it; what was
  // acknowledged stays.
  absl::StatusOr<IndexReport> Add(absl::Span<const std::filesystem::path> paths);

 private:
  Collection& collection_;
  IndexerOptions options_;
};

}  // namespace blazon::retrieval
