// Cuts a document into overlapping pieces that one embedding can hold.
//
// Recursive: sections, pages, slides and sheets are never joined; inside one, the text is cut at paragraphs, lines,
// sentences, words, and characters, the coarsest that fits. A chunk is a byte span of the document's text. Its title
// and headings are put before it for embedding and for search by words, and never belong to the span.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/document.h"
#include "retrieval/embedder.h"

namespace blazon::retrieval {

struct ChunkerOptions {
  // Tokens of the embedder's tokenizer a chunk aims at, prefix and control tokens included; never past the embedder's
  // max_tokens. With MiniLM on our tuning questions 128 and 256 find the passage equally well and 64 worse; smaller
  // ones suit small language models that answer from little context. Below 32 the prefix crowds out the text.
  int64_t target_tokens = 256;
  // Share of a chunk that is repeated at the start of the next one, in whole sentences or lines; [0, 0.5].
  double overlap = 0.15;
};

struct Chunk {
  Span span;
  std::string heading_path;  // "Care > Watering"; empty when there is none; without a first heading that is the title
  // Title and heading path, each on its own line: what is embedded is prefix + text of the span. Words are left out at
  // its end when it would take more than half of the tokens.
  std::string prefix;
};

// Chunks in order. Together they cover all text but white space and headings (a document of headings alone is cut as
// text). Same input, same chunks. kInvalidArgument: options out of range.
absl::StatusOr<std::vector<Chunk>> ChunkDocument(const Document& document, const Embedder& embedder,
                                                 const ChunkerOptions& options);

// Names this chunker and its options; part of what decides whether a document must be indexed again.
std::string ChunkerVersion(const ChunkerOptions& options);

}  // namespace blazon::retrieval
