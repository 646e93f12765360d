// The file operations of the collection's writer beside SQLite's, behind an interface so that tests can make each of
// them fail.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::retrieval {

class Files {
 public:
  virtual ~Files() = default;
  // Creates `file` (kAlreadyExists if there is one) with the concatenation of `parts` and fsyncs it. On error a part of
  // it may be left.
  virtual absl::Status WriteAndSync(const std::filesystem::path& file, absl::Span<const std::string_view> parts);
  // Overwrites bytes of a file that exists, and fsyncs it.
  virtual absl::Status OverwriteAndSync(const std::filesystem::path& file, int64_t at, std::string_view bytes);
  virtual absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to);
  virtual absl::Status SyncFolder(const std::filesystem::path& folder);
  // Bytes that may still be written to the folder's file system.
  virtual absl::StatusOr<int64_t> FreeBytes(const std::filesystem::path& folder);
  // Removing a file that is not there is not an error.
  virtual absl::Status Remove(const std::filesystem::path& file);
};

// kResourceExhausted for a full disk or quota, kPermissionDenied, kNotFound, else kInternal; the message names action,
// file and cause.
absl::Status FileError(const std::string& action, const std::filesystem::path& file, int error_number);

}  // namespace blazon::retrieval
