// What retrieval knows of an embedding model: a function from texts to unit vectors. The service fills it from a
// language::TextEmbedder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::retrieval {

// The vectors of a text and of its pieces, each with L2 norm 1.
struct PieceVectors {
  std::vector<float> text;    // `dimension` floats
  std::vector<float> pieces;  // a row for each piece, as it is meant in this text; zeros for a piece without a token
};

// Thread safety: all functions must be callable from several threads.
struct Embedder {
  int64_t dimension = 0;
  int64_t max_tokens = 0;                                 // of one text, control tokens included
  std::string fingerprint;                                // vectors are comparable exactly when fingerprints are equal
  std::function<int64_t(std::string_view)> count_tokens;  // control tokens included
  // Row i is the vector of texts[i], L2 norm 1. Result: texts.size() * dimension floats, row-major.
  std::function<absl::StatusOr<std::vector<float>>(absl::Span<const std::string>)> embed;
  // The same for texts given in pieces that end at words' ends. Needed by RankSentences alone.
  std::function<absl::StatusOr<std::vector<PieceVectors>>(absl::Span<const std::vector<std::string>>)> embed_pieces;
};

}  // namespace blazon::retrieval
