// Inner products of one query with many rows of a matrix: the inner loop of every search by meaning, in the widest
// instructions that the processor at hand has.
//
// Codes: a row of floats r is kept in bytes as code[d] = round(r[d] / scale) + 128 with scale = max |r[d]| / 127; a
// query in 16 bits as q[d] / scale. Products of codes are exact integers, so every set of kernels gives the same.
//
// Thread safety: all of it is const or pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace blazon::retrieval {

// Codes are padded with zeros (as numbers: with 128 as bytes) to a multiple of this, and so are coded queries.
inline constexpr int64_t kCodePadding = 64;
// With more numbers in a vector, the sums of a product of codes might not fit 32 bits.
inline constexpr int64_t kMaxCodedDimension = 32768;

// A query in 16 bits, and the same split in two halves of 8 (value = 256 * high + low), as the byte instructions want.
struct CodedQuery {
  std::vector<int16_t> values;
  std::vector<int8_t> high, low;
  int64_t sum = 0;    // of values
  double scale = 0;   // query[d] is about values[d] * scale
  double error = 0;   // Euclidean distance between the query and what the values stand for
  double length = 0;  // of what the values stand for
};
CodedQuery CodeQuery(absl::Span<const float> query);

struct VectorKernels {
  const char* name;
  // out[i] = query . matrix[rows[i]]; each row is [dimension]. The result for a row depends on nothing but the two
  // vectors.
  void (*dot)(const float* query, const float* matrix, int64_t dimension, const int32_t* rows, int64_t count,
              float* out);
  // out[i] = sum over d of query.values[d] * codes[rows[i]][d], the bytes taken from 0 to 255; each row is [stride],
  // a multiple of kCodePadding.
  void (*dot_codes)(const CodedQuery& query, const uint8_t* codes, int64_t stride, const int32_t* rows, int64_t count,
                    int32_t* out);
  // out[i] = sum over d of (codes[row][d] - 128) * (codes[rows[i]][d] - 128).
  void (*dot_code_rows)(int32_t row, const uint8_t* codes, int64_t stride, const int32_t* rows, int64_t count,
                        int32_t* out);
};

// The best for this processor.
const VectorKernels& BestKernels();
// All that this processor can run, the portable ones first.
absl::Span<const VectorKernels> RunnableKernels();

}  // namespace blazon::retrieval
