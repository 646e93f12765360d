// Everything of one request that changes: how far the prompt is read, the model's states, what was generated, the
// result. A request may run several branches at once: samples (language/sampled_sequence.h) or beams
// (language/beam_sequence.h); they share the reading of the prompt.
//
// Thread safety: only the scheduler's thread may use it, but for `cancelled`, which any thread may set.
// After an error or a finish a sequence is spent.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/scheduler.h"

namespace blazon::language {

class Sequence {
 public:
  using Clock = std::chrono::steady_clock;

  // request: validated. end_tokens, model and tokenizer must outlive the sequence.
  Sequence(GenerationRequest request, uint64_t seed, const LanguageModel& model, const Tokenizer& tokenizer,
           const std::vector<TokenId>& end_tokens);
  virtual ~Sequence() = default;

  // Why the sequence must end before its next step, if it must: cancelled, or past its deadline.
  std::optional<FinishReason> Interrupted(Clock::time_point now) const;

  // The places it takes in the running batch, from its start to its end.
  int64_t width() const { return request_.options.width(); }

  int64_t prompt_tokens_left() const { return prompt_length_ - std::min(prompt_length_, read_); }
  // How many tokens of the prompt the next step may read: at most `budget`, cut back so that no bidirectional span and
  // no picture that is the model's memory is divided. 0 where such a one comes next and is longer than the budget;
  // with `whole` it is then read all the same.
  int64_t PromptChunk(int64_t budget, bool whole) const;

  // What the model is to read next: one input of `prompt_tokens` tokens of the prompt (as PromptChunk allows) while
  // there are any, then one token for each branch that goes on. Whatever became of a step before Read, the model's
  // states are taken back to where they were. Valid until the next call.
  std::vector<ModelInput> Next(int64_t prompt_tokens);

  // Whether the logits of every row of the prompt are wanted, for ScorePrompt.
  bool scores_prompt() const { return request_.options.prompt_logprobs >= 0; }
  // The log-probabilities of the prompt's tokens that the rows of the last Next predict. logits: [T, V] of these rows.
  // Changes nothing.
  std::vector<TokenLogprob> ScorePrompt(const at::Tensor& logits) const;

  // The model has read what Next gave, `rows` tokens; `scores` is what ScorePrompt made of it.
  void Read(int64_t rows, std::vector<TokenLogprob> scores);

  // Takes each branch one token further. logits: fp32 [n, V], contiguous; one row of the prompt's last token, then a
  // row for each input of Next, in its order. Sends what text is certain. Returns why the request is finished, or
  // nothing when it goes on. An error: the request failed.
  virtual absl::StatusOr<std::optional<FinishReason>> Accept(const at::Tensor& logits) = 0;

  // Sends what text is left and the result, or the error. Exactly one of the two, once.
  virtual void Finish(FinishReason reason) = 0;
  void Fail(const absl::Status& status);

  std::atomic<bool> cancelled = false;

 protected:
  // What each branch that goes on reads next, by BranchInput.
  virtual std::vector<ModelInput> NextOfBranches() = 0;
  // One token. `state` has read the prompt and all of `output` but its last token, which is the one to read.
  ModelInput BranchInput(ModelState& state, absl::Span<const TokenId> output) const;

  // The state that has read the prompt; to be called once, by the first Accept.
  std::unique_ptr<ModelState> TakePromptState() { return std::move(prompt_state_); }
  bool prompt_state_taken() const { return prompt_state_ == nullptr; }

  // The most tokens that one branch may generate: as many as were asked for, or as the context has room for.
  int64_t max_output() const;
  const std::vector<TokenId>& end_tokens() const { return end_tokens_; }
  bool IsEndOfText(TokenId id) const;
  bool IsStop(TokenId id) const;

  // False once OnText or OnSequenceText returned false: the sink is gone, and nothing is sent any more.
  bool Send(int64_t index, std::string_view text);
  bool sink_open() const { return sink_open_; }

  void NoteFirstToken();
  // Ends the request: all `sequences` (may be empty when it was interrupted), the one to stand first in front.
  void Deliver(FinishReason reason, std::vector<GeneratedSequence> sequences);

  const GenerationRequest request_;
  const LanguageModel& model_;
  const Tokenizer& tokenizer_;
  const std::vector<TokenId> prompt_;  // tokens; -1 for each image token

 private:
  const std::vector<TokenId>& end_tokens_;
  const int64_t prompt_length_;
  const int64_t memory_length_;         // tokens of the picture that is the model's memory, the first of the prompt
  std::vector<TokenSpan> chunk_spans_;  // of the input that Next gave
  int64_t read_ = 0;                    // tokens of the prompt that its state holds
  std::unique_ptr<ModelState> prompt_state_;
  bool sink_open_ = true;
  GenerationResult result_;

  const Clock::time_point submitted_;
  std::optional<Clock::time_point> started_, first_token_;
};

}  // namespace blazon::language
