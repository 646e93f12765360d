// The rows of a matrix that have the largest inner products with a query: all rows are looked at, and the result is
// that of computing each product in fp32, whatever way was taken.
//
// A matrix of at least kCodedRows rows is also kept in bytes (retrieval/vector_kernels.h), a quarter of its size, which
// is what a scan reads: by Cauchy and Schwarz each product lies within |query| * |row - coded row| + |row| * |query -
// coded query| of the product of the codes, so the rows that can be among the best are known, and those few alone are
// computed in fp32. Nothing is lost by it.
//
// Thread safety: const.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "retrieval/aligned_buffer.h"
#include "retrieval/vector_kernels.h"

namespace blazon::retrieval {

struct VectorHit {
  int64_t row;
  float cosine;  // the inner product: of unit vectors, their cosine
};

class ExactScan {
 public:
  static constexpr int64_t kCodedRows = 4096;
  enum class Codes { kAutomatic, kNever, kAlways };  // the last two for tests and benches

  // vectors: [count, dimension], finite, kept by the caller for as long as this lives. count: below 2^31.
  ExactScan(const float* vectors, int64_t count, int64_t dimension, Codes codes = Codes::kAutomatic,
            const VectorKernels& kernels = BestKernels());

  // For each of the queries ([queries, dimension], finite) the `count` best rows among those whose bit is set in
  // `allowed` (one bit a row), best first, equal ones by row; fewer only when fewer are allowed. Several queries share
  // one pass over the rows.
  std::vector<std::vector<VectorHit>> Search(absl::Span<const float> queries, int64_t count,
                                             absl::Span<const uint8_t> allowed) const;

  // The `count` best of the rows given.
  std::vector<VectorHit> Best(const float* query, absl::Span<const int32_t> rows, int64_t count) const;

  bool coded() const { return codes_.size() > 0; }
  int64_t code_bytes() const { return static_cast<int64_t>(codes_.bytes()); }

  // Inner products of a query with rows by their codes alone, off by at most about |query| * 0.01; for graphs, which
  // re-score what they find. Needs coded().
  void ApproximateProducts(const CodedQuery& query, const int32_t* rows, int64_t count, float* out) const;
  // Of a row with rows. Needs coded().
  void ApproximateRowProducts(int32_t row, const int32_t* rows, int64_t count, float* out) const;
  const float* vector(int64_t row) const { return vectors_ + row * dimension_; }
  int64_t size() const { return count_; }
  int64_t dimension() const { return dimension_; }

 private:
  void MakeCodes();

  const float* vectors_;
  int64_t count_, dimension_, stride_;
  const VectorKernels* kernels_;
  AlignedBuffer<uint8_t> codes_;  // [count, stride]
  std::vector<float> scales_;     // [count]
  std::vector<float> residuals_;  // [count]: distance between a row and what its codes stand for, rounded up
  double longest_ = 0;            // length of the longest row
};

}  // namespace blazon::retrieval
