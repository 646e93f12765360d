// What a prompt must be before a model reads it. All kInvalidArgument; the message says what is wrong and the remedy.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "language/language_model.h"
#include "language/scheduler.h"

namespace blazon::language {

// Tokens, or image tokens, of one part.
int64_t PartLength(const PromptPart& part);

// For a model that looks at a picture (LanguageModelConfig::memory_width > 0): the prompt is one picture, then text.
absl::Status CheckMemory(const Prompt& prompt);

// A prompt to write on from: ids and shapes, not empty, room for an answer in the context, its picture where the model
// looks at one, bidirectional spans in order and within it.
absl::Status CheckPrompt(const GenerationRequest& request, const LanguageModelConfig& config);

// Log-probabilities of the prompt, where they are asked for: a token that tokens before it see says nothing of how
// probable it was.
absl::Status CheckPromptScores(const GenerationRequest& request);

}  // namespace blazon::language
