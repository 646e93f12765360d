// Rows in lists around centroids; a search looks at the lists whose centroids are nearest (inverted file: Sivic and
// Zisserman, ICCV 2003). FAISS finds the centroids (spherical k-means); the rows of a list are compared by the codes of
// the scan, so that nothing is stored of a row but its number.
//
// Thread safety: const.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "retrieval/vector_index.h"

namespace blazon::retrieval {

class IvfIndex final : public VectorIndex {
 public:
  // scan: coded. Takes some seconds for 100,000 rows.
  static absl::StatusOr<std::unique_ptr<IvfIndex>> Build(const ExactScan& scan);
  // kDataLoss: it is no index of so many rows.
  static absl::StatusOr<std::unique_ptr<IvfIndex>> Parse(std::string_view bytes, int64_t rows, int64_t dimension);

  IndexKind kind() const override { return IndexKind::kIvf; }
  // effort: lists to look at; more when few rows are allowed.
  std::vector<int32_t> Propose(const ExactScan& scan, absl::Span<const float> query, int64_t count, int64_t effort,
                               absl::Span<const uint8_t> allowed, int64_t allowed_count) const override;
  std::vector<int64_t> Efforts() const override;
  int64_t Cost(int64_t count, int64_t effort, int64_t allowed_count) const override;
  std::string Serialize() const override;

 private:
  IvfIndex() = default;
  int64_t lists() const { return static_cast<int64_t>(begins_.size()) - 1; }
  void ScanCentroids() { centroid_scan_ = std::make_unique<ExactScan>(centroids_.data(), lists(), dimension_); }

  int64_t dimension_ = 0;
  std::vector<float> centroids_;  // [lists, dimension]
  std::vector<int32_t> begins_;   // [lists + 1]: where a list begins in rows_
  std::vector<int32_t> rows_;     // [rows], ascending within a list
  std::unique_ptr<const ExactScan> centroid_scan_;
};

// How many lists for so many rows.
int64_t ListsFor(int64_t rows);

}  // namespace blazon::retrieval
