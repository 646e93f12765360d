// An immutable set of vectors with the ids of their chunks: one file, checked whole before it is used.
//
// File, little-endian: 64 bytes of header (magic "BLZNVEC1", u32 format version, u32 dimension, u64 count, u64 segment
// number, 16 bytes zero, 16 bytes checksum), count ids (i64, ascending), count x dimension floats. The checksum is
// XXH3-128 of all bytes but itself.
//
// Thread safety: const.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/aligned_buffer.h"
#include "retrieval/exact_scan.h"
#include "retrieval/files.h"

namespace blazon::retrieval {

class Segment {
 public:
  using Hit = VectorHit;

  // ids ascending; vectors: ids.size() * dimension floats.
  Segment(int64_t number, int64_t dimension, std::vector<int64_t> ids, absl::Span<const float> vectors);

  // Writes the segment into `folder` under its name, durable when it returns; returns the checksum.
  absl::StatusOr<std::string> Write(const std::filesystem::path& folder, Files& files) const;

  // kDataLoss: the file is not, byte for byte, the one with this checksum. kNotFound: there is none.
  static absl::StatusOr<std::shared_ptr<const Segment>> Read(const std::filesystem::path& folder, int64_t number,
                                                             int64_t dimension, const std::string& checksum);

  // That the file is as long as so many vectors make it: kDataLoss, or kNotFound when there is none. Reads nothing.
  static absl::Status CheckLength(const std::filesystem::path& folder, int64_t number, int64_t dimension,
                                  int64_t count);

  // Reads a file going by what it says itself; `checksum`, when given, gets its checksum. kDataLoss: it does not fit
  // its own checksum.
  static absl::StatusOr<std::shared_ptr<const Segment>> Read(const std::filesystem::path& file,
                                                             std::string* checksum = nullptr);

  static std::string FileName(int64_t number);

  int64_t number() const { return number_; }
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int64_t dimension() const { return dimension_; }
  absl::Span<const int64_t> ids() const { return ids_; }
  const float* vector(int64_t row) const { return vectors_.data() + row * dimension_; }  // [dimension]
  int64_t Find(int64_t id) const;  // the row of an id, -1 when it has none

  // The `count` best rows among those whose bit is set in `allowed` (one bit a row), best first; fewer only when fewer
  // are allowed. kInvalidArgument: the query has another dimension, or a number that is not finite.
  absl::StatusOr<std::vector<Hit>> Search(absl::Span<const float> query, int64_t count,
                                          absl::Span<const uint8_t> allowed) const;
  // What Search says of a query; OK when it can be searched for.
  absl::Status CheckQuery(absl::Span<const float> query) const;
  // Made when it is first wanted: a segment that is only copied does without.
  const ExactScan& scan() const;

 private:
  Segment(int64_t number, int64_t dimension, std::vector<int64_t> ids, AlignedBuffer<float> vectors);
  int64_t number_, dimension_;
  std::vector<int64_t> ids_;
  AlignedBuffer<float> vectors_;  // [size, dimension]
  mutable std::once_flag scanned_;
  mutable std::unique_ptr<const ExactScan> scan_;
};

}  // namespace blazon::retrieval
