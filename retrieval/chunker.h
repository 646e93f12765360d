// Cuts a document into overlapping pieces that one embedding can hold.
//
// A chunk is a byte span of the document's text. Its title and headings are put before it for embedding and for search
// by words, and never belong to the span. Pages, slides and sheets are never joined.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/document.h"
#include "retrieval/embedder.h"

namespace blazon::retrieval {

enum class ChunkerKind {
  kRecursive,  // what is under one heading is cut at paragraphs, lines, sentences, words, characters: the coarsest that
               // leaves chunks half full
  kSentence,   // as many sentences as fit, wherever paragraphs end
  kHeading,    // all that is under one heading, cut only where the embedder cannot read so much
  kPage,       // all of one page, slide or sheet, headings and all; of a document without any, all of it
  kCode,  // whole lines; small definitions are joined, large ones cut, before a definition or a blank line if it can
          // be. All that is not a program is cut as kRecursive does
};
// "recursive", "sentence", "heading", "page", "code".
std::string_view ChunkerKindName(ChunkerKind kind);
std::optional<ChunkerKind> ParseChunkerKind(std::string_view name);

struct ChunkerOptions {
  ChunkerKind kind = ChunkerKind::kRecursive;
  // Tokens of the embedder's tokenizer a chunk aims at, prefix and control tokens included; never past the embedder's
  // max_tokens. With MiniLM on our tuning questions 128 and 256 find the passage equally well and 64 worse; smaller
  // ones suit small language models that answer from little context. Below 32 the prefix crowds out the text.
  // kHeading and kPage aim at the embedder's max_tokens instead.
  int64_t target_tokens = 256;
  // Share of a chunk that is repeated at the start of the next one, in whole sentences or lines; [0, 0.5].
  double overlap = 0.15;
  friend bool operator==(const ChunkerOptions&, const ChunkerOptions&) = default;
};

struct Chunk {
  Span span;
  std::string heading_path;  // "Care > Watering"; empty when there is none; without a first heading that is the title
  // Title and heading path, each on its own line: what is embedded is prefix + text of the span. Words are left out at
  // its end when it would take more than half of the tokens.
  std::string prefix;
};

// Chunks in order. Together they cover all text but white space and heading lines, which kPage and kCode keep (a
// document of headings alone is cut as text). Same input, same chunks. kInvalidArgument: options out of range.
absl::StatusOr<std::vector<Chunk>> ChunkDocument(const Document& document, const Embedder& embedder,
                                                 const ChunkerOptions& options);

// Title and heading path, each on its own line, as a chunk's prefix has them: words are left out at its end until it
// takes at most half of `limit` tokens.
std::string ChunkPrefix(const std::string& title, const std::string& heading_path, int64_t limit,
                        const Embedder& embedder);

// Names this chunker and its options; part of what decides whether a document must be indexed again.
std::string ChunkerVersion(const ChunkerOptions& options);

}  // namespace blazon::retrieval
