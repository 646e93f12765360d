// Continuous batching (Yu et al., Orca, OSDI 2022): one thread steps the model; sequences join and leave between steps.
//
// Thread safety: all public methods may be called from any thread; TextSink callbacks come from the scheduler's thread
// and must not block.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/generation_options.h"
#include "language/generation_result.h"
#include "language/language_model.h"

namespace blazon::language {

// A prompt: text already tokenised, and image tokens, in order.
using PromptPart = std::variant<std::vector<TokenId>, at::Tensor /* image tokens [T, D], on any device */>;
using Prompt = std::vector<PromptPart>;

struct SchedulerOptions {
  int64_t max_sequences = 16;  // in the running batch; a request takes GenerationOptions::width() places
  int64_t max_queued = 256;    // beyond it Submit refuses
  // Prompt tokens read in one step, over all sequences; bounds how long a step takes. More are read at once only where
  // one bidirectional span, or a picture that is the model's memory, is longer.
  int64_t prefill_chunk = 256;
  std::vector<TokenId> end_tokens = {};  // end of text
};

struct GenerationRequest {
  Prompt prompt;
  // Tokens of the prompt that see one another whatever their order; in order, apart from one another. A span is read in
  // one step, though it be longer than SchedulerOptions::prefill_chunk.
  std::vector<TokenSpan> bidirectional = {};
  GenerationOptions options;
  // The generated text is one of its own, an answer or a caption, and not the continuation of the prompt's: its first
  // token loses the space that the tokenizer drops at the beginning of a text (Tokenizer::FirstTokenBytes).
  bool begins_text = false;
  std::shared_ptr<const Adapter> adapter;  // null: none
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::shared_ptr<TextSink> sink;
};

class Scheduler {
 public:
  // model and tokenizer must outlive the scheduler.
  Scheduler(const LanguageModel& model, const Tokenizer& tokenizer, SchedulerOptions options);
  ~Scheduler();  // cancels what runs, then joins

  // Cancels one request; returned by Submit. Cheap, idempotent, may outlive the scheduler.
  using CancelFunction = std::function<void()>;

  // Never blocks. kInvalidArgument: options or prompt out of range (empty, or longer than the context; the message
  // names both lengths and how many tokens are those of pictures), a model that looks at one picture is given another
  // number of them, or more sequences or beams than max_sequences. kResourceExhausted: the queue is full. On an error
  // the sink is not called.
  absl::StatusOr<CancelFunction> Submit(GenerationRequest request);

  // Submits and waits. The text is that of the first sequence. For the command line and tests.
  absl::StatusOr<std::pair<std::string, GenerationResult>> Generate(GenerationRequest request);

  // Time since the scheduler's thread last finished a step or was seen idle; readiness follows it.
  std::chrono::milliseconds heartbeat_age() const;
  int64_t running() const;
  int64_t queued() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace blazon::language
