// The approximate index of one segment, with what it was measured to find: a file beside the segment's, made from the
// segment alone, so that it may be lost and made again.
//
// File, little-endian: 96 bytes of header (magic "BLZNIDX1", u32 format version, u32 what was asked for, u32 kind, u32
// vectors asked, u64 segment number, i64 effort, f64 recall, u64 bytes that follow, 8 bytes zero, the 16 bytes of the
// segment's checksum, 16 bytes checksum), then the index. The checksum is XXH3-128 of all bytes but itself.
//
// Thread safety: const.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/files.h"
#include "retrieval/segment.h"
#include "retrieval/vector_index.h"

namespace blazon::retrieval {

class SegmentIndex {
 public:
  // Another choice than this is for tests.
  struct Limits {
    int64_t automatic_rows = 65536;  // kAuto looks at every vector of smaller segments
    // The effort is chosen to find so much: a segment's own vectors are found more easily than questions.
    double wanted_recall = 0.98;
    double least_recall = 0.95;  // below this kAuto does without the index
  };

  struct Facts {
    IndexKind asked = IndexKind::kAuto;  // the collection's setting
    IndexKind kind =
        IndexKind::kExact;  // kExact: every vector is looked at, since the index that was tried found little
    int64_t effort = 0;
    // Share of the ten nearest others of `queries` of the segment's own vectors that were found; measured when the
    // index was built.
    double recall = 1;
    int64_t queries = 0;
  };

  // What a segment of so many vectors gets when `asked` is the collection's setting; kExact: it is too small for any.
  static IndexKind KindFor(IndexKind asked, int64_t rows, const Limits& limits);

  // Builds what KindFor says, and measures it. checksum: the segment's. `stop`, when given, is asked now and then: true
  // ends it with kCancelled.
  static absl::StatusOr<std::shared_ptr<const SegmentIndex>> Build(const Segment& segment, const std::string& checksum,
                                                                   IndexKind asked, const Limits& limits,
                                                                   const std::function<bool()>& stop = nullptr);

  // Durable when it returns; takes the place of an older one.
  absl::Status Write(const std::filesystem::path& folder, Files& files) const;
  // kNotFound: there is none. kDataLoss: it is not what was written, or another segment's.
  static absl::StatusOr<std::shared_ptr<const SegmentIndex>> Read(const std::filesystem::path& folder,
                                                                  const Segment& segment, const std::string& checksum);
  // The header alone. As Read, but the index itself is not checked.
  static absl::StatusOr<Facts> ReadFacts(const std::filesystem::path& folder, int64_t number,
                                         const std::string& checksum);
  static std::string FileName(int64_t number);

  // As segment.Search, but some of the best may be missing: never fewer hits than segment.Search has. Looks at all
  // allowed rows when that costs less. allowed_count: bits set in `allowed`.
  absl::StatusOr<std::vector<VectorHit>> Search(const Segment& segment, absl::Span<const float> query, int64_t count,
                                                absl::Span<const uint8_t> allowed, int64_t allowed_count) const;

  const Facts& facts() const { return facts_; }
  int64_t rows() const { return rows_; }

 private:
  SegmentIndex() = default;
  std::vector<VectorHit> Approximate(const Segment& segment, absl::Span<const float> query, int64_t count,
                                     int64_t effort, absl::Span<const uint8_t> allowed, int64_t allowed_count) const;
  void Measure(const Segment& segment, const Limits& limits);

  Facts facts_;
  int64_t number_ = 0, rows_ = 0;
  std::string segment_checksum_;
  std::unique_ptr<const VectorIndex> index_;  // null when facts_.kind is kExact
};

}  // namespace blazon::retrieval
