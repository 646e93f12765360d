// What finds rows near a query without looking at all of them, for one matrix of vectors. It proposes; the caller
// computes the products of what is proposed (retrieval/segment_index.h).
//
// Thread safety: const.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "retrieval/exact_scan.h"

namespace blazon::retrieval {

enum class IndexKind {
  kAuto,   // by size: kHnsw for many vectors, when it finds enough of what an exact search finds; else kExact
  kExact,  // every vector is looked at
  kHnsw,   // a graph (retrieval/hnsw_graph.h)
  kIvf,    // lists around centroids, vectors in 8 bits a number, by FAISS
  kIvfPq,  // the same with product quantisation, half a byte a number
};
// "auto", "exact", "hnsw", "ivf", "ivfpq".
std::string_view IndexKindName(IndexKind kind);
std::optional<IndexKind> ParseIndexKind(std::string_view name);

class VectorIndex {
 public:
  virtual ~VectorIndex() = default;
  virtual IndexKind kind() const = 0;

  // Rows that are likely among the `count` best of those whose bit is set in `allowed`, each once, in no order, more
  // than `count` as a rule and fewer when fewer are met. The more effort, the more of the best are among them. scan:
  // of the matrix that it was built from. allowed_count: bits set in `allowed`, at least 1.
  virtual std::vector<int32_t> Propose(const ExactScan& scan, absl::Span<const float> query, int64_t count,
                                       int64_t effort, absl::Span<const uint8_t> allowed,
                                       int64_t allowed_count) const = 0;
  // What to try, least first.
  virtual std::vector<int64_t> Efforts() const = 0;
  // Allowed rows that an exact scan looks at in the time of a proposal.
  virtual int64_t Cost(int64_t count, int64_t effort, int64_t allowed_count) const = 0;

  // For a file; the caller keeps a checksum.
  virtual std::string Serialize() const = 0;
};

}  // namespace blazon::retrieval
