// Sentences with their places, and which of them answer a question best: for answers in the document's own words, for
// the sentences shown as support, and to narrow what a small language model has to read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/collection.h"
#include "retrieval/embedder.h"
#include "retrieval/words.h"

namespace blazon::retrieval {

// Sentences of UTF-8 text, in order, without surrounding white space. Line breaks that end a paragraph, a list item or
// a table row end a sentence; a single line break inside a paragraph does not; common abbreviations ("e.g.", "Dr.",
// "approx.") do not. Unicode's sentence rules (UAX #29, by ICU) with those changes.
std::vector<Span> SplitSentences(std::string_view text);

struct ScoredSentence {
  size_t chunk_index = 0;  // into the chunks given
  std::string document_id;
  Span span;  // in the document's text
  std::string text;
  double cosine = 0;   // of question and sentence (with its title and headings)
  double overlap = 0;  // [0, 1]: share of the question's content words in sentence, title or headings
  double score = 0;    // cosine_weight * cosine + (1 - cosine_weight) * overlap
};

struct RankOptions {
  size_t count = 3;            // sentences returned
  double cosine_weight = 0.6;  // [0, 1]
  size_t max_sentences = 256;  // scored at most, taken from the first chunks first; each costs an embedding
};

// The best sentences of `chunks` for `question`, best first; a sentence that stands in two overlapping chunks comes
// once. The question is embedded unless `question_vector` is given.
absl::StatusOr<std::vector<ScoredSentence>> RankSentences(std::string_view question,
                                                          absl::Span<const ScoredChunk> chunks,
                                                          const Embedder& embedder, const RankOptions& options = {},
                                                          absl::Span<const float> question_vector = {});

}  // namespace blazon::retrieval
