// The entries of a zip file that nobody vouches for: libzip behind limits.
//
// Thread safety: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/document_loader.h"

struct zip;

namespace blazon::retrieval {

class ZipArchive {
 public:
  // `bytes` must outlive it. kInvalidArgument: not a zip file, damaged, or more entries than
  // limits.max_zip_entries.
  static absl::StatusOr<std::unique_ptr<ZipArchive>> Open(std::string_view bytes, const LoaderLimits& limits);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;

  bool Has(const std::string& name) const;
  // The content of the entry of exactly this name. kNotFound. kInvalidArgument: encrypted, damaged (its checksum is
  // compared), packed tighter than limits.max_zip_ratio, or with it more than limits.max_expanded_bytes were read.
  absl::StatusOr<std::string> Read(const std::string& name);

 private:
  ZipArchive(zip* archive, const LoaderLimits& limits) : archive_(archive), limits_(limits) {}
  zip* archive_;
  const LoaderLimits limits_;
  size_t expanded_bytes_ = 0;
};

}  // namespace blazon::retrieval
