// What a generation gives back, and who receives it. Free of tensors, so that the RPC layer can include it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

enum class FinishReason { kEndOfText, kStop, kLength, kCancelled, kDeadline, kRepetition };

struct TokenLogprob {
  TokenId id = 0;
  double logprob = 0;  // natural log, of the model's distribution before bias, penalties and filters
  std::vector<std::pair<TokenId, double>> top;
};

// The distribution of the next token after one sampling rule.
struct SamplingStage {
  // "model" (its own distribution), then each rule that is on, named as its option, in the order of language/sampler.h;
  // at temperature 0 "greedy" is the last.
  std::string rule;
  int64_t candidates = 0;             // tokens that can still be chosen
  std::vector<double> probabilities;  // element i is of SamplingStep::tokens[i]; 0: ruled out
};

// How one token came to be chosen.
struct SamplingStep {
  TokenId chosen = 0;
  // The most probable ones by the model, best first; then those that are only after the rules; then, when it is not
  // among them, the chosen one.
  std::vector<TokenId> tokens;
  std::vector<SamplingStage> stages;
};

// One of the texts of a request that asked for several, or for beams.
struct GeneratedSequence {
  std::string text;
  std::string reasoning;  // told apart from `text`; see TextSink::OnReasoning
  FinishReason finish_reason = FinishReason::kEndOfText;
  std::vector<TokenId> tokens;         // generated, without the end-of-text token
  std::vector<TokenLogprob> logprobs;  // as asked for
  std::vector<SamplingStep> steps;     // with GenerationOptions::explain
  double mean_logprob = 0;
  // Beam search: what it ranked by, the sum of the log-probabilities after bias and penalties, the ending token
  // included, divided by the number of these tokens ^ length_penalty (transformers' sequences_scores).
  // Otherwise: the sum of the tokens' log-probabilities.
  double score = 0;
};

struct GenerationResult {
  // Of the first sequence; kCancelled or kDeadline when the request was interrupted before all had ended.
  FinishReason finish_reason = FinishReason::kEndOfText;
  std::string reasoning;               // of the first sequence, told apart from its text
  bool hides_tokens = false;           // some are of reasoning that was left out: to be counted, not to be shown
  std::vector<TokenId> tokens;         // of the first sequence: generated, without the end-of-text token
  std::vector<TokenLogprob> logprobs;  // of the first sequence, as asked for
  double mean_logprob = 0;             // of the first sequence
  std::vector<SamplingStep> steps;     // with GenerationOptions::explain; the ending token included
  // All sequences, the first included: samples in the order of their seeds, hypotheses best first. Empty unless
  // num_sequences or num_beams is above 1. An interrupted beam search gives its best so far, perhaps fewer than asked.
  std::vector<GeneratedSequence> sequences;
  std::vector<TokenId> prompt;                // with GenerationOptions::echo; -1 for an image token
  std::vector<TokenLogprob> prompt_logprobs;  // as asked for; image tokens have none
  uint64_t seed = 0;                          // the one used
  int64_t prompt_tokens = 0;                  // text tokens and image tokens of the prompt
  int64_t image_tokens = 0;
  double queue_ms = 0, prefill_ms = 0, generate_ms = 0;
  // Filled in by whoever prepared the request: what the prompt's pictures took, and the adapter that it went through,
  // with its digest; empty: none.
  double decode_ms = 0, encode_ms = 0;
  std::string adapter, adapter_digest;
};

// Receives one generation. OnDone is called exactly once, last.
class TextSink {
 public:
  virtual ~TextSink() = default;
  // More of the first sequence. Whole UTF-8 characters only; a stop string or a part of one is never passed. A beam
  // search passes its text at its end. Returns false to cancel.
  virtual bool OnText(std::string_view text) = 0;
  // The same of sequence `index`, 1 to num_sequences - 1. OnDone brings these texts too, so it may be left as it is.
  virtual bool OnSequenceText(int64_t index, std::string_view text) { return true; }
  // Reasoning of sequence `index` that was told apart from its text (language/reasoning.h), before all of that text.
  // Only where the one who asked wants it apart; never from the scheduler itself.
  virtual bool OnReasoning(int64_t index, std::string_view text) { return true; }
  virtual void OnDone(const absl::StatusOr<GenerationResult>& result) = 0;
};

}  // namespace blazon::language
