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

class TextEmbedder {
 public:
  virtual ~TextEmbedder() = default;
  virtual int64_t dimension() const = 0;
  // Tokens one text may have, control tokens included; Embed refuses more (kInvalidArgument), never truncates.
  virtual int64_t max_tokens() const = 0;
  virtual int64_t CountTokens(std::string_view text) const = 0;  // control tokens included
  // Names weights and procedure: vectors of two embedders may be compared only when their fingerprints are equal.
  virtual const std::string& fingerprint() const = 0;
  // Row i is the embedding of texts[i], L2 norm 1. Result: texts.size() * dimension() floats, row-major.
  virtual absl::StatusOr<std::vector<float>> Embed(absl::Span<const std::string> texts) const = 0;
};

}  // namespace blazon::language
