#include "language/tokenizer/word_piece_tokenizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, 80)), "\"");
}

bool IsSpace(char32_t character) { return u_isUWhiteSpace(static_cast<UChar32>(character)); }

// U_GC_*_MASK of a character in Unicode 8.0, which `tokenizers` asks: what was assigned later has no category there.
// (Over all of Unicode 15 six rare characters differ from it, whose category has changed since: 166D 1734 1885 1886
// A9BD 111C9.)
uint32_t Category(char32_t character) {
  constexpr uint8_t kUnicodeMajor = 8;
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(character), age);
  return age[0] > kUnicodeMajor ? U_GC_CN_MASK : U_MASK(u_charType(static_cast<UChar32>(character)));
}

// What BERT's cleaning drops: NUL, the replacement character, and control, format and private-use characters.
bool IsDropped(char32_t character) {
  if (character == 0 || character == kReplacementCharacter) return true;
  if (character == '\t' || character == '\n' || character == '\r') return false;
  return (Category(character) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK)) != 0;
}

// BERT's table of Chinese characters, as `tokenizers` has it.
bool IsChinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

// Punctuation, and every printable ASCII character that is neither letter nor digit.
bool IsPunctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  return (Category(c) & U_GC_P_MASK) != 0;
}

// Canonical decomposition (NFD) without its non-spacing marks.
std::u32string StripAccents(const std::u32string& text) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* const nfd = icu::Normalizer2::getNFDInstance(error);
  if (U_FAILURE(error)) return text;  // ICU's data are linked in; this does not happen
  std::u32string stripped;
  for (const char32_t character : text) {
    icu::UnicodeString decomposition;
    if (!nfd->getDecomposition(static_cast<UChar32>(character), decomposition))
      decomposition = static_cast<UChar32>(character);
    for (int32_t i = 0; i < decomposition.length(); i = decomposition.moveIndex32(i, 1)) {
      const char32_t part = static_cast<char32_t>(decomposition.char32At(i));
      if ((Category(part) & U_GC_MN_MASK) == 0) stripped.push_back(part);
    }
  }
  // Canonical order of the marks that stay.
  const auto combining_class = [nfd](char32_t c) { return nfd->getCombiningClass(static_cast<UChar32>(c)); };
  for (size_t begin = 0; begin < stripped.size(); ++begin) {
    size_t end = begin;
    while (end < stripped.size() && combining_class(stripped[end]) != 0) ++end;
    std::stable_sort(stripped.begin() + begin, stripped.begin() + end,
                     [&](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
  return stripped;
}

// Character by character, without regard to the neighbours.
std::u32string Lowercase(const std::u32string& text) {
  std::u32string lower;
  for (const char32_t character : text) {
    lower.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(character))));
    if (character == 0x130) lower.push_back(0x307);  // capital I with dot: the one whose lower case is two characters
  }
  return lower;
}

}  // namespace

absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> WordPieceTokenizer::Create(WordPieceVocabulary vocabulary) {
  if (vocabulary.tokens.size() > INT32_MAX) return absl::InvalidArgumentError("more tokens than ids");
  std::unique_ptr<WordPieceTokenizer> tokenizer(new WordPieceTokenizer());
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& token = vocabulary.tokens[i];
    if (token.empty()) return absl::InvalidArgumentError(absl::StrCat("token ", i, " is empty"));
    if (!tokenizer->ids_.emplace(token, static_cast<TokenId>(i)).second) {
      return absl::InvalidArgumentError(absl::StrCat("token ", i, ", ", Quoted(token), ", is in the vocabulary twice"));
    }
    tokenizer->longest_piece_ = std::max(tokenizer->longest_piece_, token.size());
  }
  const auto unknown = tokenizer->ids_.find(vocabulary.unknown);
  if (unknown == tokenizer->ids_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the vocabulary lacks the token for unknown words, ", Quoted(vocabulary.unknown)));
  }
  tokenizer->unknown_id_ = unknown->second;
  tokenizer->special_.resize(vocabulary.tokens.size());
  std::vector<std::pair<std::string, TokenId>> specials;
  for (const std::string& spelling : vocabulary.special) {
    const auto found = tokenizer->ids_.find(spelling);
    if (found == tokenizer->ids_.end() || tokenizer->special_[found->second]) continue;
    tokenizer->special_[found->second] = true;
    specials.emplace_back(spelling, found->second);
  }
  tokenizer->special_tokens_ = SpecialTokens(std::move(specials));
  tokenizer->vocabulary_ = std::move(vocabulary);
  return tokenizer;
}

