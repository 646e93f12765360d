// The control tokens of a vocabulary, found where a text spells them out. For templates: never used on text of users or
// documents.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

class SpecialTokens {
 public:
  SpecialTokens() = default;
  // Spellings must not be empty.
  explicit SpecialTokens(std::vector<std::pair<std::string, TokenId>> tokens);

  // Calls `plain` and `special` for the parts of `text`, in order; the leftmost token counts, and of those the longest.
  void Split(std::string_view text, absl::FunctionRef<void(std::string_view)> plain,
             absl::FunctionRef<void(TokenId)> special) const;

 private:
  std::vector<std::pair<std::string, TokenId>> tokens_;  // longest first
  bool begins_token_[256] = {};                          // by byte
};

}  // namespace blazon::language
