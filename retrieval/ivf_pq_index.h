// FAISS's inverted file with product quantisation: lists as in ivf_index.h, and of each row one byte for every eight of
// its numbers (Jegou, Douze and Schmid 2011, IEEE TPAMI 33(1)).
//
// Thread safety: const.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "retrieval/vector_index.h"

namespace faiss {
struct IndexIVFPQ;
}

namespace blazon::retrieval {

class IvfPqIndex final : public VectorIndex {
 public:
  static constexpr int64_t kLeastRows = 16384;  // fewer do not suffice to train 256 centroids of each part

  // Takes some ten seconds for 100,000 rows.
  static absl::StatusOr<std::unique_ptr<IvfPqIndex>> Build(const ExactScan& scan);
  // kDataLoss: it is no index of so many rows. The bytes must be those that were written: check them first.
  static absl::StatusOr<std::unique_ptr<IvfPqIndex>> Parse(std::string_view bytes, int64_t rows, int64_t dimension);
  ~IvfPqIndex() override;

  IndexKind kind() const override { return IndexKind::kIvfPq; }
  // effort: lists to look at; more when few rows are allowed.
  std::vector<int32_t> Propose(const ExactScan& scan, absl::Span<const float> query, int64_t count, int64_t effort,
                               absl::Span<const uint8_t> allowed, int64_t allowed_count) const override;
  std::vector<int64_t> Efforts() const override;
  int64_t Cost(int64_t count, int64_t effort, int64_t allowed_count) const override;
  std::string Serialize() const override;

 private:
  IvfPqIndex();
  std::unique_ptr<faiss::IndexIVFPQ> index_;
};

}  // namespace blazon::retrieval
