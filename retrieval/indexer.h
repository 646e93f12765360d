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

// A file to index: the document (source, path).
struct FoundFile {
  std::filesystem::path file;
  std::string source, path;
};

struct SkippedFile {
  std::string id;  // of the document (DocumentId); empty for a folder that could not be listed
  std::string path;
  absl::Status reason;
};

// What a person should know of a file that was indexed (Document::warnings).
struct FileWarning {
  std::string id;
  std::string path;
  std::string text;
};

struct FoundFiles {
  std::vector<FoundFile> files;      // by source, then path; each document once
  std::vector<std::string> sources;  // of the folders given
  std::vector<SkippedFile> skipped;  // what could not be looked at
  bool complete = true;              // false: a folder could not be listed, so that `files` may lack some
  int64_t unsupported = 0;           // files in folders of kinds that are not read; they are in neither list
};

// The files among `paths`, and in the folders among them with all beneath (hidden files and folders are left out, links
// to folders not followed). `source`: the name of the root; empty: the folder's own name (a file's parent folder's).
// kNotFound: a path does not exist.
absl::StatusOr<FoundFiles> FindFiles(absl::Span<const std::filesystem::path> paths, const std::string& source);

struct IndexProgress {
  int64_t files_done = 0, files_total = 0;
  int64_t bytes_done = 0;  // of files
  std::string path;        // the last file done
};

struct IndexerOptions {
  std::string source;  // as FindFiles takes it
  LoaderOptions loader;
  int loader_threads = 1;        // [1, 64]
  int64_t queue_documents = 64;  // parsed and waiting at most
  // A commit is made when this much text has come together, or nothing more is to come.
  size_t commit_text_bytes = 64 << 10;
  // Afterwards delete documents of this source, under the paths given, whose files are gone; none when a folder could
  // not be listed.
  bool prune = false;
  // Called from the thread that called Add, after each file; false stops: what is committed stays, the report says
  // `stopped`.
  std::function<bool(const IndexProgress&)> progress;
  // Called for each document once it is durable, with its id (DocumentId).
  std::function<void(const std::string& id, const std::string& path, PutOutcome outcome)> acknowledged;
};

struct IndexReport {
  int64_t added = 0, replaced = 0, unchanged = 0, pruned = 0;
  std::vector<SkippedFile> skipped;   // files that could not be read or parsed
  std::vector<FileWarning> warnings;  // of files that were read and are new or changed, by path
  int64_t unsupported = 0;            // as FoundFiles counts them; they are not in `skipped`
  bool stopped = false;
};

class Indexer {
 public:
  // `collection` must be open for writing and outlive the indexer.
  Indexer(Collection& collection, IndexerOptions options);

  // Indexes what FindFiles finds. kNotFound: a path does not exist; nothing is indexed then. Any error of the
  // collection ends it; what was acknowledged stays.
  absl::StatusOr<IndexReport> Add(absl::Span<const std::filesystem::path> paths);

 private:
  Collection& collection_;
  IndexerOptions options_;
};

}  // namespace blazon::retrieval
