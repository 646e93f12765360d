// One writer a collection: a lock on a file that the kernel drops when the process ends, however it ends.
//
// The file keeps its content after the lock is gone; only a held lock means that there is a writer.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "retrieval/collection.h"

namespace blazon::retrieval {

class LockFile {
 public:
  // kUnavailable, at once, when the lock is held, by this process or another; the message names the holder.
  static absl::StatusOr<std::unique_ptr<LockFile>> Acquire(const std::filesystem::path& file,
                                                           const std::string& holder);
  ~LockFile();
  LockFile(const LockFile&) = delete;

  static std::optional<LockHolder> Find(const std::filesystem::path& file);

 private:
  explicit LockFile(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace blazon::retrieval
