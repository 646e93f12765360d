// Workloads of search by vectors alone, each beside what it is compared with, in turns within one run, by the processor
// time of one thread: the machine may be busy. Medians of the rounds; the counters are queries a second and ratios.
#include <benchmark/benchmark.h>
#include <faiss/IndexFlat.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <functional>
#include <random>
#include <vector>

#include "retrieval/exact_scan.h"

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

}  // namespace
}  // namespace blazon::retrieval
