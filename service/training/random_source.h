// Random choices that are the same on every machine for the same seed (the distributions of <random> are not).
#pragma once

#include <cmath>
#include <cstdint>
#include <iterator>
#include <numbers>
#include <random>

namespace blazon::service {

class RandomSource {
 public:
  explicit RandomSource(uint64_t seed) : engine_(seed) {}

  double Uniform() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }  // [0, 1)
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  // In 0 .. count - 1.
  int64_t Below(int64_t count) { return static_cast<int64_t>(Uniform() * static_cast<double>(count)); }
  int64_t Between(int64_t low, int64_t high) { return low + Below(high - low + 1); }  // both included
  bool Chance(double probability) { return Uniform() < probability; }
  double Normal() { return std::sqrt(-2 * std::log(1 - Uniform())) * std::cos(2 * std::numbers::pi * Uniform()); }
  uint64_t Seed() { return engine_(); }
  template <typename Container>
  const auto& Pick(const Container& choices) {
    return choices[static_cast<size_t>(Below(static_cast<int64_t>(std::size(choices))))];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace blazon::service
