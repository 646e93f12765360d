#include "retrieval/ivf_index.h"

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace blazon::retrieval {
namespace {

constexpr int kTrainingRounds = 10, kTrainingRowsOfAList = 64;

absl::Status BadLists() { return absl::DataLossError("the lists do not fit its segment"); }

template <typename Value>
bool TakeValues(std::string_view& bytes, size_t count, std::vector<Value>& values) {
  if (bytes.size() / sizeof(Value) < count) return false;
  values.resize(count);
  std::memcpy(values.data(), bytes.data(), count * sizeof(Value));
  bytes.remove_prefix(count * sizeof(Value));
  return true;
}

template <typename Value>
void AppendValues(std::string& bytes, const std::vector<Value>& values) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value));
}

}  // namespace

int64_t ListsFor(int64_t rows) {
  return std::clamp<int64_t>(static_cast<int64_t>(2 * std::sqrt(static_cast<double>(rows))), 1,
                             std::max<int64_t>(1, rows / 39));
}

absl::StatusOr<std::unique_ptr<IvfIndex>> IvfIndex::Build(const ExactScan& scan) {
  std::unique_ptr<IvfIndex> index(new IvfIndex);
  index->dimension_ = scan.dimension();
  const int64_t lists = ListsFor(scan.size());
  std::vector<faiss::Index::idx_t> nearest(static_cast<size_t>(scan.size()));
  try {
    faiss::ClusteringParameters parameters;
    parameters.niter = kTrainingRounds;
    parameters.spherical = true;
    parameters.max_points_per_centroid = kTrainingRowsOfAList;
    faiss::Clustering clustering(static_cast<int>(scan.dimension()), static_cast<int>(lists), parameters);
    faiss::IndexFlatIP flat(scan.dimension());
    clustering.train(scan.size(), scan.vector(0), flat);
    flat.reset();
    flat.add(lists, clustering.centroids.data());
    std::vector<float> products(nearest.size());
    flat.search(scan.size(), scan.vector(0), 1, products.data(), nearest.data());
    index->centroids_ = std::move(clustering.centroids);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("FAISS could not make lists: ", error.what()));
  }
  index->begins_.assign(static_cast<size_t>(lists) + 1, 0);
  for (const auto list : nearest) {
    if (list < 0 || list >= lists) return absl::InternalError("FAISS put a vector into no list");
    ++index->begins_[static_cast<size_t>(list) + 1];
  }
  std::partial_sum(index->begins_.begin(), index->begins_.end(), index->begins_.begin());
  std::vector<int32_t> place(index->begins_.begin(), index->begins_.end() - 1);
  index->rows_.resize(nearest.size());
  for (size_t row = 0; row < nearest.size(); ++row)
    index->rows_[static_cast<size_t>(place[static_cast<size_t>(nearest[row])]++)] = static_cast<int32_t>(row);
  index->ScanCentroids();
  return index;
}

std::vector<int32_t> IvfIndex::Propose(const ExactScan& scan, absl::Span<const float> query, int64_t count,
                                       int64_t effort, absl::Span<const uint8_t> allowed, int64_t allowed_count) const {
  const int64_t probed = std::min(lists(), effort * scan.size() / allowed_count);
  const std::vector<uint8_t> all(static_cast<size_t>((lists() + 7) / 8), 0xff);
  std::vector<int32_t> rows;
  const std::vector<std::vector<VectorHit>> nearest = centroid_scan_->Search(query, probed, all);
  for (const VectorHit& list : nearest[0]) {
    for (int32_t i = begins_[static_cast<size_t>(list.row)]; i < begins_[static_cast<size_t>(list.row) + 1]; ++i) {
      const int32_t row = rows_[static_cast<size_t>(i)];
      if (allowed[static_cast<size_t>(row / 8)] >> row % 8 & 1) rows.push_back(row);
    }
  }
  const size_t kept = static_cast<size_t>(2 * count + 32);  // the codes' order is nearly that of the vectors
  if (!scan.coded() || rows.size() <= kept) return rows;
  std::vector<float> products(rows.size());
  scan.ApproximateProducts(CodeQuery(query), rows.data(), static_cast<int64_t>(rows.size()), products.data());
  std::vector<std::pair<float, int32_t>> best;
  for (size_t i = 0; i < rows.size(); ++i) best.emplace_back(-products[i], rows[i]);
  std::nth_element(best.begin(), best.begin() + static_cast<ptrdiff_t>(kept), best.end());
  rows.clear();
  for (size_t i = 0; i < kept; ++i) rows.push_back(best[i].second);
  return rows;
}

std::vector<int64_t> IvfIndex::Efforts() const {
  std::vector<int64_t> efforts;
  for (int64_t effort = 1; effort < lists(); effort += std::max<int64_t>(1, effort / 2)) efforts.push_back(effort);
  efforts.push_back(lists());
  return efforts;
}

int64_t IvfIndex::Cost(int64_t count, int64_t effort, int64_t allowed_count) const {
  // Rows of a list lie apart; the centroids are in fp32; those proposed are computed in fp32.
  const int64_t rows = static_cast<int64_t>(rows_.size());
  const int64_t probed = std::min(lists(), effort * rows / std::max<int64_t>(1, allowed_count));
  return 4 * lists() + probed * (rows + 2 * allowed_count) / lists() + 8 * count;
}

std::string IvfIndex::Serialize() const {
  std::string bytes;
  AppendValues(bytes, std::vector<int64_t>{lists()});
  AppendValues(bytes, centroids_);
  AppendValues(bytes, begins_);
  AppendValues(bytes, rows_);
  return bytes;
}

absl::StatusOr<std::unique_ptr<IvfIndex>> IvfIndex::Parse(std::string_view bytes, int64_t rows, int64_t dimension) {
  std::unique_ptr<IvfIndex> index(new IvfIndex);
  index->dimension_ = dimension;
  std::vector<int64_t> head;
  if (!TakeValues(bytes, 1, head) || head[0] < 1 || head[0] > rows) return BadLists();
  const size_t lists = static_cast<size_t>(head[0]);
  if (!TakeValues(bytes, lists * static_cast<size_t>(dimension), index->centroids_) ||
      !TakeValues(bytes, lists + 1, index->begins_) || !TakeValues(bytes, static_cast<size_t>(rows), index->rows_) ||
      !bytes.empty())
    return BadLists();
  if (!std::all_of(index->centroids_.begin(), index->centroids_.end(), [](float v) { return std::isfinite(v); }) ||
      index->begins_.front() != 0 || index->begins_.back() != rows ||
      !std::is_sorted(index->begins_.begin(), index->begins_.end()))
    return BadLists();
  std::vector<bool> seen(static_cast<size_t>(rows));
  for (const int32_t row : index->rows_) {
    if (row < 0 || row >= rows || seen[static_cast<size_t>(row)]) return BadLists();
    seen[static_cast<size_t>(row)] = true;
  }
  index->ScanCentroids();
  return index;
}

}  // namespace blazon::retrieval
