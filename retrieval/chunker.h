// Cuts a document into overlapping pieces that one embedding can hold.
//
// Recursive: sections are never joined; inside one, the text is cut at paragraphs, lines, sentences, words, and characters,
// the coarsest that fits. A chunk is a byte span of the document's text. Its title and headings are put before it for
// embedding and for search by words, and never belong to the span.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/document.h"
#include "retrieval/embedder.h"

namespace blazon::retrieval {

struct ChunkerOptions {
  // Tokens of the embedder's tokenizer a chunk aims at, prefix and control tokens included; never past the embedder's max_tokens.
  // Smaller ones suit small language models that answer from little context; below 32 the prefix crowds out the text.
  int64_t target_tokens = 256;
  double overlap = 0.15;  // share of a chunk that is repeated at the start of the next one, in whole sentences or lines; [0, 0.5]
};

struct Chunk {
  Span span;
  std::string heading_path;  // "Care > Watering"; empty when there is none
};

// Chunks in order; together they cover all text but white space. Same input, same chunks.
// kInvalidArgument: options out of range.
absl::StatusOr<std::vector<Chunk>> ChunkDocument(const Document& document, const Embedder& embedder, const ChunkerOptions& options);

// What is embedded for a chunk: title, heading path, text, each on its own line; parts that say the same are not repeated.
std::string EmbeddingText(std::string_view title, std::string_view heading_path, std::string_view text);

// Names this chunker and its options; part of what decides whether a document must be indexed again.
std::string ChunkerVersion(const ChunkerOptions& options);

}  // namespace blazon::retrieval
