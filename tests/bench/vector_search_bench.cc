// Workloads of search by vectors alone, each beside what it is compared with, in turns within one run, by the processor
// time of one thread: the machine may be busy. Medians of the rounds; the counters are queries a second and ratios.
#include <benchmark/benchmark.h>
#include <faiss/IndexFlat.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "retrieval/exact_scan.h"
#include "retrieval/hnsw_graph.h"
#include "retrieval/segment_index.h"

namespace blazon::retrieval {
namespace {

constexpr int64_t kRows = 100000, kWidth = 384, kBest = 10;

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds of one call of each, medians of `rounds` rounds in turns.
std::vector<double> Medians(int rounds, const std::vector<std::function<void(int round)>>& contestants) {
  std::vector<std::vector<double>> seconds(contestants.size());
  for (int round = -1; round < rounds; ++round) {  // the first is not counted
    for (size_t i = 0; i < contestants.size(); ++i) {
      const double start = ThreadSeconds();
      contestants[i](round + 1);
      if (round >= 0) seconds[i].push_back(ThreadSeconds() - start);
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& values : seconds) {
    std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
    medians.push_back(values[values.size() / 2]);
  }
  return medians;
}

AlignedBuffer<float> RandomUnitVectors(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  AlignedBuffer<float> vectors(static_cast<size_t>(count * kWidth));
  for (int64_t row = 0; row < count; ++row) {
    float* vector = vectors.data() + row * kWidth;
    double square = 0;
    for (int64_t d = 0; d < kWidth; ++d) square += std::pow(vector[d] = normal(random), 2);
    for (int64_t d = 0; d < kWidth; ++d) vector[d] /= static_cast<float>(std::sqrt(square));
  }
  return vectors;
}

// The sum of all words of the memory, and nothing else: what one thread can read.
__attribute__((target_clones("avx512f", "avx2", "default"))) uint64_t Read(const AlignedBuffer<float>& memory) {
  typedef uint64_t Words __attribute__((vector_size(64)));
  const Words* words = reinterpret_cast<const Words*>(memory.data());
  Words sums[4] = {};
  const size_t count = memory.bytes() / sizeof(Words);
  for (size_t i = 0; i + 4 <= count; i += 4) {
    for (size_t k = 0; k < 4; ++k) sums[k] += words[i + k];
  }
  return sums[0][0] + sums[1][1] + sums[2][2] + sums[3][3];
}

// 100,000 x 384, top 10, one thread: this scan in fp32 and by codes, FAISS's flat index, and a plain read of the
// memory.
void ExactScanBesideFaiss(benchmark::State& state) {
  omp_set_num_threads(1);
  const AlignedBuffer<float> vectors = RandomUnitVectors(kRows, 1);
  const AlignedBuffer<float> queries = RandomUnitVectors(64, 2);
  const std::vector<uint8_t> all(kRows / 8, 0xff);
  faiss::IndexFlatIP flat(kWidth);
  flat.add(kRows, vectors.data());
  const ExactScan plain(vectors.data(), kRows, kWidth, ExactScan::Codes::kNever);
  const ExactScan coded(vectors.data(), kRows, kWidth, ExactScan::Codes::kAlways);
  const auto query = [&](int round, int number = 1) {
    return absl::MakeSpan(queries.data() + (round % 32) * kWidth, static_cast<size_t>(number * kWidth));
  };
  int64_t differences = 0;
  for (auto _ : state) {
    std::vector<VectorHit> by_plain, by_codes;
    std::vector<float> products(kBest);
    std::vector<faiss::Index::idx_t> by_faiss(kBest);
    const std::vector<double> seconds =
        Medians(15, {[&](int round) { by_plain = plain.Search(query(round), kBest, all)[0]; },
                     [&](int round) { by_codes = coded.Search(query(round), kBest, all)[0]; },
                     [&](int round) { flat.search(1, query(round).data(), kBest, products.data(), by_faiss.data()); },
                     [&](int round) { benchmark::DoNotOptimize(Read(vectors)); },
                     [&](int round) { benchmark::DoNotOptimize(coded.Search(query(round, 16), kBest, all)); }});
    for (size_t i = 0; i < kBest; ++i) {
      differences += by_plain[i].row != by_faiss[i];
      differences += by_codes[i].row != by_faiss[i];
    }
    state.counters["fp32"] = 1 / seconds[0];
    state.counters["codes"] = 1 / seconds[1];
    state.counters["faiss"] = 1 / seconds[2];
    state.counters["fp32/faiss"] = seconds[2] / seconds[0];
    state.counters["codes/faiss"] = seconds[2] / seconds[1];
    state.counters["fp32/read"] = seconds[3] / seconds[0];
    state.counters["read_GB/s"] = static_cast<double>(vectors.bytes()) / seconds[3] / 1e9;
    state.counters["codes_16_at_once"] = 16 / seconds[4];
  }
  state.counters["differences"] = static_cast<double>(differences);
}
BENCHMARK(ExactScanBesideFaiss)
    ->Name("retrieval/exact_scan_beside_faiss")
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

// The vectors of a file of floats named by BLAZON_VECTORS (tests/bench/vector_search.py makes one), else 100,000 in
// clusters. The last kAsked are queries.
constexpr int64_t kAsked = 500;
constexpr int64_t kDepth = 100;  // what a search of a collection asks a segment for

std::vector<float> VectorsInClusters() {
  std::vector<float> vectors;
  if (const char* file = std::getenv("BLAZON_VECTORS")) {
    std::ifstream in(file, std::ios::binary | std::ios::ate);
    vectors.resize(static_cast<size_t>(in.tellg()) / sizeof(float) / kWidth * kWidth);
    in.seekg(0);
    in.read(reinterpret_cast<char*>(vectors.data()), static_cast<std::streamsize>(vectors.size() * sizeof(float)));
    return vectors;
  }
  const AlignedBuffer<float> centres = RandomUnitVectors(2000, 3), noise = RandomUnitVectors(kRows + kAsked, 4);
  std::mt19937 random(5);
  for (int64_t row = 0; row < kRows + kAsked; ++row) {
    const float* centre = centres.data() + static_cast<int64_t>(random() % 2000) * kWidth;
    double square = 0;
    for (int64_t d = 0; d < kWidth; ++d) {
      vectors.push_back(centre[d] + 0.7f * noise.data()[row * kWidth + d]);
      square += vectors.back() * vectors.back();
    }
    for (int64_t d = 0; d < kWidth; ++d)
      vectors[static_cast<size_t>(row * kWidth + d)] /= static_cast<float>(std::sqrt(square));
  }
  return vectors;
}

double Recall(const std::vector<std::vector<VectorHit>>& found, const std::vector<std::vector<VectorHit>>& exact) {
  int64_t hits = 0, wanted = 0;
  for (size_t q = 0; q < exact.size(); ++q) {
    wanted += static_cast<int64_t>(exact[q].size());
    for (size_t i = 0; i < std::min(found[q].size(), exact[q].size()); ++i)
      hits += found[q][i].cosine >= exact[q].back().cosine - 1e-6f;
  }
  return static_cast<double>(hits) / static_cast<double>(wanted);
}

// The graph at the least effort that finds 0.95 of the ten best, beside the exact scan; and the index as searches use
// it, at the effort that it chose by itself, for all rows and where a filter leaves 10 % and 1 % of them.
void GraphBesideExactScan(benchmark::State& state) {
  const std::vector<float> vectors = VectorsInClusters();
  const int64_t rows = static_cast<int64_t>(vectors.size()) / kWidth - kAsked;
  const absl::Span<const float> queries(vectors.data() + rows * kWidth, kAsked * kWidth);
  std::vector<int64_t> ids(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) ids[static_cast<size_t>(i)] = i;
  const Segment segment(1, kWidth, ids, absl::MakeSpan(vectors.data(), static_cast<size_t>(rows * kWidth)));
  std::vector<uint8_t> allowed[3];
  int64_t allowed_count[3] = {};
  std::mt19937 random(6);
  for (int i = 0; i < 3; ++i) {
    allowed[i].resize(static_cast<size_t>((rows + 7) / 8));
    for (int64_t row = 0; row < rows; ++row) {
      if (random() % 100 >= std::vector<unsigned>{100, 10, 1}[static_cast<size_t>(i)]) continue;
      allowed[i][static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << row % 8);
      ++allowed_count[i];
    }
  }
  for (auto _ : state) {
    const double start = ThreadSeconds();
    const auto graph = HnswGraph::Build(segment.scan(), {});
    state.counters["build_us_a_row"] = 1e6 * (ThreadSeconds() - start) / static_cast<double>(rows);
    const auto index = SegmentIndex::Build(segment, std::string(16, 'x'), IndexKind::kHnsw, {});
    std::vector<std::vector<VectorHit>> exact[3], found(kAsked);
    for (int i = 0; i < 3; ++i) exact[i] = segment.scan().Search(queries, kBest, allowed[i]);
    const auto query = [&](size_t q) { return queries.subspan(q * kWidth, kWidth); };
    const auto walk = [&](int64_t effort) {
      for (size_t q = 0; q < kAsked; ++q) {
        const std::vector<int32_t> near =
            (*graph)->Propose(segment.scan(), query(q), kBest, effort, allowed[0], allowed_count[0]);
        found[q] = segment.scan().Best(query(q).data(), near, kBest);
      }
    };
    for (const int64_t effort : (*graph)->Efforts()) {
      walk(effort);
      state.counters["effort"] = static_cast<double>(effort);
      state.counters["recall"] = Recall(found, exact[0]);
      if (state.counters["recall"] >= 0.95) break;
    }
    const int64_t effort = static_cast<int64_t>(state.counters["effort"]);
    const auto search = [&](int i) {
      for (size_t q = 0; q < kAsked; ++q)
        found[q] = *(*index)->Search(segment, query(q), kDepth, allowed[i], allowed_count[i]);
    };
    const std::vector<double> seconds = Medians(
        5, {[&](int) { walk(effort); }, [&](int) { search(0); }, [&](int) { search(1); }, [&](int) { search(2); },
            [&](int) {
              for (size_t q = 0; q < 50; ++q) benchmark::DoNotOptimize(segment.Search(query(q), kDepth, allowed[0]));
            }});
    state.counters["graph"] = kAsked / seconds[0];
    state.counters["index"] = kAsked / seconds[1];
    state.counters["filtered_10%"] = kAsked / seconds[2];
    state.counters["filtered_1%"] = kAsked / seconds[3];
    state.counters["exact"] = 50 / seconds[4];
    const char* names[] = {"index_recall", "filtered_10%_recall", "filtered_1%_recall"};
    for (int i = 0; i < 3; ++i) {
      search(i);
      state.counters[names[i]] = Recall(found, exact[i]);
    }
    state.counters["rows"] = static_cast<double>(rows);
    state.counters["measured_recall"] = (*index)->facts().recall;
    state.counters["filtered_10%/index"] = seconds[1] / seconds[2];
    state.counters["filtered_1%/index"] = seconds[1] / seconds[3];
    state.counters["graph/exact"] = state.counters["graph"] / state.counters["exact"];
  }
}
BENCHMARK(GraphBesideExactScan)
    ->Name("retrieval/graph_beside_exact_scan")
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace blazon::retrieval
