// How probable a text is to a model after a prompt.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "language/generation_result.h"
#include "language/language_model.h"
#include "language/scheduler.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// Log-probability of each token of `completion` after all of `read.prompt` and the tokens before it, in order. With an
// empty prompt the first token has none, since nothing comes before it. Of `read` prompt, bidirectional and adapter
// count, as for a generation: the prompt's tokens may see one another; those of the completion see only what is before
// them.
//
// Prompt and completion must fit the context together, their ids the vocabulary, and for a model that looks at a
// picture the prompt must pass CheckMemory. Read in steps of 256 tokens, which bounds the memory that logits take.
// Throws c10::Error where LibTorch does. May be called from any thread.
std::vector<TokenLogprob> ScoreCompletion(const LanguageModel& model, const Tokenizer& tokenizer,
                                          GenerationRequest read, absl::Span<const TokenId> completion);

}  // namespace blazon::language
