#include "language/tokenizer/added_tokens.h"

#include <utility>

#include "language/tokenizer/unicode.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

bool BeginsWithWord(std::string_view text) {
  size_t position = 0;
  return !text.empty() && IsWordCharacter(NextCharacter(text, &position));
}

bool EndsWithWord(std::string_view text) {
  size_t begin = 0;
  return !text.empty() && IsWordCharacter(LastCharacter(text, &begin));
}

// Where the white space at the end of `text` begins.
size_t SpaceBegin(std::string_view text) {
  size_t space = text.size();
  for (size_t begin = 0; space > 0; space = begin) {
    if (!IsWhiteSpace(LastCharacter(text.substr(0, space), &begin))) break;
  }
  return space;
}

// Where the white space that begins at `from` ends.
size_t SpaceEnd(std::string_view text, size_t from) {
  for (size_t position = from; position < text.size(); from = position) {
    if (!IsWhiteSpace(NextCharacter(text, &position))) break;
  }
  return from;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::vector<std::pair<std::string_view, int32_t>> pieces;
  for (size_t i = 0; i < tokens_.size(); ++i) pieces.emplace_back(tokens_[i].content, static_cast<int32_t>(i));
  trie_ = PieceTrie(std::move(pieces));
}

void AddedTokens::Split(std::string_view text, bool with_special, absl::FunctionRef<void(std::string_view)> plain,
                        absl::FunctionRef<void(TokenId)> token) const {
  size_t plain_begin = 0;
  for (size_t position = 0; position < text.size() && !empty();) {
    PieceTrie::Node node = PieceTrie::kRoot;
    int32_t found = PieceTrie::kNone;
    size_t found_end = position;
    for (size_t end = position; end < text.size() && trie_.Step(text[end], &node);) {
      ++end;
      if (trie_.value(node) == PieceTrie::kNone) continue;
      found = trie_.value(node);
      found_end = end;
    }
    if (found == PieceTrie::kNone) {
      ++position;
      continue;
    }
    const AddedToken& added = tokens_[found];
    size_t begin = position, end = found_end;
    position = found_end;  // what is spelled here is used up, whether it counts or not
    if (added.special && !with_special) continue;
    if (added.single_word && (EndsWithWord(text.substr(0, begin)) || BeginsWithWord(text.substr(end)))) continue;
    if (added.strip_left && begin > plain_begin)
      begin = plain_begin + SpaceBegin(text.substr(plain_begin, begin - plain_begin));
    if (added.strip_right) end = SpaceEnd(text, end);
    if (begin > plain_begin) plain(text.substr(plain_begin, begin - plain_begin));
    token(added.id);
    plain_begin = end;
  }
  if (plain_begin < text.size()) plain(text.substr(plain_begin));
}

}  // namespace blazon::language
