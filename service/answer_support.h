// What bears out an answer: for each of its sentences, the sentences of the documents that say the same. Found by
// comparing them once the answer is written, whoever wrote it.
//
// Sentences are compared by their words (stems, as the word index has them; names and numbers weigh double) and by
// their vectors. That finds who says the same and where, and what nobody says; it does not reason: "open on Mondays" is
// near "closed on Mondays", which only the rule for negations and the numbers tell apart.
//
// Thread safety: may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/collection.h"
#include "retrieval/embedder.h"

namespace blazon::service {

// A sentence of a piece that was found.
struct SourceSentence {
  size_t piece = 0;                // into the pieces given
  retrieval::Span span;            // in the document's text
  absl::Span<const float> vector;  // unit length, of the sentence under its title and headings
  double relevance = 0;            // to the question: of two that say the same, the one that speaks of it comes first
};

struct SentenceCitation {
  size_t piece = 0;
  retrieval::Span span;  // in the document's text
  int64_t line = 0;      // of the document, from 1
  std::string text;      // the bytes of the span
  double score = 0;      // how much of the answer's sentence it bears out, 0 .. 1
};

struct AnswerSentence {
  retrieval::Span span;  // in the answer
  bool supported = false;
  double score = 0;  // of all citations together, 0 .. 1
  // At most kMaxCitations, best first: each adds to those before it, or bears the sentence out alone. Empty when not
  // supported.
  std::vector<SentenceCitation> citations;
};
inline constexpr size_t kMaxCitations = 3;

// One for each sentence of `answer`, in order; none for an answer without a sentence. `question`: its words are no news
// in an answer and count little. `pieces`: what was found, and what the sentences' `piece` points into.
absl::StatusOr<std::vector<AnswerSentence>> FindSupport(std::string_view question, std::string_view answer,
                                                        absl::Span<const retrieval::ScoredChunk* const> pieces,
                                                        absl::Span<const SourceSentence> sentences,
                                                        const retrieval::Embedder& embedder);

// The line of the document on which a span of the chunk begins, from 1.
int64_t LineOf(const retrieval::ScoredChunk& chunk, const retrieval::Span& span);

}  // namespace blazon::service
