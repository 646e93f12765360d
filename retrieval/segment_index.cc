#include "retrieval/segment_index.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "retrieval/hnsw_graph.h"
#include "retrieval/ivf_index.h"
#include "retrieval/ivf_pq_index.h"

namespace blazon::retrieval {
namespace {

constexpr char kIndexMagic[8] = {'B', 'L', 'Z', 'N', 'I', 'D', 'X', '1'};
constexpr uint32_t kIndexVersion = 1;
constexpr int64_t kMeasuredBest = 10;
constexpr int64_t kMeasuredQueries = 200;

struct IndexHeader {
  char magic[8];
  uint32_t version, asked, kind, queries;
  uint64_t number;
  int64_t effort;
  double recall;
  uint64_t bytes;
  uint8_t zero[8];
  uint8_t segment[16];
  uint8_t checksum[16];
};
static_assert(sizeof(IndexHeader) == 96);

std::string IndexChecksum(const IndexHeader& header, std::string_view bytes) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, &header, offsetof(IndexHeader, checksum));
  XXH3_128bits_update(state, bytes.data(), bytes.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
  XXH3_freeState(state);
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest);
}

absl::Status DamagedIndex(const std::filesystem::path& file, const std::string& what) {
  return absl::DataLossError(absl::StrCat(file.string(), " is damaged: ", what,
                                          "; delete this file: the next writer builds it again from its segment"));
}

// A file of an index, with its header read and looked at.
struct OpenIndex {
  int descriptor = -1;
  std::filesystem::path file;
  IndexHeader header;
};

