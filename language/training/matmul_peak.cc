#include "language/training/matmul_peak.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <chrono>

namespace blazon::language {
namespace {

double MeasurePeak(at::ScalarType type) {
  constexpr int64_t kSide = 1024;
  constexpr int kRepeats = 8;
  const at::NoGradGuard no_grad;
  const at::Tensor a = at::full({kSide, kSide}, 0.5, type), b = at::full({kSide, kSide}, 0.25, type);
  at::mm(a, b);  // prepares what is prepared once
  double best = 1e9;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::mm(a, b);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * kSide * kSide * kSide / best;
}

}  // namespace

double MatmulPeak(bool bf16) {
  if (bf16) {
    static const double peak = MeasurePeak(at::kBFloat16);
    return peak;
  }
  static const double peak = MeasurePeak(at::kFloat);
  return peak;
}

}  // namespace blazon::language
