// Chooses the next token of one sequence.
//
// The order and the definitions are those of transformers 5: repetition penalty (Keskar et al. 2019, arXiv 1909.05858)
// over prompt and output, no repeated n-gram over prompt and output, then temperature, top-k, top-p (Holtzman et al.
// 2019, arXiv 1904.09751) and min-p (Nguyen et al. 2024, arXiv 2407.01082), each on what the ones before it left.
// Presence and frequency penalties, which transformers lacks, come after the repetition penalty and count the output
// alone.
// Equal scores: the lower id counts as better, and top-k keeps exactly k.
//
// Random numbers come from an engine of the sequence's own, so the same seed gives the same text whatever else runs
// beside it.
// Thread safety: none; one sequence uses one sampler.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <random>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "language/generation_options.h"
#include "language/generation_result.h"

namespace blazon::language {

class Sampler {
 public:
  // options: validated. prompt: the prompt's tokens; a negative id stands for an image token, which no penalty sees.
  Sampler(const GenerationOptions& options, uint64_t seed, std::vector<TokenId> prompt);

  // logits: fp32 [V], contiguous. The choice counts as part of the output from now on.
  // logprob is that of the model's own distribution; `top` holds options.top_logprobs entries, best first.
  // kInternal: the logits are not finite.
  absl::StatusOr<TokenLogprob> Sample(const at::Tensor& logits);

  // A token that may be drawn, and its probability times a factor common to all.
  struct Candidate {
    float weight;
    TokenId id;
  };
  // What Sample would draw from with a temperature above 0, by id. For tests and for showing a distribution.
  std::vector<Candidate> Distribution(const at::Tensor& logits) const;

 private:
  std::vector<float> Scores(const at::Tensor& logits) const;  // after penalties and bans
  void Penalise(std::vector<float>& scores) const;
  void BanRepeatedNgrams(std::vector<float>& scores) const;
  std::vector<Candidate> Filter(const std::vector<float>& scores) const;
  TokenId Draw(const std::vector<Candidate>& candidates);

  const GenerationOptions options_;
  std::mt19937_64 random_;
  std::vector<TokenId> history_;  // prompt, then output
  std::unordered_map<TokenId, int64_t> output_count_;
};

}  // namespace blazon::language
