// What a model says by itself, for measuring during training. Serving goes through the scheduler instead.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// The most likely continuation of each prompt, token by token, without the end token; at most max_tokens, and no more
// than the context holds. The prompts' common first tokens are read once. prompts: at least one, none empty, each
// within the context. Throws c10::Error.
std::vector<std::vector<TokenId>> GreedyTexts(const LanguageModel& model, const Adapter* adapter,
                                              absl::Span<const std::vector<TokenId>> prompts,
                                              absl::Span<const TokenId> end_tokens, int64_t max_tokens);

}  // namespace blazon::language
