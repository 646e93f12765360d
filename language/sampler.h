// Chooses the next token of one sequence.
//
// The order and the definitions are those of transformers 5: bias, penalties and banned n-grams
// (language/logits_processor.h), then temperature, top-k, top-p (Holtzman et al. 2019, arXiv 1904.09751), min-p (Nguyen
// et al. 2024, arXiv 2407.01082) and typical (Meister et al. 2022, arXiv 2202.00666), each on what the ones before it
// left, renormalised:
//   top-k    the k best;
//   top-p    the shortest list of best candidates whose probability is at least top_p;
//   min-p    those at least min_p times as probable as the best of the whole distribution;
//   typical  those whose surprise -log p is nearest to the entropy: the shortest list whose probability is at least
//            typical_p, and all that are as near as its last one. The best token may be left out.
// Equal scores: the lower id counts as better, and top-k keeps exactly k.
//
// Random numbers come from an engine of the sequence's own, so the same seed gives the same text whatever else runs
// beside it.
// Thread safety: none; one sequence uses one sampler.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "language/generation_options.h"
#include "language/generation_result.h"
#include "language/logits_processor.h"

namespace blazon::language {

class Sampler {
 public:
  // options: validated. prompt: the prompt's tokens; a negative id stands for an image token, which no penalty sees.
  Sampler(const GenerationOptions& options, uint64_t seed, std::vector<TokenId> prompt);

  // logits: fp32 [V], contiguous. The choice counts as part of the output from now on.
  // logprob is that of the model's own distribution; `top` holds options.top_logprobs entries, best first.
  // kInternal: the logits are not finite.
  // step: unset, or receives how the choice came about; then options.explain must be above 0.
  absl::StatusOr<TokenLogprob> Sample(const at::Tensor& logits, SamplingStep* step = nullptr);

  // A token that may be drawn, and its probability times a factor common to all.
  struct Candidate {
    float weight;
    TokenId id;
  };
  // What Sample would draw from with a temperature above 0, by id. For tests and for showing a distribution.
  std::vector<Candidate> Distribution(const at::Tensor& logits) const;

 private:
  // Notes the distribution after a rule.
  class Recorder;

  std::vector<float> Scores(const at::Tensor& logits, Recorder* recorder = nullptr) const;  // after penalties and bans
  std::vector<Candidate> Filter(const std::vector<float>& scores, Recorder* recorder = nullptr) const;
  TokenId Draw(const std::vector<Candidate>& candidates);

  const GenerationOptions options_;
  std::mt19937_64 random_;
  LogitsProcessor processor_;
};

}  // namespace blazon::language
