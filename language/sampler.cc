#include "language/sampler.h"

#include <ATen/ops/logsumexp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "language/token_logprobs.h"

namespace blazon::language {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr size_t kLikelyNucleus = 512;  // candidates that top-p sorts at first; nearly always enough

TokenId Best(const std::vector<float>& scores) {
  return static_cast<TokenId>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// Keeps the candidates that typical sampling draws from; in any order before, by id after.
void KeepTypical(std::vector<Sampler::Candidate>& candidates, double mass) {
  double total = 0, entropy = 0;
  for (const Sampler::Candidate& candidate : candidates) total += candidate.weight;
  for (const Sampler::Candidate& candidate : candidates) {
    const double p = candidate.weight / total;
    if (p > 0) entropy -= p * std::log(p);
  }
  std::vector<std::pair<double, Sampler::Candidate>> by_distance;  // of the surprise from the entropy
  by_distance.reserve(candidates.size());
  for (const Sampler::Candidate& candidate : candidates) {
    if (candidate.weight > 0)  // one that underflowed to 0 is infinitely surprising
      by_distance.emplace_back(std::abs(-std::log(candidate.weight / total) - entropy), candidate);
  }
  std::sort(by_distance.begin(), by_distance.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second.id < b.second.id;
  });
  size_t kept = 0;
  for (double held = 0; kept < by_distance.size() && held < mass; ++kept)
    held += by_distance[kept].second.weight / total;
  while (kept < by_distance.size() && by_distance[kept].first == by_distance[kept - 1].first) ++kept;
  candidates.clear();
  for (size_t i = 0; i < kept; ++i) candidates.push_back(by_distance[i].second);
}

}  // namespace

Sampler::Sampler(const GenerationOptions& options, uint64_t seed, std::vector<TokenId> prompt)
    : options_(options), random_(seed), processor_(options, std::move(prompt)) {}

absl::StatusOr<TokenLogprob> Sampler::Sample(const at::Tensor& logits) {
  const double normaliser = at::logsumexp(logits, 0).item<double>();
  if (!std::isfinite(normaliser))
    return absl::InternalError("the model gave logits that are not finite; its weights may be damaged");
  const std::vector<float> scores = Scores(logits);
  const TokenId id = options_.temperature == 0 ? Best(scores) : Draw(Filter(scores));
  processor_.Push(id);
  return LogprobOf(id, logits.const_data_ptr<float>(), logits.numel(), normaliser, options_.top_logprobs);
}

std::vector<Sampler::Candidate> Sampler::Distribution(const at::Tensor& logits) const { return Filter(Scores(logits)); }

std::vector<float> Sampler::Scores(const at::Tensor& logits) const {
  const float* values = logits.const_data_ptr<float>();
  std::vector<float> scores(values, values + logits.numel());
  processor_.Process(scores);
  const bool all = std::all_of(scores.begin(), scores.end(), [](float score) { return score == kNever; });
  // A tiny vocabulary can be banned whole: then any token may follow.
  if (all) std::fill(scores.begin(), scores.end(), 0.0f);
  return scores;
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
  if (options_.typical_p < 1) KeepTypical(candidates, options_.typical_p);

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
