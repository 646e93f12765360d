// Tokens that are found in a text as they are spelled, before the vocabulary's model sees it: control tokens
// ("special") and others that were added to a vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "language/tokenizer/piece_trie.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

struct AddedToken {
  std::string content;  // its spelling; empty ones are left out
  TokenId id = 0;
  bool special = false;      // a control token: never found in the text of users
  bool single_word = false;  // only where no word character (\w) touches it
  bool strip_left = false;   // takes the white space before it along
  bool strip_right = false;  // and behind it
  bool normalized = false;   // found in normalised text, as its spelling is when normalised
};

// Thread safety: const after construction.
class AddedTokens {
 public:
  AddedTokens() : AddedTokens(std::vector<AddedToken>()) {}
  explicit AddedTokens(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  // Calls `plain` and `token` for the parts of `text`, in order; plain parts are not empty. The leftmost token counts,
  // and of those the longest. with_special false: where a control token is spelled, nothing is found.
  void Split(std::string_view text, bool with_special, absl::FunctionRef<void(std::string_view)> plain,
             absl::FunctionRef<void(TokenId)> token) const;

 private:
  std::vector<AddedToken> tokens_;
  PieceTrie trie_;  // numbers index tokens_
};

}  // namespace blazon::language
