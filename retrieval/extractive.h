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

// A sentence and how well it answers a question. Each figure is a mean or a minimum over words of the question of the
// similarity [-1, 1] to the nearest word of the sentence, both as they are meant in their texts: the late interaction
// of Khattab and Zaharia 2020 (arXiv 2004.12832, equation 3), on whole words. With title and headings the sentence is
// read as "Harbour museum > Opening hours: On Thursdays until 20:00."
struct ScoredSentence {
  size_t chunk_index = 0;  // into the chunks given
  std::string document_id;
  Span span;  // in the document's text
  std::string text;
  std::string passage;        // as it was compared: `text` after title and headings, where they fit
  std::vector<float> vector;  // of `passage`; unit length
  double cosine = 0;          // of question and sentence as wholes
  // Mean over the question's content words; one that stands in the document's title has 0.7 or more.
  double content = 0;
  // Their minimum, without those in the document's title: what is asked and not spoken of here shows in it.
  double weakest = 0;
  double question_words = 0;  // mean over "what", "how": a sentence of another kind than is asked for shows in it
  double score = 0;           // what sentences are ordered by: the mean of content, cosine and the chunk's own cosine
  double confidence = 0;      // whether it answers at all: weakest + question_words + cosine / 2, over 2.5; in [0, 1]
};

struct RankOptions {
  size_t count = 3;            // sentences returned
  size_t max_sentences = 256;  // scored at most, taken from the first chunks first; each costs an embedding
};

// The best sentences of `chunks` for `question`, best first; a sentence that stands in two overlapping chunks comes
// once. The question has at most embedder.max_tokens tokens.
absl::StatusOr<std::vector<ScoredSentence>> RankSentences(const std::string& question,
                                                          absl::Span<const ScoredChunk> chunks,
                                                          const Embedder& embedder, const RankOptions& options = {});

}  // namespace blazon::retrieval
