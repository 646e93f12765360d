// How to generate: sampling, beam search and stopping. The same fields as blazon.v1.GenerationOptions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// When a beam search (or one group of it) that has num_beams finished hypotheses ends; the three values of
// transformers' early_stopping.
//   kHeuristic (False): when the best running beam, scored as if it ended now, is no better than the worst of them.
//   kFirst (True): at once.
//   kNever ("never"): when no running beam can become better, whatever length it grows to; with length_penalty above 0
//     that is tried at the longest there may be, below it at the present length.
enum class EarlyStopping { kHeuristic, kFirst, kNever };

struct GenerationOptions {
  int64_t max_new_tokens = 256;          // 1 .. context length
  double temperature = 0.0;              // 0: greedy; otherwise 0.01 .. 10
  int64_t top_k = 0;                     // 0: off; otherwise 1 .. vocabulary size
  double top_p = 1.0;                    // (0, 1]; 1: off
  double min_p = 0.0;                    // [0, 1); 0: off
  double typical_p = 1.0;                // (0, 1]; 1: off (Meister et al. 2022, arXiv 2202.00666)
  std::map<TokenId, double> logit_bias;  // added to the logits before all else, -100 .. 100; up to 1,024 tokens
  double repetition_penalty = 1.0;       // [0.1, 10]; 1: off (Keskar et al. 2019, arXiv 1909.05858)
  double presence_penalty = 0.0;         // [-2, 2]
  double frequency_penalty = 0.0;        // [-2, 2]
  int64_t no_repeat_ngram_size = 0;      // 0: off; otherwise 1 .. 64
  std::optional<uint64_t> seed;          // unset: drawn at random, and named in the reply
  std::vector<std::string> stop;         // up to 16 strings, each 1 .. 256 bytes; never shown in the text
  std::vector<TokenId> stop_token_ids;   // not part of the output
  bool ignore_eos = false;
  bool allow_repetition = false;  // true: a loop (language/repetition.h) does not end the generation

  // How many texts to return, 1 .. 64. Without beams they are samples: sequence i is what the same request alone would
  // give with seed + i (modulo 2^64), so the temperature must be above 0. With beams: the best so many, <= num_beams.
  int64_t num_sequences = 1;
  int64_t num_beams = 1;        // 1: no beam search; otherwise 2 .. 64, at temperature 0
  double length_penalty = 1.0;  // [-10, 10]: a hypothesis scores its summed log-probability / tokens ^ this
  EarlyStopping early_stopping = EarlyStopping::kHeuristic;
  int64_t num_beam_groups = 1;     // divides num_beams; above 1: diverse beam search, needs a diversity_penalty
  double diversity_penalty = 0.0;  // [0, 100]; (Vijayakumar et al. 2016, arXiv 1610.02424)

  int64_t top_logprobs = -1;     // -1: none; 0: of each chosen token; n <= 20: and of the n best at its place
  int64_t prompt_logprobs = -1;  // the same for each token of the prompt but the first
  // 0: off; 1 to 20: report how each sampling rule changed the chances of so many tokens, at every step. For one text
  // without beams, of at most kMaxExplainedTokens.
  int64_t explain = 0;
  static constexpr int64_t kMaxExplainedTokens = 512;
  bool echo = false;  // give the prompt back as the model read it

  // Sequences that run at once: num_beams, or num_sequences where there is no beam search.
  int64_t width() const { return num_beams > 1 ? num_beams : num_sequences; }
};

// OK, or kInvalidArgument that names the first field out of range, its value and its range, or the first field that
// makes no sense beside another, and the remedy.
absl::Status Validate(const GenerationOptions& options, int64_t vocabulary_size, int64_t context_length);

}  // namespace blazon::language
