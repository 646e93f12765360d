// The files that an indexer is to read: walks folders, goes by patterns and .gitignore files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

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

struct FindOptions {
  std::string source;  // the name of the root; empty: the folder's own name (a file's parent folder's)
  // Patterns as .gitignore has them (path_patterns.h), relative to each folder given. include: only files that match,
  // or that lie in a folder that does; empty: all. exclude: files and folders to be left out.
  std::vector<std::string> include, exclude;
  bool gitignore = true;  // leave out what .gitignore files leave out
};

struct FoundFiles {
  std::vector<FoundFile> files;      // by source, then path; each document once
  std::vector<std::string> sources;  // of the folders given
  // What could not be looked at, and files that would be a document that another file is.
  std::vector<SkippedFile> skipped;
  bool complete = true;     // false: a folder could not be listed, so that `files` may lack some
  int64_t unsupported = 0;  // files in folders of kinds that are not read; they are in neither list
  int64_t left_out = 0;     // files and folders that patterns or .gitignore files left out
};

// The files among `paths`, whatever the patterns say, and those in the folders among them with all beneath (hidden
// files and folders are left out, links to folders not followed). kNotFound: a path does not exist; kInvalidArgument: a
// pattern is empty.
absl::StatusOr<FoundFiles> FindFiles(absl::Span<const std::filesystem::path> paths, const FindOptions& options);

}  // namespace blazon::retrieval
