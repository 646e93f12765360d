// What an indexer has to do so that a collection holds what is in files: which are new, changed, gone, or there
// already.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/collection.h"
#include "retrieval/document_loader.h"
#include "retrieval/find_files.h"

namespace blazon::retrieval {

enum class FileState {
  kNew,
  kChanged,    // the file, or how it is parsed, cut or embedded
  kUnchanged,  // costs no parsing and no embedding
  kDuplicate,  // the same bytes as another file of the plan, parsed the same way
};

struct PlannedFile {
  FoundFile found;
  FileState state = FileState::kNew;
  int64_t bytes = 0;
  std::string duplicate_of;  // path of the file that stands for it; with another source, source/path
  bool has_document = false;
};

// Digests of files that need not be read again as long as size, inode and times stay as they were. Files changed within
// the two seconds before they were read are not kept: they might change once more and show the same times.
// Thread safety: one planner at a time.
class DigestCache {
 public:
  struct Entry {
    int64_t size = 0, inode = 0, modified_ns = 0, changed_ns = 0;
    std::string digest;
  };
  const Entry* Find(const std::filesystem::path& file) const;
  void Keep(const std::filesystem::path& file, Entry entry);
  void Clear() { entries_.clear(); }

 private:
  std::map<std::filesystem::path, Entry> entries_;
};

struct SyncPlan {
  std::vector<PlannedFile> files;         // by source, then path; those that could not be read are in `skipped`
  std::vector<DocumentInfo> gone;         // documents of the folders' sources without a file; none unless all was seen
  std::vector<SkippedFile> skipped;       // what could not be looked at
  int64_t unsupported = 0, left_out = 0;  // as FoundFiles counts them
  bool complete = true;                   // as FoundFiles says
  bool stopped = false;
};

struct PlanOptions {
  FindOptions find;
  LoaderOptions loader;
  // What the documents are to have; one that lacks some of it, or has another language, is changed.
  std::map<std::string, std::string> metadata;
  std::string language;          // empty: any
  int threads = 1;               // that read files, [1, 64]
  DigestCache* cache = nullptr;  // may be null
  // Called from the thread that called PlanSync after each file: files done, of how many; false stops.
  std::function<bool(int64_t done, int64_t total, const std::string& path)> progress;
};

// Compares the files that FindFiles finds with the collection; changes nothing. collection: null for one that is not
// there yet. Among files of the same bytes one stands for all: one that has an up-to-date document, else the first.
// kNotFound: a path does not exist; kInvalidArgument: a pattern is empty.
absl::StatusOr<SyncPlan> PlanSync(const Collection* collection, absl::Span<const std::filesystem::path> paths,
                                  const PlanOptions& options);

}  // namespace blazon::retrieval
