#include "language/training/policy_gradient.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace blazon::language {
namespace {

// The vectors of the rollouts joined, [n].
at::Tensor JoinRollouts(absl::Span<const Rollout* const> row, std::vector<float> Rollout::*member) {
  std::vector<float> values;
  for (const Rollout* rollout : row) values.insert(values.end(), (rollout->*member).begin(), (rollout->*member).end());
  return at::tensor(values);
}

// What each token counts in a mean, [n].
at::Tensor TokenWeights(absl::Span<const Rollout* const> row, bool by_text, int64_t texts, int64_t tokens) {
  std::vector<float> weights;
  for (const Rollout* rollout : row) {
    const auto length = static_cast<double>(rollout->text.learned_count());
    const double weight = by_text ? 1 / (length * static_cast<double>(texts)) : 1 / static_cast<double>(tokens);
    weights.insert(weights.end(), static_cast<size_t>(length), static_cast<float>(weight));
  }
  return at::tensor(weights);
}

}  // namespace

PolicyTerms& PolicyTerms::operator+=(const PolicyTerms& other) {
  loss += other.loss;
  kl += other.kl;
  clipped += other.clipped;
  value += other.value;
  return *this;
}

at::Tensor DivergenceEstimate(const at::Tensor& policy, const at::Tensor& reference) {
  const at::Tensor difference = reference - policy;
  return difference.exp() - difference - 1;
}

PolicyTerms AddPolicyGradients(const LanguageModel& model, const Adapter* adapter, const ValueHead* head,
                               absl::Span<const Rollout* const> row, const PolicyLossOptions& options, int64_t texts,
                               int64_t tokens) {
  std::vector<const TrainingExample*> examples;
  for (const Rollout* rollout : row) examples.push_back(&rollout->text);
  const at::Tensor weights = TokenWeights(row, options.by_text, texts, tokens);
  const at::Tensor old = JoinRollouts(row, &Rollout::logprobs);
  const at::Tensor advantages = JoinRollouts(row, &Rollout::advantages);
  const at::Tensor reference = JoinRollouts(row, &Rollout::reference);
  const auto mean = [&](const at::Tensor& values) { return (values * weights).sum(); };
  PolicyTerms terms;
  terms.loss = AddLearnedGradients(
      model, adapter, examples, options.temperature, [&](const LearnedTokens& learned) -> at::Tensor {
        const at::Tensor ratio = (learned.logprobs - old).exp();
        const at::Tensor free = ratio * advantages;
        const at::Tensor bound = ratio.clamp(1 - options.clip, 1 + options.clip) * advantages;
        terms.clipped = mean(bound.lt(free).to(at::kFloat)).item<double>();
        at::Tensor loss = mean(-at::minimum(free, bound));
        if (reference.numel() > 0) {
          const at::Tensor divergence = mean(DivergenceEstimate(learned.logprobs, reference));
          terms.kl = divergence.item<double>();
          if (options.kl > 0) loss = loss + options.kl * divergence;
        }
        if (head != nullptr) {
          const at::Tensor before = JoinRollouts(row, &Rollout::values);
          const at::Tensor wanted = JoinRollouts(row, &Rollout::returns);
          const at::Tensor states = learned.states.to(at::kFloat);
          const at::Tensor value = at::linear(states, head->weight, head->bias).flatten();  // [n]
          const at::Tensor near = before + (value - before).clamp(-options.value_clip, options.value_clip);
          const at::Tensor worse = at::maximum((value - wanted).square(), (near - wanted).square());
          const at::Tensor value_loss = 0.5 * mean(worse);
          terms.value = value_loss.item<double>();
          loss = loss + options.value_weight * value_loss;
        }
        return loss;
      });
  return terms;
}

std::vector<float> GroupAdvantages(absl::Span<const double> rewards) {
  const auto count = static_cast<double>(rewards.size());
  const double mean = std::accumulate(rewards.begin(), rewards.end(), 0.0) / count;
  double squares = 0;
  for (const double reward : rewards) squares += (reward - mean) * (reward - mean);
  const double deviation = std::sqrt(squares / (count - 1));
  std::vector<float> advantages;
  for (const double reward : rewards) advantages.push_back(static_cast<float>((reward - mean) / (deviation + 1e-4)));
  return advantages;
}

std::vector<float> GeneralisedAdvantages(absl::Span<const float> rewards, absl::Span<const float> values, double gamma,
                                         double lambda) {
  std::vector<float> advantages(rewards.size());
  double next_value = 0, next_advantage = 0;
  for (size_t i = rewards.size(); i-- > 0;) {
    const double surprise = rewards[i] + gamma * next_value - values[i];
    next_advantage = surprise + gamma * lambda * next_advantage;
    advantages[i] = static_cast<float>(next_advantage);
    next_value = values[i];
  }
  return advantages;
}

}  // namespace blazon::language
