// Changes the scores of the next token by what the caller wants and by what stands already: logit bias, penalties, no
// repeated n-gram. Filters and the draw are the sampler's.
//
// Order and definitions are those of transformers 5: bias (its sequence_bias for one token; also OpenAI's logit_bias),
// repetition penalty (Keskar et al. 2019, arXiv 1909.05858) over prompt and output, then no repeated n-gram over prompt
// and output. Presence and frequency penalties, which transformers lacks, are OpenAI's: they come after the repetition
// penalty and count the output alone.
//
// A copy goes its own way: one for each beam. Thread safety: const methods may run together.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "language/generation_options.h"

namespace blazon::language {

class LogitsProcessor {
 public:
  // options: validated. prompt: the prompt's tokens; a negative id stands for an image token, which no penalty sees.
  LogitsProcessor(const GenerationOptions& options, std::vector<TokenId> prompt);

  // scores: [V], logits for sampling, log-probabilities for beam search. What may not follow becomes -infinity; with a
  // tiny vocabulary that can be all of it.
  // after: called with the option's name when a rule that is on has been applied.
  void Process(std::vector<float>& scores, const std::function<void(const char* rule)>& after = {}) const;

  // `id` is the next token of the output.
  void Push(TokenId id);

 private:
  void PenaliseRepetition(std::vector<float>& scores) const;
  void BanRepeatedNgrams(std::vector<float>& scores) const;

  std::vector<std::pair<TokenId, float>> bias_;
  double repetition_penalty_, presence_penalty_, frequency_penalty_;
  int64_t no_repeat_ngram_size_;
  std::vector<TokenId> history_;  // prompt, then output
  std::unordered_map<TokenId, int64_t> output_count_;
};

}  // namespace blazon::language
