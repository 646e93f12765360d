// How to generate: sampling and stopping. The same fields as blazon.v1.GenerationOptions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

struct GenerationOptions {
  int64_t max_new_tokens = 256;      // 1 .. context length
  double temperature = 0.0;          // 0: greedy; otherwise 0.01 .. 10
  int64_t top_k = 0;                 // 0: off; otherwise 1 .. vocabulary size
  double top_p = 1.0;                // (0, 1]; 1: off
  double min_p = 0.0;                // [0, 1); 0: off
  double repetition_penalty = 1.0;   // [0.1, 10]; 1: off (Keskar et al. 2019, arXiv 1909.05858)
  double presence_penalty = 0.0;     // [-2, 2]
  double frequency_penalty = 0.0;    // [-2, 2]
  int64_t no_repeat_ngram_size = 0;  // 0: off; otherwise 1 .. 64
  std::optional<uint64_t> seed;      // unset: drawn at random, and named in the reply
  std::vector<std::string> stop;     // up to 16 strings, each 1 .. 256 bytes; never shown in the text
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  int64_t top_logprobs = -1;  // -1: none; 0: of the chosen token; n <= 20: and of the n best
};

// OK, or kInvalidArgument that names the first field out of range, its value and its range.
absl::Status Validate(const GenerationOptions& options, int64_t vocabulary_size, int64_t context_length);

}  // namespace blazon::language
