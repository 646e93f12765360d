// A file mapped into memory for reading.
//
// Thread safety: const. The file must not be shortened while it is mapped: reading past its new end kills the process.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::service {

class MappedFile {
 public:
  // kNotFound: no such file. kInvalidArgument: not a regular file, or an empty one. kPermissionDenied, kUnavailable: it
  // cannot be opened or mapped.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::Span<const std::byte> bytes() const { return bytes_; }

  // Takes the pages that lie wholly within `part` of bytes() out of this process's memory. Whoever reads them again
  // gets the same bytes, from the page cache or the disk.
  void Release(absl::Span<const std::byte> part) const;

 private:
  explicit MappedFile(absl::Span<const std::byte> bytes) : bytes_(bytes) {}
  absl::Span<const std::byte> bytes_;
};

}  // namespace blazon::service
