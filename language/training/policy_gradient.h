// What policy optimisation learns from completions that the model wrote itself and that were scored: group-relative
// (GRPO, Shao et al. 2024, arXiv 2402.03300) and proximal (PPO, Schulman et al. 2017, arXiv 1707.06347; for language
// models Ziegler et al. 2019, arXiv 1909.08593).
//
// Shapes: T tokens of one completion, n of all in a row, D width. fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/training/training_example.h"

namespace blazon::language {

// A completion, and what is known of each of its tokens, the ending one included. Vectors: [T], or empty.
struct Rollout {
  TrainingExample text;               // the prompt, then the completion, which is learned
  std::vector<float> logprobs = {};   // by the policy that wrote it, at its temperature
  std::vector<float> reference = {};  // by the reference
  std::vector<float> advantages = {};
  std::vector<float> values = {};   // foreseen by the value head before the token
  std::vector<float> returns = {};  // what they should have been
};

// A linear head on the states that tokens are said from: what reward is still to come.
struct ValueHead {
  at::Tensor weight;  // [1, D]
  at::Tensor bias;    // [1]
};

struct PolicyLossOptions {
  double temperature = 1.0;
  double clip = 0.2;          // how far the ratio to the policy that wrote it may go from 1
  double kl = 0.0;            // weight of the divergence from the reference, in the loss; needs Rollout::reference
  bool by_text = false;       // each completion counts alike (GRPO), else each token (PPO)
  double value_weight = 0.1;  // with a value head
  double value_clip = 0.2;    // how far a value may move from the old one
};

// Sums, weighted so that those of all rows of a step add up to means.
struct PolicyTerms {
  double loss = 0;     // all of it
  double kl = 0;       // from the reference, estimated by k3; 0 without one
  double clipped = 0;  // share of tokens at which the ratio's bound cuts the gradient off
  double value = 0;    // loss of the values

  PolicyTerms& operator+=(const PolicyTerms& other);
};

// Differentiates the loss of the rollouts of a row, of a step with `texts` completions and `tokens` learned tokens in
// all, and adds to the gradients of model, adapter and head. head: null for none. Throws c10::Error.
PolicyTerms AddPolicyGradients(const LanguageModel& model, const Adapter* adapter, const ValueHead* head,
                               absl::Span<const Rollout* const> row, const PolicyLossOptions& options, int64_t texts,
                               int64_t tokens);

// (reward - mean) / (standard deviation + 1e-4), within a group; 0 for all where all are the same. At least 2 rewards.
std::vector<float> GroupAdvantages(absl::Span<const double> rewards);

// Generalised advantage estimates (Schulman et al. 2015, arXiv 1506.02438) of one completion, behind whose end nothing
// is to come. rewards and values: [T].
std::vector<float> GeneralisedAdvantages(absl::Span<const float> rewards, absl::Span<const float> values, double gamma,
                                         double lambda);

// The estimator k3 of the divergence of a policy from a reference at a token that the policy drew (Schulman 2020,
// "Approximating KL divergence"): exp(r - p) - (r - p) - 1, never below 0. Of log-probabilities, [n].
at::Tensor DivergenceEstimate(const at::Tensor& policy, const at::Tensor& reference);

}  // namespace blazon::language
