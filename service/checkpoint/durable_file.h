// A file that is there whole or not at all, and stays after a loss of power.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>

#include "absl/status/status.h"

namespace blazon::service {

// Appends to a file that is being written.
class FileAppender {
 public:
  FileAppender(int file, std::string path) : file_(file), path_(std::move(path)) {}
  // An error of the system, with the file's name.
  absl::Status Append(const void* data, size_t size);

 private:
  int file_;
  std::string path_;
};

// Calls `fill` with a temporary file beside `path`; then fsync, rename to `path`, fsync of the folder. On an error
// nothing is left of it, and `path` is as it was. May be called from several threads.
absl::Status WriteDurably(const std::filesystem::path& path, const std::function<absl::Status(FileAppender&)>& fill);

}  // namespace blazon::service