absl::Status ReadBytes(const OpenIndex& open, void* to, size_t size) {
  char* place = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t count = read(open.descriptor, place, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("read", open.file, errno);
    if (count == 0) return DamagedIndex(open.file, "it ends early");
    place += count;
    size -= static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::Status OpenHeader(const std::filesystem::path& folder, int64_t number, const std::string& checksum,
                        OpenIndex& open) {
  open.file = folder / SegmentIndex::FileName(number);
  open.descriptor = ::open(open.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (open.descriptor < 0) return FileError("open", open.file, errno);
  struct stat information {};
  if (fstat(open.descriptor, &information) != 0) return FileError("examine", open.file, errno);
  IndexHeader& header = open.header;
  if (static_cast<size_t>(information.st_size) < sizeof header)
    return DamagedIndex(open.file, "it is shorter than its header");
  if (absl::Status status = ReadBytes(open, &header, sizeof header); !status.ok()) return status;
  if (std::memcmp(header.magic, kIndexMagic, sizeof kIndexMagic) != 0)
    return DamagedIndex(open.file, "it does not start as an index does");
  if (header.version != kIndexVersion)
    return absl::NotFoundError(absl::StrCat(open.file.string(), " has format version ", header.version));
  if (header.number != static_cast<uint64_t>(number) ||
      std::string_view(reinterpret_cast<const char*>(header.segment), sizeof header.segment) != checksum)
    return DamagedIndex(open.file, "it is another segment's");
  if (header.bytes != static_cast<uint64_t>(information.st_size) - sizeof header)
    return DamagedIndex(open.file, "its size does not fit its header");
  if (header.asked > static_cast<uint32_t>(IndexKind::kIvfPq) ||
      header.kind > static_cast<uint32_t>(IndexKind::kIvfPq) || header.effort < 0 ||
      !(header.recall >= 0 && header.recall <= 1))
    return DamagedIndex(open.file, "its header makes no sense");
  return absl::OkStatus();
}

SegmentIndex::Facts FactsOf(const IndexHeader& header) {
  return {static_cast<IndexKind>(header.asked), static_cast<IndexKind>(header.kind), header.effort, header.recall,
          header.queries};
}

}  // namespace

std::string_view IndexKindName(IndexKind kind) {
  switch (kind) {
    case IndexKind::kAuto:
      return "auto";
    case IndexKind::kExact:
      return "exact";
    case IndexKind::kHnsw:
      return "hnsw";
    case IndexKind::kIvf:
      return "ivf";
    case IndexKind::kIvfPq:
      return "ivfpq";
  }
  return "";
}

std::optional<IndexKind> ParseIndexKind(std::string_view name) {
  for (const IndexKind kind :
       {IndexKind::kAuto, IndexKind::kExact, IndexKind::kHnsw, IndexKind::kIvf, IndexKind::kIvfPq}) {
    if (IndexKindName(kind) == name) return kind;
  }
  return std::nullopt;
}

IndexKind SegmentIndex::KindFor(IndexKind asked, int64_t rows, const Limits& limits) {
  if (asked == IndexKind::kAuto)
    return rows >= limits.automatic_rows && rows >= ExactScan::kCodedRows ? IndexKind::kHnsw : IndexKind::kExact;
  if (asked == IndexKind::kIvfPq) return rows >= IvfPqIndex::kLeastRows ? asked : IndexKind::kExact;
  return rows >= ExactScan::kCodedRows ? asked : IndexKind::kExact;
}

std::string SegmentIndex::FileName(int64_t number) { return absl::StrCat("segment-", number, ".idx"); }

absl::StatusOr<std::shared_ptr<const SegmentIndex>> SegmentIndex::Build(const Segment& segment,
                                                                        const std::string& checksum, IndexKind asked,
                                                                        const Limits& limits,
                                                                        const std::function<bool()>& stop) {
  const auto keep = [](auto built, std::unique_ptr<const VectorIndex>& place) {
    if (built.ok()) place = *std::move(built);
    return built.status();
  };
  std::shared_ptr<SegmentIndex> result(new SegmentIndex);
  result->number_ = segment.number();
  result->rows_ = segment.size();
  result->segment_checksum_ = checksum;
  result->facts_.asked = asked;
  result->facts_.kind = KindFor(asked, segment.size(), limits);
  absl::Status status;
  switch (result->facts_.kind) {
    case IndexKind::kHnsw:
      status = keep(HnswGraph::Build(segment.scan(), {}, stop), result->index_);
      break;
    case IndexKind::kIvf:
      status = keep(IvfIndex::Build(segment.scan()), result->index_);
      break;
    case IndexKind::kIvfPq:
      status = keep(IvfPqIndex::Build(segment.scan()), result->index_);
      break;
    default:
      break;
  }
  if (!status.ok()) return status;
  if (result->index_) result->Measure(segment, limits);
  return result;
}

void SegmentIndex::Measure(const Segment& segment, const Limits& limits) {
  const int64_t dimension = segment.dimension();
  const int64_t queries = std::min(kMeasuredQueries, rows_);
  std::vector<float> vectors;
  std::vector<int64_t> asked;
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t row = i * rows_ / queries;
    asked.push_back(row);
    vectors.insert(vectors.end(), segment.vector(row), segment.vector(row) + dimension);
  }
  const std::vector<uint8_t> all(static_cast<size_t>((rows_ + 7) / 8), 0xff);
  const std::vector<std::vector<VectorHit>> exact = segment.scan().Search(vectors, kMeasuredBest + 1, all);
  facts_.queries = queries;
  for (const int64_t effort : index_->Efforts()) {
    int64_t wanted = 0, found = 0;
    for (size_t i = 0; i < asked.size(); ++i) {
      // Each vector finds itself: that shows nothing. Equal products are as good as one another.
      const auto others = [&](std::vector<VectorHit> hits) {
        std::erase_if(hits, [&](const VectorHit& hit) { return hit.row == asked[i]; });
        if (hits.size() > kMeasuredBest) hits.resize(kMeasuredBest);
        return hits;
      };
      const std::vector<VectorHit> best = others(exact[i]);
      if (best.empty()) continue;
      const absl::Span<const float> query(vectors.data() + static_cast<int64_t>(i) * dimension,
                                          static_cast<size_t>(dimension));
      const std::vector<VectorHit> seen = others(Approximate(segment, query, kMeasuredBest + 1, effort, all, rows_));
      wanted += static_cast<int64_t>(best.size());
      found += std::count_if(seen.begin(), seen.end(),
                             [&](const VectorHit& hit) { return hit.cosine >= best.back().cosine - 1e-6f; });
    }
    facts_.effort = effort;
    facts_.recall = wanted == 0 ? 1 : std::min(1.0, static_cast<double>(found) / static_cast<double>(wanted));
    if (facts_.recall >= limits.wanted_recall) break;
  }
  if (facts_.asked == IndexKind::kAuto && facts_.recall < limits.least_recall) {
    facts_.kind = IndexKind::kExact;
    index_.reset();
  }
}

std::vector<VectorHit> SegmentIndex::Approximate(const Segment& segment, absl::Span<const float> query, int64_t count,
                                                 int64_t effort, absl::Span<const uint8_t> allowed,
                                                 int64_t allowed_count) const {
  const std::vector<int32_t> rows =
      index_->Propose(segment.scan(), query, count, effort, allowed, std::max<int64_t>(1, allowed_count));
  return segment.scan().Best(query.data(), rows, count);
}

absl::StatusOr<std::vector<VectorHit>> SegmentIndex::Search(const Segment& segment, absl::Span<const float> query,
                                                            int64_t count, absl::Span<const uint8_t> allowed,
                                                            int64_t allowed_count) const {
  if (absl::Status status = segment.CheckQuery(query); !status.ok()) return status;
  if (!index_ || allowed_count <= index_->Cost(count, facts_.effort, allowed_count))
    return segment.Search(query, count, allowed);
  std::vector<VectorHit> hits = Approximate(segment, query, count, facts_.effort, allowed, allowed_count);
  if (static_cast<int64_t>(hits.size()) < std::min(count, allowed_count)) return segment.Search(query, count, allowed);
  return hits;
}

// --- files ---

absl::Status SegmentIndex::Write(const std::filesystem::path& folder, Files& files) const {
  const std::string bytes = index_ ? index_->Serialize() : "";
  IndexHeader header{};
  std::memcpy(header.magic, kIndexMagic, sizeof kIndexMagic);
  header.version = kIndexVersion;
  header.asked = static_cast<uint32_t>(facts_.asked);
  header.kind = static_cast<uint32_t>(facts_.kind);
  header.queries = static_cast<uint32_t>(facts_.queries);
  header.number = static_cast<uint64_t>(number_);
  header.effort = facts_.effort;
  header.recall = facts_.recall;
  header.bytes = bytes.size();
  std::memcpy(header.segment, segment_checksum_.data(), std::min(sizeof header.segment, segment_checksum_.size()));
  std::memcpy(header.checksum, IndexChecksum(header, bytes).data(), sizeof header.checksum);

  const std::filesystem::path file = folder / FileName(number_);
  std::filesystem::path temporary = file;
  temporary += ".tmp";
  files.Remove(temporary).IgnoreError();  // of a writer that was killed
  absl::Status status =
      files.WriteAndSync(temporary, {std::string_view(reinterpret_cast<const char*>(&header), sizeof header), bytes});
  if (status.ok()) status = files.Rename(temporary, file);
  if (status.ok()) status = files.SyncFolder(folder);
  if (!status.ok()) files.Remove(temporary).IgnoreError();
  return status;
}

absl::StatusOr<SegmentIndex::Facts> SegmentIndex::ReadFacts(const std::filesystem::path& folder, int64_t number,
                                                            const std::string& checksum) {
  OpenIndex open;
  const absl::Cleanup close_file = [&open] {
    if (open.descriptor >= 0) close(open.descriptor);
  };
  if (absl::Status status = OpenHeader(folder, number, checksum, open); !status.ok()) return status;
  return FactsOf(open.header);
}

absl::StatusOr<std::shared_ptr<const SegmentIndex>> SegmentIndex::Read(const std::filesystem::path& folder,
                                                                       const Segment& segment,
                                                                       const std::string& checksum) {
  OpenIndex open;
  const absl::Cleanup close_file = [&open] {
    if (open.descriptor >= 0) close(open.descriptor);
  };
  if (absl::Status status = OpenHeader(folder, segment.number(), checksum, open); !status.ok()) return status;
  std::string bytes(open.header.bytes, '\0');
  if (absl::Status status = ReadBytes(open, bytes.data(), bytes.size()); !status.ok()) return status;
  if (std::memcmp(open.header.checksum, IndexChecksum(open.header, bytes).data(), sizeof open.header.checksum) != 0)
    return DamagedIndex(open.file, "its checksum does not fit");

  const auto keep = [](auto parsed, std::unique_ptr<const VectorIndex>& place) {
    if (parsed.ok()) place = *std::move(parsed);
    return parsed.status();
  };
  std::shared_ptr<SegmentIndex> result(new SegmentIndex);
  result->number_ = segment.number();
  result->rows_ = segment.size();
  result->segment_checksum_ = checksum;
  result->facts_ = FactsOf(open.header);
  absl::Status status;
  switch (result->facts_.kind) {
    case IndexKind::kHnsw:
      status = keep(HnswGraph::Parse(bytes, segment.size()), result->index_);
      break;
    case IndexKind::kIvf:
      status = keep(IvfIndex::Parse(bytes, segment.size(), segment.dimension()), result->index_);
      break;
    case IndexKind::kIvfPq:
      status = keep(IvfPqIndex::Parse(bytes, segment.size(), segment.dimension()), result->index_);
      break;
    default:
      break;
  }
  if (!status.ok()) return DamagedIndex(open.file, std::string(status.message()));
  return result;
}

}  // namespace blazon::retrieval
