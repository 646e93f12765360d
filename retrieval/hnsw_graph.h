// A graph in which a walk from row to row finds those near a query without looking at most of the others: hierarchical
// navigable small worlds (Malkov and Yashunin 2016, arXiv 1603.09320), over the codes of an ExactScan. A walk goes by
// products of codes, a quarter of the bytes of fp32; the caller re-scores what it returns.
//
// Rows are never removed from a graph: `allowed` says which may be returned; the walk goes through the others.
//
// Thread safety: const after Build.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/exact_scan.h"
#include "retrieval/vector_index.h"

namespace blazon::retrieval {

class HnswGraph final : public VectorIndex {
 public:
  struct Options {
    int links = 16;          // of a row in the upper layers; twice as many in the lowest. [4, 64]
    int build_effort = 128;  // rows kept by the walks that look for a new row's neighbours
  };

  // scan: coded. The same rows make the same graph. About 0.2 ms a row. `stop`, when given, is asked now and then: true
  // ends it with kCancelled.
  static absl::StatusOr<std::unique_ptr<HnswGraph>> Build(const ExactScan& scan, const Options& options,
                                                          const std::function<bool()>& stop = nullptr);

  IndexKind kind() const override { return IndexKind::kHnsw; }
  // effort: rows that the walk keeps; at least `count` are.
  std::vector<int32_t> Propose(const ExactScan& scan, absl::Span<const float> query, int64_t count, int64_t effort,
                               absl::Span<const uint8_t> allowed, int64_t allowed_count) const override;
  std::vector<int64_t> Efforts() const override { return {24, 32, 48, 64, 96, 128, 192, 256, 384, 512}; }
  int64_t Cost(int64_t count, int64_t effort, int64_t allowed_count) const override;
  std::string Serialize() const override;
  // kDataLoss: it is no graph of `rows` rows.
  static absl::StatusOr<std::unique_ptr<HnswGraph>> Parse(std::string_view bytes, int64_t rows);

  int64_t size() const { return static_cast<int64_t>(levels_.size()); }
  int64_t bytes() const;

 private:
  struct Visited {
    std::vector<uint16_t> marks;
    uint16_t round = 0;
  };
  struct Near {
    float product;
    int32_t row;
    // Larger products first, then smaller rows: the order of a walk does not depend on chance.
    friend bool operator<(const Near& a, const Near& b) {
      return a.product < b.product || (a.product == b.product && a.row > b.row);
    }
  };
  class Builder;

  HnswGraph() = default;
  absl::Span<const int32_t> Links(int32_t row, int layer) const;
  int32_t* LinkBlock(int32_t row, int layer);  // [0] is the number of links that follow
  const int32_t* LinkBlock(int32_t row, int layer) const { return const_cast<HnswGraph*>(this)->LinkBlock(row, layer); }
  int MaxLinks(int layer) const { return layer == 0 ? 2 * links_ : links_; }

  // Walks a layer from `start`; with `few`, over allowed rows. Products: void(const int32_t* rows, int64_t count,
  // float* out).
  template <typename Products>
  std::vector<Near> Walk(const Products& products, Near start, int layer, size_t effort, const uint8_t* allowed,
                         bool few) const;
  // The nearest row of the layers above `layer`.
  template <typename Products>
  Near Descend(const Products& products, int layer) const;

  std::unique_ptr<Visited> TakeVisited() const;
  void GiveVisited(std::unique_ptr<Visited> visited) const;

  int links_ = 0;
  int32_t entry_ = -1;
  int top_ = -1;                      // highest layer
  std::vector<uint8_t> levels_;       // [rows]: highest layer of a row
  std::vector<int32_t> lowest_;       // [rows, 1 + 2 * links]
  std::vector<int32_t> upper_begin_;  // [rows]: where its blocks of [1 + links] begin in upper_
  std::vector<int32_t> upper_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Visited>> visited_;
};

}  // namespace blazon::retrieval
