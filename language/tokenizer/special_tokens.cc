#include "language/tokenizer/special_tokens.h"

#include <algorithm>
#include <cstdint>

namespace blazon::language {

SpecialTokens::SpecialTokens(std::vector<std::pair<std::string, TokenId>> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  for (const auto& [spelling, id] : tokens_) begins_token_[static_cast<uint8_t>(spelling[0])] = true;
}

void SpecialTokens::Split(std::string_view text, absl::FunctionRef<void(std::string_view)> plain,
                          absl::FunctionRef<void(TokenId)> special) const {
  size_t plain_begin = 0;
  for (size_t position = 0; position < text.size();) {
    auto found = tokens_.end();
    if (begins_token_[static_cast<uint8_t>(text[position])]) {
      found = std::find_if(tokens_.begin(), tokens_.end(),
                           [&](const auto& token) { return text.substr(position).starts_with(token.first); });
    }
    if (found == tokens_.end()) {
      ++position;
      continue;
    }
    if (position > plain_begin) plain(text.substr(plain_begin, position - plain_begin));
    special(found->second);
    position += found->first.size();
    plain_begin = position;
  }
  if (plain_begin < text.size()) plain(text.substr(plain_begin));
}

}  // namespace blazon::language
