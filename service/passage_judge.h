// Whether passages answer a question, by the language model with the answering adapter: it reads each passage by
// itself, with the question behind it, and is asked for the beginning of its answer. What it gives to "not stated"
// there is the probability that the passage does not answer.
//
// Thread safety: may be called from any thread, beside the scheduler's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"
#include "retrieval/collection.h"
#include "retrieval/extractive.h"

namespace blazon::service {

// A run of a chunk's sentences as the adapter reads it.
struct Passage {
  std::string text;      // AnswerPassage's; empty: nothing fits
  retrieval::Span span;  // in the document's text
};

// A sentence of `chunk` with so many neighbours on either side as the chunk has, at most `neighbours`. When they take
// it over max_tokens it stands alone, and when it does not fit alone the text is empty.
Passage PassageAround(const retrieval::ScoredSentence& sentence, const retrieval::ScoredChunk& chunk,
                      int64_t neighbours, int64_t max_tokens, const language::Tokenizer& tokenizer);

// The tokens that the adapter is asked with; both parts by themselves, so that passages may be computed ahead.
std::vector<language::TokenId> AnswerTokens(const language::Tokenizer& tokenizer, const std::string& passage,
                                            std::string_view question);

// Log-odds that passages[i] answers the question. passages: AnswerPassage's texts; each fits into the model's context
// with the question. All are computed together.
// kInvalidArgument: one does not fit. kInternal: the model failed.
absl::StatusOr<std::vector<double>> JudgePassages(const language::LanguageModel& model,
                                                  const language::Adapter& adapter,
                                                  const language::Tokenizer& tokenizer, std::string_view question,
                                                  absl::Span<const std::string> passages);

}  // namespace blazon::service
