#include "language/training/skip_gram.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

// xorshift64* (Vigna 2016): the generator is most of what is left beside the sums.
class FastRandom {
 public:
  explicit FastRandom(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u | 1) {}
  uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return (state_ * 0x2545F4914F6CDD1Du) >> 11;  // 53 bits
  }
  double Unit() { return static_cast<double>(Next()) * 0x1p-53; }
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Unit() * static_cast<double>(bound)); }

 private:
  uint64_t state_;
};

// Draws words by their count to the power 3/4.
class NegativeWords {
 public:
  explicit NegativeWords(const std::vector<int64_t>& counts) {
    double sum = 0;
    for (const int64_t count : counts) ends_.push_back(sum += std::pow(static_cast<double>(count), 0.75));
  }
  int64_t Draw(FastRandom& random) const {
    const auto found = std::upper_bound(ends_.begin(), ends_.end(), random.Unit() * ends_.back());
    return std::min(std::distance(ends_.begin(), found), static_cast<std::ptrdiff_t>(ends_.size() - 1));
  }

 private:
  std::vector<double> ends_;  // of each word's share, one behind the other
};

// Moves `word` and `context` [width] towards each other, or with `label` 0 apart, by the gradient of the logistic loss;
// the word's part is added to `moved` until all its pairs are seen.
void TrainPair(const float* word, float* context, float* moved, int64_t width, float label, float rate) {
  float sums[8] = {};  // apart, so that they may be computed side by side
  int64_t place = 0;
  for (; place + 8 <= width; place += 8) {
    for (int64_t i = 0; i < 8; ++i) sums[i] += word[place + i] * context[place + i];
  }
  float product = 0;
  for (const float sum : sums) product += sum;
  for (; place < width; ++place) product += word[place] * context[place];
  const float step = rate * (label - 1 / (1 + std::exp(-product)));
  for (int64_t i = 0; i < width; ++i) {
    moved[i] += step * context[i];
    context[i] += step * word[i];
  }
}

}  // namespace

absl::StatusOr<at::Tensor> TrainSkipGram(const at::Tensor& tokens, const SkipGramOptions& options) {
  const int64_t count = tokens.numel(), vocabulary = options.vocabulary_size, width = options.width;
  if (vocabulary < 2 || width < 1 || options.window < 1 || options.negatives < 1 || options.passes < 1 ||
      !(options.learning_rate > 0) || !(options.subsample >= 0))
    return absl::InvalidArgumentError("an option of skip-gram is out of range");
  if (count < 2) return absl::InvalidArgumentError(absl::StrCat("skip-gram has ", count, " tokens to learn from"));
  const int64_t* ids = tokens.const_data_ptr<int64_t>();
  std::vector<int64_t> counts(vocabulary, 0);
  for (int64_t i = 0; i < count; ++i) ++counts[ids[i]];
  const NegativeWords negatives(counts);
  std::vector<double> kept(vocabulary, 1.0);  // odds that a word is not passed over
  for (int64_t word = 0; options.subsample > 0 && word < vocabulary; ++word) {
    const double share = static_cast<double>(counts[word]) / static_cast<double>(count);
    if (share > options.subsample) kept[word] = std::sqrt(options.subsample / share);
  }

  FastRandom random(options.seed);
  at::Tensor words = at::zeros({vocabulary, width}), contexts = at::zeros({vocabulary, width});
  auto* in = words.mutable_data_ptr<float>();
  auto* out = contexts.mutable_data_ptr<float>();
  for (int64_t i = 0; i < vocabulary * width; ++i)
    in[i] = static_cast<float>((random.Unit() - 0.5) / static_cast<double>(width));
  std::vector<float> moved(width);
  std::vector<int64_t> text;
  const double all = static_cast<double>(options.passes) * static_cast<double>(count);
  for (int64_t pass = 0; pass < options.passes; ++pass) {
    text.clear();
    for (int64_t i = 0; i < count; ++i) {
      if (kept[ids[i]] >= 1 || random.Unit() < kept[ids[i]]) text.push_back(ids[i]);
    }
    const auto length = static_cast<int64_t>(text.size());
    for (int64_t place = 0; place < length; ++place) {
      if (place % 4096 == 0 && options.stop()) return words;
      const double done = static_cast<double>(pass) * static_cast<double>(count) +
                          static_cast<double>(place) / static_cast<double>(length) * static_cast<double>(count);
      const auto rate = static_cast<float>(options.learning_rate * std::max(1 - done / all, 1e-4));
      const int64_t reach = 1 + random.Below(options.window);
      float* const word = in + text[place] * width;
      for (int64_t other = std::max<int64_t>(0, place - reach); other <= std::min(length - 1, place + reach); ++other) {
        if (other == place) continue;
        std::fill(moved.begin(), moved.end(), 0.0f);
        TrainPair(word, out + text[other] * width, moved.data(), width, 1, rate);
        for (int64_t i = 0; i < options.negatives; ++i) {
          const int64_t drawn = negatives.Draw(random);
          if (drawn != text[other]) TrainPair(word, out + drawn * width, moved.data(), width, 0, rate);
        }
        for (int64_t i = 0; i < width; ++i) word[i] += moved[i];
      }
    }
  }
  return words;
}

}  // namespace blazon::language
