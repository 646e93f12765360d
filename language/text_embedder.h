// Text to unit vectors, for search by meaning.
//
// Thread safety: const; Embed may be called from several threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::language {

enum class EmbedderPrecision {
  kInt8,  // products in 8 bits where the processor can (models/int8_bert.h), else as kFp32
  kFp32,
};

// The vectors of a text and of its pieces, each with L2 norm 1.
struct PieceEmbeddings {
  std::vector<float> text;  // [D]
  std::vector<float>
      pieces;  // [P, D]: the mean over a piece's tokens, as they are in this text; zeros for a piece of none
};

class TextEmbedder {
 public:
  virtual ~TextEmbedder() = default;
  virtual int64_t dimension() const = 0;
  // Tokens one text may have, control tokens included; Embed refuses more (kInvalidArgument), never truncates.
  virtual int64_t max_tokens() const = 0;
  virtual int64_t CountTokens(std::string_view text) const = 0;  // control tokens included
  // Names weights and procedure: vectors of two embedders may be compared only when their fingerprints are equal.
  virtual const std::string& fingerprint() const = 0;
  // What vectors are computed with.
  virtual EmbedderPrecision precision() const { return EmbedderPrecision::kFp32; }
  // Row i is the embedding of texts[i], L2 norm 1. Result: texts.size() * dimension() floats, row-major.
  virtual absl::StatusOr<std::vector<float>> Embed(absl::Span<const std::string> texts) const = 0;
  // The same for texts given in pieces, with a vector for every piece too. The pieces of a text are tokenised each on
  // its own; where they end at words' ends, nothing else changes. Refuses a text of more than max_tokens() tokens.
  virtual absl::StatusOr<std::vector<PieceEmbeddings>> EmbedPieces(
      absl::Span<const std::vector<std::string>> texts) const = 0;
};

}  // namespace blazon::language
