// Pieces of text to token ids: the step of a tokenizer that knows the vocabulary.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// Thread safety: const after construction.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of `piece`, well-formed UTF-8 (bytes where the model was made for bytes) and not empty.
  virtual void Encode(std::string_view piece, std::vector<TokenId>* ids) const = 0;
  // What stands for text without tokens; nullopt: such characters are left out.
  virtual std::optional<TokenId> unknown_token() const = 0;
};

}  // namespace blazon::language