std::vector<TokenId> WordPieceTokenizer::Encode(std::string_view text) const {
  std::vector<TokenId> ids;
  EncodePlain(text, &ids);
  return ids;
}

std::vector<TokenId> WordPieceTokenizer::EncodeWithSpecials(std::string_view text) const {
  std::vector<TokenId> ids;
  special_tokens_.Split(
      text, [&](std::string_view plain) { EncodePlain(plain, &ids); }, [&](TokenId id) { ids.push_back(id); });
  return ids;
}

// Cleans, and cuts at white space and around Chinese characters.
void WordPieceTokenizer::EncodePlain(std::string_view text, std::vector<TokenId>* ids) const {
  std::u32string run;
  for (size_t position = 0; position < text.size();) {
    const char32_t character = static_cast<char32_t>(NextCharacter(text, &position));
    if (vocabulary_.clean_text && IsDropped(character)) continue;
    if (IsSpace(character)) {
      EncodeRun(&run, ids);
    } else if (vocabulary_.split_cjk && IsChinese(character)) {
      EncodeRun(&run, ids);
      run.push_back(character);
      EncodeRun(&run, ids);
    } else {
      run.push_back(character);
    }
  }
  EncodeRun(&run, ids);
}

// Normalises characters without white space, cuts them at punctuation, and empties the run.
void WordPieceTokenizer::EncodeRun(std::u32string* run, std::vector<TokenId>* ids) const {
  if (vocabulary_.strip_accents && std::any_of(run->begin(), run->end(), [](char32_t c) { return c >= 0x80; }))
    *run = StripAccents(*run);
  if (vocabulary_.lowercase) *run = Lowercase(*run);
  const std::u32string_view characters = *run;
  for (size_t begin = 0; begin < characters.size();) {
    size_t end = begin;
    while (end < characters.size() && !IsPunctuation(characters[end])) ++end;
    if (end == begin) ++end;  // each punctuation mark is a word
    EncodeWord(characters.substr(begin, end - begin), ids);
    begin = end;
  }
  run->clear();
}

// The longest piece first; a word that cannot be cut into pieces is unknown as a whole.
void WordPieceTokenizer::EncodeWord(std::u32string_view word, std::vector<TokenId>* ids) const {
  if (static_cast<int64_t>(word.size()) > vocabulary_.max_word_characters) {
    ids->push_back(unknown_id_);
    return;
  }
  const size_t first = ids->size();
  for (size_t begin = 0; begin < word.size();) {
    std::string piece = begin > 0 ? vocabulary_.continuation_prefix : "";
    TokenId best = -1;
    size_t best_end = begin;
    for (size_t end = begin; end < word.size() && piece.size() < longest_piece_;) {
      AppendUtf8(static_cast<int32_t>(word[end++]), &piece);
      if (const auto found = ids_.find(piece); found != ids_.end()) {
        best = found->second;
        best_end = end;
      }
    }
    if (best < 0) {
      ids->resize(first);
      ids->push_back(unknown_id_);
      return;
    }
    ids->push_back(best);
    begin = best_end;
  }
}

std::string WordPieceTokenizer::TokenBytes(TokenId id) const {
  if (id < 0 || id >= vocabulary_size()) return "";
  const std::string& token = vocabulary_.tokens[id];
  const std::string& prefix = vocabulary_.continuation_prefix;
  return !special_[id] && token.size() > prefix.size() && token.starts_with(prefix) ? token.substr(prefix.size())
                                                                                    : token;
}

std::string WordPieceTokenizer::Decode(absl::Span<const TokenId> ids, bool skip_special) const {
  std::string text;
  for (const TokenId id : ids) {
    if (id < 0 || id >= vocabulary_size() || (skip_special && special_[id])) continue;
    const std::string bytes = TokenBytes(id);
    const bool continues = bytes.size() < vocabulary_.tokens[id].size();
    if (!text.empty() && !continues) text += ' ';
    text += bytes;
  }
  return text;
}

std::optional<TokenId> WordPieceTokenizer::FindToken(std::string_view spelling) const {
  const auto found = ids_.find(std::string(spelling));
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

bool WordPieceTokenizer::IsSpecial(TokenId id) const { return id >= 0 && id < vocabulary_size() && special_[id]; }

}  // namespace blazon::language
