#include "language/sampler.h"

#include <ATen/ops/logsumexp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_set>

#include "absl/status/status.h"

namespace blazon::language {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr size_t kLikelyNucleus = 512;  // candidates that top-p sorts at first; nearly always enough

TokenId Best(const std::vector<float>& scores) {
  return static_cast<TokenId>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// The n best ids by score, best first.
std::vector<TokenId> BestIds(const float* scores, int64_t count, int64_t n) {
  std::vector<TokenId> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  std::partial_sort(ids.begin(), ids.begin() + n, ids.end(),
                    [&](TokenId a, TokenId b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  ids.resize(n);
  return ids;
}

}  // namespace

Sampler::Sampler(const GenerationOptions& options, uint64_t seed, std::vector<TokenId> prompt)
    : options_(options), random_(seed), history_(std::move(prompt)) {}

absl::StatusOr<TokenLogprob> Sampler::Sample(const at::Tensor& logits) {
  const float* values = logits.const_data_ptr<float>();
  const int64_t size = logits.numel();
  const double normaliser = at::logsumexp(logits, 0).item<double>();
  if (!std::isfinite(normaliser))
    return absl::InternalError("the model gave logits that are not finite; its weights may be damaged");

  TokenLogprob choice;
  const std::vector<float> scores = Scores(logits);
  choice.id = options_.temperature == 0 ? Best(scores) : Draw(Filter(scores));
  choice.logprob = values[choice.id] - normaliser;
  if (options_.top_logprobs > 0) {
    for (const TokenId id : BestIds(values, size, options_.top_logprobs))
      choice.top.emplace_back(id, values[id] - normaliser);
  }
  history_.push_back(choice.id);
  ++output_count_[choice.id];
  return choice;
}

std::vector<Sampler::Candidate> Sampler::Distribution(const at::Tensor& logits) const { return Filter(Scores(logits)); }

std::vector<float> Sampler::Scores(const at::Tensor& logits) const {
  const float* values = logits.const_data_ptr<float>();
  std::vector<float> scores(values, values + logits.numel());
  Penalise(scores);
  BanRepeatedNgrams(scores);
  return scores;
}

void Sampler::Penalise(std::vector<float>& scores) const {
  const auto known = [&](TokenId id) { return id >= 0 && id < static_cast<TokenId>(scores.size()); };
  if (options_.repetition_penalty != 1) {
    const float penalty = static_cast<float>(options_.repetition_penalty);
    for (const TokenId id : std::unordered_set<TokenId>(history_.begin(), history_.end())) {
      if (known(id)) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
    }
  }
  if (options_.presence_penalty != 0 || options_.frequency_penalty != 0) {
    for (const auto& [id, count] : output_count_) {
      scores[id] -=
          static_cast<float>(options_.presence_penalty + options_.frequency_penalty * static_cast<double>(count));
    }
  }
}

void Sampler::BanRepeatedNgrams(std::vector<float>& scores) const {
  const int64_t n = options_.no_repeat_ngram_size, length = static_cast<int64_t>(history_.size());
  if (n == 0 || length < n) return;
  const auto last = history_.end() - (n - 1);  // what the next token would complete
  std::vector<TokenId> banned;
  for (auto begin = history_.begin(); begin + n <= history_.end(); ++begin) {
    const TokenId next = *(begin + n - 1);
    if (next >= 0 && std::equal(begin, begin + n - 1, last)) banned.push_back(next);
  }
  for (const TokenId id : banned) scores[id] = kNever;
  const bool all = std::all_of(scores.begin(), scores.end(), [](float score) { return score == kNever; });
  // A tiny vocabulary can be banned whole: then any token may follow.
  if (all) std::fill(scores.begin(), scores.end(), 0.0f);
}

std::vector<Sampler::Candidate> Sampler::Filter(const std::vector<float>& scores) const {
  const float best = *std::max_element(scores.begin(), scores.end());
  const float temperature = static_cast<float>(options_.temperature);
  // Unnormalised probabilities; the best has 1, so neither overflow nor an empty set can happen.
  std::vector<Candidate> candidates;
  candidates.reserve(scores.size());
  for (size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] == kNever) continue;
    candidates.push_back({std::exp((scores[id] - best) / temperature), static_cast<TokenId>(id)});
  }
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  };

  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(candidates.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + options_.top_k - 1, candidates.end(), better);
    candidates.resize(options_.top_k);
  }
  if (options_.top_p < 1) {
    double total = 0;
    for (const Candidate& candidate : candidates) total += candidate.weight;
    // The shortest list of best candidates that holds top_p of the mass. Sorting the first few is nearly always enough.
    size_t sorted = std::min(kLikelyNucleus, candidates.size()), kept = 0;
    double mass = 0;
    std::partial_sort(candidates.begin(), candidates.begin() + sorted, candidates.end(), better);
    while (kept < candidates.size() && (kept == 0 || mass < options_.top_p * total)) {
      if (kept == sorted) {
        sorted = candidates.size();
        std::sort(candidates.begin() + kept, candidates.end(), better);
      }
      mass += candidates[kept++].weight;
    }
    candidates.resize(kept);
  }
  if (options_.min_p > 0) {
    // The best candidate's weight is 1.
    std::erase_if(candidates, [&](const Candidate& candidate) { return candidate.weight < options_.min_p; });
  }

  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  return candidates;
}

TokenId Sampler::Draw(const std::vector<Candidate>& candidates) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  const double uniform = static_cast<double>(random_() >> 11) * 0x1.0p-53;  // [0, 1)
  double point = uniform * total;
  for (const Candidate& candidate : candidates) {
    point -= candidate.weight;
    if (point < 0) return candidate.id;
  }
  return candidates.back().id;  // rounding left a rest
}

}  // namespace blazon::language
