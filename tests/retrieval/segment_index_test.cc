// Approximate indexes of every kind against the exact scan: what they find, that they never return fewer, that the
// same bytes come back from a file and no others.
#include "retrieval/segment_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "retrieval/hnsw_graph.h"
#include "retrieval/ivf_index.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

constexpr int64_t kIndexed = 16384, kIndexedWidth = 48;

// Unit vectors in clusters, as embeddings are.
std::vector<float> ClusteredVectors(int64_t count, int64_t width, unsigned seed) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> centres(static_cast<size_t>(200 * width));
  for (float& value : centres) value = normal(random);
  random.seed(seed);
  std::vector<float> vectors;
  for (int64_t row = 0; row < count; ++row) {
    const int64_t centre = static_cast<int64_t>(random() % 200);
    std::vector<float> vector;
    double square = 0;
    for (int64_t d = 0; d < width; ++d) {
      vector.push_back(centres[static_cast<size_t>(centre * width + d)] + 0.8f * normal(random));
      square += vector.back() * vector.back();
    }
    for (const float value : vector) vectors.push_back(value / static_cast<float>(std::sqrt(square)));
  }
  return vectors;
}

const Segment& IndexedSegment() {
  static const Segment* segment = [] {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < kIndexed; ++i) ids.push_back(3 * i);
    return new Segment(5, kIndexedWidth, ids, ClusteredVectors(kIndexed, kIndexedWidth, 1));
  }();
  return *segment;
}

const std::string kChecksum = "0123456789abcdef";

const SegmentIndex& IndexOf(IndexKind kind) {
  static std::map<IndexKind, std::shared_ptr<const SegmentIndex>> built;
  if (!built.contains(kind)) {
    auto index = SegmentIndex::Build(IndexedSegment(), kChecksum, kind, {});
    if (!index.ok()) {
      ADD_FAILURE() << index.status();
      std::abort();
    }
    built[kind] = *std::move(index);
  }
  return *built[kind];
}

std::vector<uint8_t> SomeRows(double share, unsigned seed, int64_t& count) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bits((kIndexed + 7) / 8);
  count = 0;
  for (int64_t row = 0; row < kIndexed; ++row) {
    if (std::uniform_real_distribution<>(0, 1)(random) >= share) continue;
    bits[static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << row % 8);
    ++count;
  }
  return bits;
}

class SegmentIndexTest : public testing::TestWithParam<IndexKind> {};

