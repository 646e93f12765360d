#include "retrieval/ivf_pq_index.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "retrieval/ivf_index.h"

namespace blazon::retrieval {
namespace {

// Parts of a vector, of about eight numbers each: the number of parts must divide the dimension.
int64_t PartsFor(int64_t dimension) {
  for (int64_t parts = std::max<int64_t>(1, dimension / 8); parts > 1; --parts) {
    if (dimension % parts == 0) return parts;
  }
  return 1;
}

absl::Status FaissError(const std::string& action, const std::exception& error) {
  return absl::InternalError(absl::StrCat("FAISS could not ", action, ": ", error.what()));
}

}  // namespace

IvfPqIndex::IvfPqIndex() = default;
IvfPqIndex::~IvfPqIndex() = default;

absl::StatusOr<std::unique_ptr<IvfPqIndex>> IvfPqIndex::Build(const ExactScan& scan) {
  std::unique_ptr<IvfPqIndex> result(new IvfPqIndex);
  try {
    auto quantizer = std::make_unique<faiss::IndexFlatIP>(scan.dimension());
    const int64_t lists = ListsFor(scan.size());
    result->index_ = std::make_unique<faiss::IndexIVFPQ>(
        quantizer.get(), static_cast<size_t>(scan.dimension()), static_cast<size_t>(lists),
        static_cast<size_t>(PartsFor(scan.dimension())), 8, faiss::METRIC_INNER_PRODUCT);
    quantizer.release();
    result->index_->own_fields = true;
    result->index_->cp.spherical = true;
    result->index_->cp.niter = 10;
    result->index_->cp.max_points_per_centroid = 64;
    const int64_t trained = std::min<int64_t>(scan.size(), std::max<int64_t>(64 * lists, 20000));
    std::vector<float> sample;
    for (int64_t i = 0; i < trained; ++i) {
      const float* row = scan.vector(i * scan.size() / trained);
      sample.insert(sample.end(), row, row + scan.dimension());
    }
    result->index_->train(trained, sample.data());
    result->index_->add(scan.size(), scan.vector(0));
  } catch (const std::exception& error) {
    return FaissError("build the index", error);
  }
  return result;
}

std::vector<int32_t> IvfPqIndex::Propose(const ExactScan& scan, absl::Span<const float> query, int64_t count,
                                         int64_t effort, absl::Span<const uint8_t> allowed,
                                         int64_t allowed_count) const {
  std::vector<int32_t> rows;
  try {
    faiss::IDSelectorBitmap selector(allowed.size(), allowed.data());
    faiss::SearchParametersIVF parameters;
    parameters.sel = &selector;
    parameters.nprobe =
        static_cast<size_t>(std::min(static_cast<int64_t>(index_->nlist), effort * scan.size() / allowed_count));
    const int64_t kept = std::min(scan.size(), 10 * count + 50);  // half a bit a number tells only about where
    std::vector<float> products(static_cast<size_t>(kept));
    std::vector<faiss::Index::idx_t> labels(static_cast<size_t>(kept));
    index_->search(1, query.data(), kept, products.data(), labels.data(), &parameters);
    for (const auto label : labels) {
      if (label >= 0 && label < scan.size()) rows.push_back(static_cast<int32_t>(label));
    }
  } catch (const std::exception&) {
    rows.clear();  // the caller scans
  }
  return rows;
}

std::vector<int64_t> IvfPqIndex::Efforts() const {
  std::vector<int64_t> efforts;
  const int64_t lists = static_cast<int64_t>(index_->nlist);
  for (int64_t effort = 1; effort < lists; effort *= 2) efforts.push_back(effort);
  efforts.push_back(lists);
  return efforts;
}

int64_t IvfPqIndex::Cost(int64_t count, int64_t effort, int64_t allowed_count) const {
  const int64_t lists = static_cast<int64_t>(index_->nlist);
  const int64_t probed = std::min(lists, effort * index_->ntotal / std::max<int64_t>(1, allowed_count));
  return 20 * lists + probed * (2 * index_->ntotal + 4 * allowed_count) / lists + 40 * count;
}

std::string IvfPqIndex::Serialize() const {
  faiss::VectorIOWriter writer;
  faiss::write_index(index_.get(), &writer);
  return std::string(writer.data.begin(), writer.data.end());
}

absl::StatusOr<std::unique_ptr<IvfPqIndex>> IvfPqIndex::Parse(std::string_view bytes, int64_t rows, int64_t dimension) {
  std::unique_ptr<IvfPqIndex> result(new IvfPqIndex);
  try {
    faiss::VectorIOReader reader;
    reader.data.assign(bytes.begin(), bytes.end());
    std::unique_ptr<faiss::Index> index(faiss::read_index(&reader));
    auto* lists = dynamic_cast<faiss::IndexIVFPQ*>(index.get());
    if (!lists || lists->ntotal != rows || lists->d != dimension || lists->nlist < 1)
      return absl::DataLossError("FAISS's index does not fit its segment");
    index.release();
    result->index_.reset(lists);
  } catch (const std::exception& error) {
    return absl::DataLossError(absl::StrCat("FAISS cannot read it: ", error.what()));
  }
  return result;
}

}  // namespace blazon::retrieval
