// Text, and pictures for a model that sees, in; text out: raw completion, chat, scoring, tokens and embeddings over the
// models of a store.
//
// Thread safety: every method may be called from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/chat_template.h"
#include "language/generation_options.h"
#include "language/generation_result.h"
#include "service/model_store.h"
#include "service/reasoning_apart.h"

namespace blazon::service {

using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

// Cancels one request. Cheap, may be called twice, may outlive everything.
using CancelFunction = std::function<void()>;

struct GenerateRequest {
  std::string prompt;                            // raw completion; used when `messages` is empty
  std::vector<language::ChatPart> parts;         // instead of `prompt`, when not empty: text and pictures in order
  std::vector<language::TokenId> prompt_tokens;  // instead of `prompt`, when not empty
  std::vector<language::ChatMessage> messages;   // rendered with the model's chat template
  // The bytes of a JPEG, PNG, WebP or BMP file for each image part of `parts` or `messages`, in order.
  std::vector<std::string> images;
  language::GenerationOptions options;
  std::optional<std::string> adapter;                // AdapterStore::Choose
  ReasoningMode reasoning = ReasoningMode::kInline;  // what becomes of it
  Deadline deadline = kNoDeadline;
};

struct GeneratedText {
  std::string text;  // without the prompt; of several sequences, the first
  language::GenerationResult result;
};

struct Token {
  language::TokenId id = 0;
  std::string piece;  // its bytes; may be a part of a UTF-8 character
};

struct ScoreRequest {
  std::string prompt;                            // may be empty
  std::vector<language::ChatPart> parts;         // instead of `prompt`, when not empty: text and pictures in order
  std::vector<language::TokenId> prompt_tokens;  // instead of `prompt`, when not empty
  std::vector<std::string> images;               // of each image part, as in GenerateRequest
  std::string completion;
  std::vector<language::TokenId> completion_tokens;  // instead of `completion`, when not empty
  std::optional<std::string> adapter;                // AdapterStore::Choose
};

struct CompletionScore {
  std::vector<language::TokenLogprob> tokens;  // of the completion, in order
  std::vector<std::string> pieces;             // their bytes
  double total_logprob = 0;                    // natural log
  double mean_logprob = 0;
  int64_t prompt_tokens = 0;  // those of pictures among them
  int64_t image_tokens = 0;
  double decode_ms = 0, encode_ms = 0;  // of the pictures
  double prefill_ms = 0;
  std::string adapter, adapter_digest;  // that it went through; empty: none
};

struct Embeddings {
  int64_t dimension = 0;
  std::vector<float> values;  // texts * dimension, row-major; each row has L2 norm 1
  int64_t tokens = 0;         // of all texts, control tokens included
  double encode_ms = 0;
};

class TextGenerator {
 public:
  explicit TextGenerator(ModelStore& models) : models_(models) {}  // models must outlive it

  // Decodes and encodes pictures and tokenises on the calling thread, then queues; never waits for the model once it is
  // loaded. On an error the sink is not called. kInvalidArgument: an empty or too long prompt, an option out of range,
  // pictures for a model of text, or a picture that DecodeImage refuses (the message begins with "image N", from 1);
  // kNotFound: no such adapter (the message begins with "adapter"); kResourceExhausted: the queue is full.
  absl::StatusOr<CancelFunction> Start(const GenerateRequest& request, std::shared_ptr<language::TextSink> sink);

  // The same, and waits.
  absl::StatusOr<GeneratedText> Generate(const GenerateRequest& request);

  // Log-probability of each token of the completion after the prompt. With an empty prompt scoring starts at the second
  // token of the completion, since nothing comes before the first. What sees one another in a prompt (PaliGemma's whole
  // prompt, Gemma 3's pictures) does so here too; the completion sees what is before it. kInvalidArgument: no
  // completion, both longer than the context, a token id out of the vocabulary, or as Start says of pictures and
  // adapters.
  absl::StatusOr<CompletionScore> Score(const ScoreRequest& request);

  absl::StatusOr<std::vector<Token>> Tokenize(std::string_view text);
  // kInvalidArgument: an id out of the vocabulary.
  absl::StatusOr<std::string> Detokenize(absl::Span<const language::TokenId> ids);

  // The bytes of one token, for reports; empty for an id out of the vocabulary.
  absl::StatusOr<std::string> TokenBytes(language::TokenId id);

  // kInvalidArgument: no text, or one over the embedder's limit; the message names its place and the limit.
  absl::StatusOr<Embeddings> Embed(absl::Span<const std::string> texts);

 private:
  ModelStore& models_;
};

}  // namespace blazon::service
