// The scan of every processor's kernels, with codes and without, against a plain loop.
#include "retrieval/exact_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "retrieval/segment.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

std::vector<float> UnitVectors(int64_t count, int64_t dimension, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> vectors(static_cast<size_t>(count * dimension));
  for (int64_t row = 0; row < count; ++row) {
    float* vector = vectors.data() + row * dimension;
    double square = 0;
    for (int64_t d = 0; d < dimension; ++d) square += std::pow(vector[d] = normal(random), 2);
    for (int64_t d = 0; d < dimension; ++d) vector[d] /= static_cast<float>(std::sqrt(square));
  }
  return vectors;
}

std::vector<uint8_t> RandomBits(int64_t count, double share, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bits(static_cast<size_t>((count + 7) / 8));
  for (int64_t row = 0; row < count; ++row) {
    if (std::uniform_real_distribution<>(0, 1)(random) < share)
      bits[static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << row % 8);
  }
  return bits;
}

double Product(const float* a, const float* b, int64_t dimension) {
  double sum = 0;
  for (int64_t d = 0; d < dimension; ++d) sum += static_cast<double>(a[d]) * b[d];
  return sum;
}

struct Case {
  int64_t count, dimension, best;
  double allowed;
};

TEST(ExactScanTest, EqualsAPlainLoopOnEveryKernelOddDimensionsAndFiltersToo) {
  const Case cases[] = {{1, 1, 1, 1},      {7, 3, 10, 1},        {300, 15, 10, 0.5}, {1000, 17, 5, 0.01},
                        {257, 64, 300, 1}, {5000, 100, 20, 0.9}, {4999, 384, 10, 1}, {5000, 385, 10, 0.1},
                        {900, 33, 7, 0},   {640, 1030, 3, 0.3}};
  ASSERT_GE(RunnableKernels().size(), 1u);
  for (const Case& c : cases) {
    const std::vector<float> vectors = UnitVectors(c.count, c.dimension, 1);
    const std::vector<float> queries = UnitVectors(3, c.dimension, 2);
    const std::vector<uint8_t> allowed = RandomBits(c.count, c.allowed, 3);
    for (const VectorKernels& kernels : RunnableKernels()) {
      for (const ExactScan::Codes codes : {ExactScan::Codes::kNever, ExactScan::Codes::kAlways}) {
        SCOPED_TRACE(testing::Message() << kernels.name << ", " << c.count << " x " << c.dimension << ", codes "
                                        << (codes == ExactScan::Codes::kAlways));
        const ExactScan scan(vectors.data(), c.count, c.dimension, codes, kernels);
        ASSERT_EQ(scan.coded(), codes == ExactScan::Codes::kAlways);
        const auto found = scan.Search(queries, c.best, allowed);
        ASSERT_EQ(found.size(), 3u);
        for (size_t q = 0; q < 3; ++q) {
          const float* query = queries.data() + static_cast<int64_t>(q) * c.dimension;
          std::vector<double> products;
          for (int64_t row = 0; row < c.count; ++row) {
            if (allowed[static_cast<size_t>(row / 8)] >> row % 8 & 1)
              products.push_back(Product(query, vectors.data() + row * c.dimension, c.dimension));
          }
          std::sort(products.rbegin(), products.rend());
          ASSERT_EQ(found[q].size(), std::min<size_t>(products.size(), static_cast<size_t>(c.best)));
          for (size_t i = 0; i < found[q].size(); ++i) {
            const VectorHit& hit = found[q][i];
            EXPECT_TRUE(allowed[static_cast<size_t>(hit.row / 8)] >> hit.row % 8 & 1);
            EXPECT_NEAR(hit.cosine, Product(query, vectors.data() + hit.row * c.dimension, c.dimension), 2e-6);
            EXPECT_NEAR(hit.cosine, products[i], 2e-6);
            EXPECT_TRUE(i == 0 || hit.row != found[q][i - 1].row);
          }
        }
      }
    }
  }
}

TEST(ExactScanTest, CodesLoseNothing) {
  const int64_t count = 6000, dimension = 96;
  std::vector<float> vectors = UnitVectors(count, dimension, 4);
  // Near copies, nearer to one another than codes can tell; rows of other lengths, a zero row and a tiny one.
  for (int64_t row = 1; row < 500; ++row) {
    for (int64_t d = 0; d < dimension; ++d)
      vectors[static_cast<size_t>(row * dimension + d)] =
          vectors[static_cast<size_t>(d)] + 1e-5f * vectors[static_cast<size_t>((row + 1000) * dimension + d)];
  }
  for (int64_t d = 0; d < dimension; ++d) {
    vectors[static_cast<size_t>(600 * dimension + d)] = 0;
    vectors[static_cast<size_t>(601 * dimension + d)] *= 1e-38f;
    vectors[static_cast<size_t>(602 * dimension + d)] *= 50;
  }
  const std::vector<uint8_t> all(static_cast<size_t>(count / 8), 0xff);
  std::vector<float> queries = UnitVectors(4, dimension, 5);
  queries.insert(queries.end(), vectors.begin(), vectors.begin() + 2 * dimension);
  queries.insert(queries.end(), static_cast<size_t>(dimension), 0.0f);
  for (const VectorKernels& kernels : RunnableKernels()) {
    const auto plain =
        ExactScan(vectors.data(), count, dimension, ExactScan::Codes::kNever, kernels).Search(queries, 25, all);
    const auto coded =
        ExactScan(vectors.data(), count, dimension, ExactScan::Codes::kAlways, kernels).Search(queries, 25, all);
    for (size_t q = 0; q < plain.size(); ++q) {
      ASSERT_EQ(plain[q].size(), coded[q].size());
      for (size_t i = 0; i < plain[q].size(); ++i) {
        EXPECT_EQ(plain[q][i].row, coded[q][i].row) << kernels.name << " query " << q << " place " << i;
        EXPECT_EQ(plain[q][i].cosine, coded[q][i].cosine);
      }
    }
  }
}

