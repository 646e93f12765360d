#include "language/sampler.h"

#include <ATen/ops/logsumexp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
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

// The `count` best indices of `values` that are above 0, best first; the lower index is better among equals.
std::vector<TokenId> Likeliest(const std::vector<double>& values, size_t count) {
  std::vector<TokenId> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<int64_t>(count), ids.end(),
                    [&](TokenId a, TokenId b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  ids.resize(count);
  std::erase_if(ids, [&](TokenId id) { return values[id] <= 0; });
  return ids;
}

}  // namespace

class Sampler::Recorder {
 public:
  explicit Recorder(size_t vocabulary) : vocabulary_(vocabulary) {}

  // Candidates, weighted by anything proportional to their probability.
  void Note(const char* rule, const std::vector<Candidate>& candidates) {
    double total = 0;
    for (const Candidate& candidate : candidates) total += candidate.weight;
    std::vector<double>& stage = distributions_.emplace_back(vocabulary_, 0.0);
    for (const Candidate& candidate : candidates) stage[candidate.id] = candidate.weight / total;
    rules_.emplace_back(rule);
  }
  void NoteScores(const char* rule, const std::vector<float>& scores) {
    const float best = *std::max_element(scores.begin(), scores.end());
    if (best == kNever) return;  // all is banned: Scores begins anew
    std::vector<double>& stage = distributions_.emplace_back(vocabulary_, 0.0);
    double total = 0;
    for (size_t id = 0; id < vocabulary_; ++id) total += stage[id] = std::exp(static_cast<double>(scores[id]) - best);
    for (double& probability : stage) probability /= total;
    rules_.emplace_back(rule);
  }

  // The step's table, of the `count` best tokens before and after the rules.
  SamplingStep Step(TokenId chosen, int64_t count) const {
    SamplingStep step;
    step.chosen = chosen;
    step.tokens = Likeliest(distributions_.front(), static_cast<size_t>(count));
    const auto add = [&](TokenId id) {
      if (std::find(step.tokens.begin(), step.tokens.end(), id) == step.tokens.end()) step.tokens.push_back(id);
    };
    for (const TokenId id : Likeliest(distributions_.back(), static_cast<size_t>(count))) add(id);
    add(chosen);
    for (size_t i = 0; i < rules_.size(); ++i) {
      const std::vector<double>& all = distributions_[i];
      SamplingStage& stage = step.stages.emplace_back();
      stage.rule = rules_[i];
      stage.candidates = std::count_if(all.begin(), all.end(), [](double probability) { return probability > 0; });
      for (const TokenId id : step.tokens) stage.probabilities.push_back(all[id]);
    }
    return step;
  }

 private:
  size_t vocabulary_;
  std::vector<std::string> rules_;
  std::vector<std::vector<double>> distributions_;  // [rule][V]
};

Sampler::Sampler(const GenerationOptions& options, uint64_t seed, std::vector<TokenId> prompt)
    : options_(options), random_(seed), processor_(options, std::move(prompt)) {}

absl::StatusOr<TokenLogprob> Sampler::Sample(const at::Tensor& logits, SamplingStep* step) {
  const double normaliser = at::logsumexp(logits, 0).item<double>();
  if (!std::isfinite(normaliser))
    return absl::InternalError("the model gave logits that are not finite; its weights may be damaged");
  std::optional<Recorder> recorder;
  if (step != nullptr) recorder.emplace(static_cast<size_t>(logits.numel()));
  Recorder* const records = recorder ? &*recorder : nullptr;
  const std::vector<float> scores = Scores(logits, records);
  TokenId id = 0;
  if (options_.temperature == 0) {
    id = Best(scores);
    if (records != nullptr) records->Note("greedy", {{1.0f, id}});
  } else {
    id = Draw(Filter(scores, records));
  }
  if (step != nullptr) *step = recorder->Step(id, options_.explain);
  processor_.Push(id);
  return LogprobOf(id, logits.const_data_ptr<float>(), logits.numel(), normaliser, options_.top_logprobs);
}

std::vector<Sampler::Candidate> Sampler::Distribution(const at::Tensor& logits) const { return Filter(Scores(logits)); }

std::vector<float> Sampler::Scores(const at::Tensor& logits, Recorder* recorder) const {
  const float* values = logits.const_data_ptr<float>();
  std::vector<float> scores(values, values + logits.numel());
  if (recorder == nullptr) {
    processor_.Process(scores);
  } else {
    recorder->NoteScores("model", scores);
    processor_.Process(scores, [&](const char* rule) { recorder->NoteScores(rule, scores); });
  }
  const bool all = std::all_of(scores.begin(), scores.end(), [](float score) { return score == kNever; });
  // A tiny vocabulary can be banned whole: then any token may follow.
  if (all) std::fill(scores.begin(), scores.end(), 0.0f);
  return scores;
}

std::vector<Sampler::Candidate> Sampler::Filter(const std::vector<float>& scores, Recorder* recorder) const {
  const float best = *std::max_element(scores.begin(), scores.end());
  const float temperature = static_cast<float>(options_.temperature);
  // Unnormalised probabilities; the best has 1, so neither overflow nor an empty set can happen.
  std::vector<Candidate> candidates;
  candidates.reserve(scores.size());
  for (size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] == kNever) continue;
    candidates.push_back({std::exp((scores[id] - best) / temperature), static_cast<TokenId>(id)});
  }
  const auto applied = [&](const char* rule) {
    if (recorder != nullptr) recorder->Note(rule, candidates);
  };
  applied("temperature");
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  };

  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(candidates.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + options_.top_k - 1, candidates.end(), better);
    candidates.resize(options_.top_k);
  }
  if (options_.top_k > 0) applied("top_k");
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
    applied("top_p");
  }
  if (options_.min_p > 0) {
    // The best candidate's weight is 1.
    std::erase_if(candidates, [&](const Candidate& candidate) { return candidate.weight < options_.min_p; });
    applied("min_p");
  }
  if (options_.typical_p < 1) {
    KeepTypical(candidates, options_.typical_p);
    applied("typical_p");
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