TEST_P(SegmentIndexTest, FindsWhatItSaysAndNeverFewerWhateverIsAllowed) {
  const SegmentIndex& index = IndexOf(GetParam());
  const Segment& segment = IndexedSegment();
  EXPECT_EQ(index.facts().kind, GetParam());
  EXPECT_GE(index.facts().recall, SegmentIndex::Limits().least_recall) << "effort " << index.facts().effort;
  EXPECT_EQ(index.facts().queries, 200);
  const std::vector<float> queries = ClusteredVectors(50, kIndexedWidth, 2);
  for (const double share : {1.0, 0.95, 0.5, 0.1, 0.05, 0.01, 0.0002, 0.0}) {
    SCOPED_TRACE(share);
    int64_t allowed_count = 0;
    const std::vector<uint8_t> allowed = SomeRows(share, 3, allowed_count);
    for (const int64_t count : {int64_t{10}, int64_t{300}}) {
      size_t wanted = 0, found = 0;
      for (size_t q = 0; q < 50; ++q) {
        const auto query = absl::MakeSpan(queries).subspan(q * kIndexedWidth, kIndexedWidth);
        const std::vector<VectorHit> exact = *segment.Search(query, count, allowed);
        const absl::StatusOr<std::vector<VectorHit>> hits = index.Search(segment, query, count, allowed, allowed_count);
        ASSERT_TRUE(hits.ok()) << hits.status();
        ASSERT_EQ(hits->size(), exact.size());
        for (size_t i = 0; i < hits->size(); ++i) {
          const VectorHit& hit = (*hits)[i];
          ASSERT_TRUE(allowed[static_cast<size_t>(hit.row / 8)] >> hit.row % 8 & 1);
          if (i > 0) {
            ASSERT_TRUE(hit.cosine < (*hits)[i - 1].cosine ||
                        (hit.cosine == (*hits)[i - 1].cosine && hit.row > (*hits)[i - 1].row));
          }
          found += hit.cosine >= exact.back().cosine;
        }
        wanted += exact.size();
      }
      EXPECT_GE(static_cast<double>(found), 0.93 * static_cast<double>(wanted)) << count;
    }
  }
  int64_t all = 0;
  const std::vector<uint8_t> bits = SomeRows(1, 3, all);
  const std::vector<float> narrow(kIndexedWidth - 1), broken(kIndexedWidth, NAN);
  EXPECT_EQ(index.Search(segment, narrow, 1, bits, all).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(index.Search(segment, broken, 1, bits, all).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(SegmentIndexTest, ComesBackFromItsFileOrNotAtAll) {
  const SegmentIndex& index = IndexOf(GetParam());
  const Segment& segment = IndexedSegment();
  TemporaryFolder folder;
  Files files;
  EXPECT_TRUE(absl::IsNotFound(SegmentIndex::Read(folder, segment, kChecksum).status()));
  ASSERT_TRUE(index.Write(folder, files).ok());
  ASSERT_TRUE(index.Write(folder, files).ok());  // over the old one
  const auto read = SegmentIndex::Read(folder, segment, kChecksum);
  ASSERT_TRUE(read.ok()) << read.status();
  const auto facts = SegmentIndex::ReadFacts(folder, segment.number(), kChecksum);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->kind, GetParam());
  EXPECT_EQ(facts->recall, index.facts().recall);
  int64_t all = 0;
  const std::vector<uint8_t> allowed = SomeRows(1, 3, all);
  const std::vector<float> queries = ClusteredVectors(20, kIndexedWidth, 2);
  for (size_t q = 0; q < 20; ++q) {
    const auto query = absl::MakeSpan(queries).subspan(q * kIndexedWidth, kIndexedWidth);
    const auto before = *index.Search(segment, query, 10, allowed, all);
    const auto after = *(*read)->Search(segment, query, 10, allowed, all);
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i].row, after[i].row);
  }

  const std::filesystem::path file = folder.path() / SegmentIndex::FileName(segment.number());
  const std::string good = ReadFile(file);
  std::mt19937 random(1);
  for (int i = 0; i < 150; ++i) {
    std::string bad = good;
    const size_t place = i < 96 ? static_cast<size_t>(i) : random() % bad.size();
    bad[place] = static_cast<char>(bad[place] ^ (1 << random() % 8));
    WriteFile(file, bad);
    const auto damaged = SegmentIndex::Read(folder, segment, kChecksum).status();
    EXPECT_TRUE(absl::IsDataLoss(damaged) || absl::IsNotFound(damaged)) << "byte " << place << ": " << damaged;
  }
  for (const size_t length : {size_t{0}, size_t{95}, size_t{96}, good.size() / 2, good.size() - 1}) {
    WriteFile(file, good.substr(0, length));
    EXPECT_TRUE(absl::IsDataLoss(SegmentIndex::Read(folder, segment, kChecksum).status())) << length;
  }
  WriteFile(file, good);
  EXPECT_TRUE(absl::IsDataLoss(SegmentIndex::Read(folder, segment, "fedcba9876543210").status()));
}

INSTANTIATE_TEST_SUITE_P(Kinds, SegmentIndexTest, testing::Values(IndexKind::kHnsw, IndexKind::kIvf, IndexKind::kIvfPq),
                         [](const auto& kind) { return std::string(IndexKindName(kind.param)); });

constexpr int64_t kSmall = 4500;

