// Texts to learn from, out of files and folders.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service {

struct TextCorpus {
  std::vector<std::string> texts;  // one a file, in order; well-formed UTF-8, none empty
  int64_t bytes = 0;               // of all texts
  int64_t repaired = 0;            // characters U+FFFD that stand where the files are not UTF-8
};

// paths: files, which are read whatever their names, and folders, of which every *.txt and *.md is read, those of
// subfolders too, in the order of their paths. A byte order mark is dropped, line ends become "\n".
// kNotFound: no such file; kInvalidArgument: nothing but empty texts, or a folder without any; the message names it.
absl::StatusOr<TextCorpus> ReadTextCorpus(const std::vector<std::filesystem::path>& paths);

}  // namespace blazon::service
