#include "retrieval/exact_scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace blazon::retrieval {
namespace {

constexpr int64_t kBlockRows = 256;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

struct Better {
  bool operator()(const VectorHit& a, const VectorHit& b) const {
    return a.cosine > b.cosine || (a.cosine == b.cosine && a.row < b.row);
  }
};

// The best so many hits of those shown.
class BestHits {
 public:
  explicit BestHits(int64_t count) : count_(static_cast<size_t>(count)) {}
  void Show(int64_t row, float cosine) {
    if (cosine < threshold_) return;
    const VectorHit hit{row, cosine};
    if (hits_.size() == count_) {
      if (!Better()(hit, hits_.front())) return;
      std::pop_heap(hits_.begin(), hits_.end(), Better());
      hits_.pop_back();
    }
    hits_.push_back(hit);
    std::push_heap(hits_.begin(), hits_.end(), Better());
    if (hits_.size() == count_) threshold_ = hits_.front().cosine;
  }
  std::vector<VectorHit> Take() {
    std::sort(hits_.begin(), hits_.end(), Better());
    return std::move(hits_);
  }

 private:
  size_t count_;
  float threshold_ = kNothing;   // what the worst of a full list has
  std::vector<VectorHit> hits_;  // a heap, the worst in front
};

// A scan of codes: rows that can still be among the best.
class PossibleHits {
 public:
  PossibleHits(int64_t count, absl::Span<const float> query, double longest)
      : query(CodeQuery(query)), count_(static_cast<size_t>(count)) {
    // Rounding in fp32: of a product of d terms, of what is computed from the codes, and of the bound itself.
    const double rounding = (2.0 * static_cast<double>(query.size()) + 32) * std::ldexp(1.0, -24);
    error = this->query.error * longest + rounding * (this->query.length + this->query.error) * longest;
  }

  void Show(int32_t row, float lower, float upper) {
    if (upper < threshold_) return;
    if (lower > threshold_ || lowers_.size() < count_) {
      lowers_.push_back(lower);
      std::push_heap(lowers_.begin(), lowers_.end(), std::greater<>());
      if (lowers_.size() > count_) {
        std::pop_heap(lowers_.begin(), lowers_.end(), std::greater<>());
        lowers_.pop_back();
      }
      if (lowers_.size() == count_) threshold_ = lowers_.front();
    }
    possible_.push_back({row, upper});
    if (possible_.size() >= compact_at_) {
      Compact();
      compact_at_ = std::max<size_t>(compact_at_, 2 * possible_.size());
    }
  }

  std::vector<int32_t> Take() {
    Compact();
    std::vector<int32_t> rows;
    for (const Possible& entry : possible_) rows.push_back(entry.row);
    return rows;
  }

  const CodedQuery query;
  double error;  // beside the row's residual

 private:
  struct Possible {
    int32_t row;
    float upper;
  };
  void Compact() {
    std::erase_if(possible_, [this](const Possible& entry) { return entry.upper < threshold_; });
  }
  size_t count_, compact_at_ = 4096;
  float threshold_ = kNothing;  // so many rows have at least this
  std::vector<float> lowers_;   // a heap, the least in front
  std::vector<Possible> possible_;
};

// Calls visit(rows, n) with the rows whose bits are set, in order, at most kBlockRows at a time.
template <typename Visit>
void ForEachBlock(int64_t count, absl::Span<const uint8_t> allowed, const Visit& visit) {
  int32_t rows[kBlockRows + 64];
  int64_t filled = 0;
  for (int64_t base = 0; base < count; base += 64) {
    const int64_t bytes = std::min<int64_t>(8, (count - base + 7) / 8);
    uint64_t word = 0;
    std::memcpy(&word, allowed.data() + base / 8, static_cast<size_t>(bytes));
    if (count - base < 64) word &= (uint64_t{1} << (count - base)) - 1;
    if (~word == 0) {
      std::iota(rows + filled, rows + filled + 64, static_cast<int32_t>(base));
      filled += 64;
    } else {
      for (; word != 0; word &= word - 1) rows[filled++] = static_cast<int32_t>(base + __builtin_ctzll(word));
    }
    if (filled >= kBlockRows) {
      visit(rows, kBlockRows);
      std::copy(rows + kBlockRows, rows + filled, rows);
      filled -= kBlockRows;
    }
  }
  if (filled > 0) visit(rows, filled);
}

}  // namespace

ExactScan::ExactScan(const float* vectors, int64_t count, int64_t dimension, Codes codes, const VectorKernels& kernels)
    : vectors_(vectors),
      count_(count),
      dimension_(dimension),
      stride_((dimension + kCodePadding - 1) / kCodePadding * kCodePadding),
      kernels_(&kernels) {
  if (codes == Codes::kAlways || (codes == Codes::kAutomatic && count >= kCodedRows)) MakeCodes();
}

