// Everything of one generation that changes: how far the prompt is read, the model's state, sampler, held-back text,
// result.
//
// Thread safety: only the scheduler's thread may use it, but for `cancelled`, which any thread may set.
// After an error or a finish a sequence is spent.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "language/language_model.h"
#include "language/sampler.h"
#include "language/scheduler.h"
#include "language/text_stream.h"

namespace blazon::language {

class Sequence {
 public:
  using Clock = std::chrono::steady_clock;

  // request: validated. end_tokens, model and tokenizer must outlive the sequence.
  Sequence(GenerationRequest request, uint64_t seed, const LanguageModel& model, const Tokenizer& tokenizer,
           const std::vector<TokenId>& end_tokens);

  // Why the sequence must end before its next step, if it must: cancelled, or past its deadline.
  std::optional<FinishReason> Interrupted(Clock::time_point now) const;

  // What the model is to read next: at most `prompt_tokens` (>= 1) of the prompt, or the token chosen last.
  // The same until Read, whatever became of a step in between: the model's state is taken back to where it was.
  ModelInput Next(int64_t prompt_tokens);
  int64_t prompt_tokens_left() const { return prompt_length_ - std::min(prompt_length_, read_); }

  // The model has read `count` rows of Next.
  void Read(int64_t count) { read_ += count; }

  // Chooses a token from the logits [V] of the last row read, and sends what text is certain. Returns why the sequence
  // is finished, or nothing when it goes on. An error: the sequence failed.
  absl::StatusOr<std::optional<FinishReason>> Accept(const at::Tensor& logits);

  // Sends what text is left and the result, or the error. Exactly one of the two, once.
  void Finish(FinishReason reason);
  void Fail(const absl::Status& status);

  std::atomic<bool> cancelled = false;

 private:
  bool Send(std::string_view text);

  GenerationRequest request_;
  const LanguageModel& model_;
  const Tokenizer& tokenizer_;
  const std::vector<TokenId>& end_tokens_;

  int64_t prompt_length_ = 0;
  int64_t read_ = 0;  // tokens that the state holds
  std::unique_ptr<ModelState> state_;
  Sampler sampler_;
  TextStream text_;
  TokenId last_token_ = 0;
  bool sink_open_ = true;  // OnText has not returned false
  double logprob_sum_ = 0;
  GenerationResult result_;

  const Clock::time_point submitted_;
  std::optional<Clock::time_point> started_, first_token_;
};

}  // namespace blazon::language