// Without the file's checksum before it: nothing that a file could say makes a search read elsewhere.
template <typename Index>
void ExpectSafe(const ExactScan& scan, const std::string& good,
                const std::function<absl::StatusOr<std::unique_ptr<Index>>(std::string)>& parse) {
  std::mt19937 random(2);
  const std::vector<float> queries = ClusteredVectors(1, kIndexedWidth, 2);
  const std::vector<uint8_t> allowed((kSmall + 7) / 8, 0xff);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    std::string bad = good;
    const size_t place = random() % (i % 2 == 0 ? bad.size() : 64);
    bad[place] = static_cast<char>(random());
    if (i % 50 == 0) bad.resize(random() % bad.size());
    absl::StatusOr<std::unique_ptr<Index>> index = parse(bad);
    refused += !index.ok();
    if (!index.ok()) continue;
    for (const int32_t row : (*index)->Propose(scan, queries, 10, 64, allowed, kSmall)) {
      ASSERT_GE(row, 0);
      ASSERT_LT(row, kSmall);
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(SegmentIndexParts, DamagedGraphsAndListsAreRefusedOrHarmless) {
  const std::vector<float> vectors = ClusteredVectors(kSmall, kIndexedWidth, 1);
  const ExactScan scan(vectors.data(), kSmall, kIndexedWidth);
  const auto graph = HnswGraph::Build(scan, {});
  ASSERT_TRUE(graph.ok());
  ExpectSafe<HnswGraph>(scan, (*graph)->Serialize(), [](std::string bytes) { return HnswGraph::Parse(bytes, kSmall); });
  const auto lists = IvfIndex::Build(scan);
  ASSERT_TRUE(lists.ok());
  ExpectSafe<IvfIndex>(scan, (*lists)->Serialize(),
                       [](std::string bytes) { return IvfIndex::Parse(bytes, kSmall, kIndexedWidth); });
  // The same rows make the same graph.
  EXPECT_EQ((*graph)->Serialize(), (*HnswGraph::Build(scan, {}))->Serialize());
}

TEST(SegmentIndexParts, SmallSegmentsAreScannedAndBuildingCanBeStopped) {
  EXPECT_EQ(SegmentIndex::KindFor(IndexKind::kAuto, 65535, {}), IndexKind::kExact);
  EXPECT_EQ(SegmentIndex::KindFor(IndexKind::kAuto, 65536, {}), IndexKind::kHnsw);
  EXPECT_EQ(SegmentIndex::KindFor(IndexKind::kExact, 1 << 30, {}), IndexKind::kExact);
  EXPECT_EQ(SegmentIndex::KindFor(IndexKind::kHnsw, 4095, {}), IndexKind::kExact);
  EXPECT_EQ(SegmentIndex::KindFor(IndexKind::kIvfPq, 16383, {}), IndexKind::kExact);
  for (const char* name : {"auto", "exact", "hnsw", "ivf", "ivfpq"})
    EXPECT_EQ(IndexKindName(*ParseIndexKind(name)), name);
  EXPECT_FALSE(ParseIndexKind("HNSW").has_value());
  int asked = 0;
  const auto stopped =
      SegmentIndex::Build(IndexedSegment(), kChecksum, IndexKind::kHnsw, {}, [&asked] { return ++asked > 3; });
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, 4);
}

TEST(SegmentIndexParts, AutomaticallyOnlyWhatFindsEnough) {
  SegmentIndex::Limits limits{.automatic_rows = 5000};
  auto index = *SegmentIndex::Build(IndexedSegment(), kChecksum, IndexKind::kAuto, limits);
  EXPECT_EQ(index->facts().kind, IndexKind::kHnsw);
  EXPECT_GE(index->facts().recall, limits.least_recall);
  limits.wanted_recall = limits.least_recall = 1.1;  // out of reach
  index = *SegmentIndex::Build(IndexedSegment(), kChecksum, IndexKind::kAuto, limits);
  EXPECT_EQ(index->facts().kind, IndexKind::kExact);
  EXPECT_LT(index->facts().recall, 1.1);
  EXPECT_GT(index->facts().recall, 0.5);
  TemporaryFolder folder;
  Files files;
  ASSERT_TRUE(index->Write(folder, files).ok());
  const auto read = SegmentIndex::Read(folder, IndexedSegment(), kChecksum);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ((*read)->facts().kind, IndexKind::kExact);
  const std::vector<float> query = ClusteredVectors(1, kIndexedWidth, 2);
  int64_t all = 0;
  const std::vector<uint8_t> allowed = SomeRows(1, 3, all);
  EXPECT_EQ((*(*read)->Search(IndexedSegment(), query, 10, allowed, all))[9].row,
            (*IndexedSegment().Search(query, 10, allowed))[9].row);
}

}  // namespace
}  // namespace blazon::retrieval