TEST(ExactScanTest, EqualRowsComeInOrderWhereverTheyLie) {
  const int64_t count = 5000, dimension = 37;
  std::vector<float> vectors = UnitVectors(count, dimension, 6);
  const std::vector<float> query = UnitVectors(1, dimension, 7);
  const std::vector<int64_t> twins = {3, 64, 255, 256, 257, 1001, 4998, 4999};
  for (const int64_t row : twins) std::copy(query.begin(), query.end(), vectors.begin() + row * dimension);
  const std::vector<uint8_t> all(static_cast<size_t>((count + 7) / 8), 0xff);
  for (const VectorKernels& kernels : RunnableKernels()) {
    for (const ExactScan::Codes codes : {ExactScan::Codes::kNever, ExactScan::Codes::kAlways}) {
      const auto found = ExactScan(vectors.data(), count, dimension, codes, kernels).Search(query, 5, all);
      for (size_t i = 0; i < 5; ++i) EXPECT_EQ(found[0][i].row, twins[i]) << kernels.name;
    }
  }
}

TEST(ExactScanTest, KernelsGiveTheSameProductsOfCodes) {
  const int64_t count = 50, dimension = 200;
  const std::vector<float> vectors = UnitVectors(count, dimension, 8);
  std::vector<float> query = UnitVectors(1, dimension, 9);
  query[5] = 3e4f;  // one number far above the others
  const CodedQuery coded = CodeQuery(query);
  for (size_t d = 0; d < coded.values.size(); ++d) EXPECT_EQ(coded.values[d], 256 * coded.high[d] + coded.low[d]);
  EXPECT_LE(coded.error, coded.scale * std::sqrt(dimension));
  std::mt19937 random(10);
  std::vector<uint8_t> codes(static_cast<size_t>(count * 256), 128);
  for (int64_t i = 0; i < count * 256; ++i) {
    if (i % 256 < dimension) codes[static_cast<size_t>(i)] = static_cast<uint8_t>(1 + random() % 255);
  }
  const std::vector<int32_t> rows = {49, 0, 7, 7, 13, 21, 2};
  for (const VectorKernels& kernels : RunnableKernels()) {
    std::vector<int32_t> products(rows.size());
    kernels.dot_codes(coded, codes.data(), 256, rows.data(), static_cast<int64_t>(rows.size()), products.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      int64_t expected = 0;
      for (size_t d = 0; d < 256; ++d) expected += coded.values[d] * codes[static_cast<size_t>(rows[i]) * 256 + d];
      EXPECT_EQ(products[i], expected) << kernels.name;
    }
  }
}

TEST(ExactScanTest, KernelsGiveTheProductsOfRowsOfCodes) {
  const int64_t count = 40, stride = 320;
  std::mt19937 random(12);
  std::vector<uint8_t> codes(static_cast<size_t>(count * stride));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(1 + random() % 255);
  const std::vector<int32_t> rows = {39, 0, 7, 7, 13, 21, 2};
  for (const VectorKernels& kernels : RunnableKernels()) {
    std::vector<int32_t> products(rows.size());
    kernels.dot_code_rows(7, codes.data(), stride, rows.data(), static_cast<int64_t>(rows.size()), products.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      int32_t expected = 0;
      for (size_t d = 0; d < static_cast<size_t>(stride); ++d)
        expected += (codes[7 * static_cast<size_t>(stride) + d] - 128) *
                    (codes[static_cast<size_t>(rows[i] * stride) + d] - 128);
      EXPECT_EQ(products[i], expected) << kernels.name;
    }
  }
}

TEST(SegmentTest, RefusesAQueryThatIsNotFiniteOrOfAnotherDimension) {
  const std::vector<float> vectors = UnitVectors(10, 4, 11);
  const Segment segment(1, 4, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, vectors);
  const std::vector<uint8_t> all = {0xff, 0x03};
  EXPECT_EQ(segment.Search({vectors.data(), 4}, 20, all)->size(), 10u);
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    const std::vector<float> query = {0.5f, bad, 0, 0};
    EXPECT_EQ(segment.Search(query, 3, all).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(segment.Search({vectors.data(), 3}, 3, all).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blazon::retrieval
