#include "language/tokenizer/vocabulary.h"

#include "absl/strings/str_format.h"

namespace blazon::language {

std::vector<std::optional<TokenId>> FindByteTokens(const Vocabulary& vocabulary) {
  std::vector<std::optional<TokenId>> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(vocabulary.Find(absl::StrFormat("<0x%02X>", byte)));
  return tokens;
}

}  // namespace blazon::language