void ExactScan::MakeCodes() {
  if (dimension_ > kMaxCodedDimension || count_ == 0) return;
  codes_ = AlignedBuffer<uint8_t>(static_cast<size_t>(count_ * stride_));
  scales_.resize(static_cast<size_t>(count_));
  residuals_.resize(static_cast<size_t>(count_));
  for (int64_t row = 0; row < count_; ++row) {
    const float* vector = vectors_ + row * dimension_;
    uint8_t* code = codes_.data() + row * stride_;
    float largest = 0;
    for (int64_t d = 0; d < dimension_; ++d) largest = std::max(largest, std::abs(vector[d]));
    const bool tiny = largest < 1e-30f;  // its inverse is not finite
    const float scale = tiny ? 0 : largest / 127, inverse = tiny ? 0 : 127 / largest;
    double residual = 0, length = 0;
    for (int64_t d = 0; d < dimension_; ++d) {
      // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
      const float shifted = vector[d] * inverse + 12582912.0f;
      int32_t bits;
      std::memcpy(&bits, &shifted, sizeof bits);
      const int32_t value = std::clamp(bits - 0x4b400000, -127, 127);
      code[d] = static_cast<uint8_t>(value + 128);
      const float difference = vector[d] - static_cast<float>(value) * scale;
      residual += difference * difference;
      length += vector[d] * vector[d];
    }
    std::fill(code + dimension_, code + stride_, static_cast<uint8_t>(128));
    scales_[static_cast<size_t>(row)] = scale;
    residuals_[static_cast<size_t>(row)] = static_cast<float>(std::sqrt(residual) * (1 + 1e-4));
    longest_ = std::max(longest_, std::sqrt(length) * (1 + 1e-4));
  }
}

void ExactScan::ApproximateProducts(const CodedQuery& query, const int32_t* rows, int64_t count, float* out) const {
  int32_t raw[kBlockRows];
  const int32_t shift = static_cast<int32_t>(128 * query.sum);
  for (int64_t begin = 0; begin < count; begin += kBlockRows) {
    const int64_t n = std::min(kBlockRows, count - begin);
    kernels_->dot_codes(query, codes_.data(), stride_, rows + begin, n, raw);
    for (int64_t i = 0; i < n; ++i) {
      out[begin + i] = static_cast<float>(raw[i] - shift) *
                       (scales_[static_cast<size_t>(rows[begin + i])] * static_cast<float>(query.scale));
    }
  }
}

void ExactScan::ApproximateRowProducts(int32_t row, const int32_t* rows, int64_t count, float* out) const {
  int32_t raw[kBlockRows];
  const float scale = scales_[static_cast<size_t>(row)];
  for (int64_t begin = 0; begin < count; begin += kBlockRows) {
    const int64_t n = std::min(kBlockRows, count - begin);
    kernels_->dot_code_rows(row, codes_.data(), stride_, rows + begin, n, raw);
    for (int64_t i = 0; i < n; ++i)
      out[begin + i] = static_cast<float>(raw[i]) * scale * scales_[static_cast<size_t>(rows[begin + i])];
  }
}

std::vector<std::vector<VectorHit>> ExactScan::Search(absl::Span<const float> queries, int64_t count,
                                                      absl::Span<const uint8_t> allowed) const {
  const size_t width = static_cast<size_t>(dimension_);
  const size_t number = queries.size() / width;
  std::vector<std::vector<VectorHit>> results(number);
  count = std::min(count, count_);
  if (count <= 0) return results;
  if (!coded()) {
    std::vector<BestHits> best(number, BestHits(count));
    ForEachBlock(count_, allowed, [&](const int32_t* rows, int64_t n) {
      float products[kBlockRows];
      for (size_t q = 0; q < number; ++q) {
        kernels_->dot(queries.data() + q * width, vectors_, dimension_, rows, n, products);
        for (int64_t i = 0; i < n; ++i) best[q].Show(rows[i], products[i]);
      }
    });
    for (size_t q = 0; q < number; ++q) results[q] = best[q].Take();
    return results;
  }

  std::vector<PossibleHits> possible;
  for (size_t q = 0; q < number; ++q) possible.emplace_back(count, queries.subspan(q * width, width), longest_);
  ForEachBlock(count_, allowed, [&](const int32_t* rows, int64_t n) {
    float products[kBlockRows], errors[kBlockRows];
    for (PossibleHits& hits : possible) {
      ApproximateProducts(hits.query, rows, n, products);
      const float length = static_cast<float>(hits.query.length), error = static_cast<float>(hits.error);
      for (int64_t i = 0; i < n; ++i) errors[i] = residuals_[static_cast<size_t>(rows[i])] * length + error;
      for (int64_t i = 0; i < n; ++i) hits.Show(rows[i], products[i] - errors[i], products[i] + errors[i]);
    }
  });
  for (size_t q = 0; q < number; ++q) results[q] = Best(queries.data() + q * width, possible[q].Take(), count);
  return results;
}

std::vector<VectorHit> ExactScan::Best(const float* query, absl::Span<const int32_t> rows, int64_t count) const {
  BestHits best(std::min<int64_t>(count, static_cast<int64_t>(rows.size())));
  if (rows.empty() || count <= 0) return {};
  float products[kBlockRows];
  for (size_t begin = 0; begin < rows.size(); begin += kBlockRows) {
    const int64_t n = std::min<int64_t>(kBlockRows, static_cast<int64_t>(rows.size() - begin));
    kernels_->dot(query, vectors_, dimension_, rows.data() + begin, n, products);
    for (int64_t i = 0; i < n; ++i) best.Show(rows[begin + static_cast<size_t>(i)], products[i]);
  }
  return best.Take();
}

}  // namespace blazon::retrieval
