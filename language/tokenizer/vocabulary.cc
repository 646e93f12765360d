#include "language/tokenizer/vocabulary.h"

#include <utility>

#include "absl/strings/str_format.h"

namespace blazon::language {

Vocabulary::Vocabulary(std::vector<std::string> tokens, const std::vector<TokenId>& hidden)
    : tokens_(std::move(tokens)) {
  for (const TokenId id : hidden) hidden_.insert(std::exchange(tokens_[id], {}));
  ids_.reserve(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (!tokens_[id].empty()) ids_[tokens_[id]] = static_cast<TokenId>(id);
  }
}

std::vector<std::optional<TokenId>> FindByteTokens(const Vocabulary& vocabulary) {
  std::vector<std::optional<TokenId>> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(vocabulary.Find(absl::StrFormat("<0x%02X>", byte)));
  return tokens;
}

}  // namespace blazon::language
