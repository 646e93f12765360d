// What a generation gives back, and who receives it. Free of tensors, so that the RPC layer can include it.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

enum class FinishReason { kEndOfText, kStop, kLength, kCancelled, kDeadline, kRepetition };

struct TokenLogprob {
  TokenId id = 0;
  double logprob = 0;  // natural log, of the model's distribution before sampling filters
  std::vector<std::pair<TokenId, double>> top;
};

struct GenerationResult {
  FinishReason finish_reason = FinishReason::kEndOfText;
  std::vector<TokenId> tokens;         // generated, without the end-of-text token
  std::vector<TokenLogprob> logprobs;  // as asked for
  double mean_logprob = 0;
  uint64_t seed = 0;          // the one used
  int64_t prompt_tokens = 0;  // text tokens and image tokens of the prompt
  int64_t image_tokens = 0;
  double queue_ms = 0, prefill_ms = 0, generate_ms = 0;
};

// Receives one generation. OnDone is called exactly once, last.
class TextSink {
 public:
  virtual ~TextSink() = default;
  // Whole UTF-8 characters only; a stop string or a part of one is never passed. Returns false to cancel.
  virtual bool OnText(std::string_view text) = 0;
  virtual void OnDone(const absl::StatusOr<GenerationResult>& result) = 0;
};

}  // namespace blazon::language
