#include "retrieval/words.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "absl/container/flat_hash_set.h"

namespace blazon::retrieval {
namespace {

const absl::flat_hash_set<std::string_view>& FunctionWords() {
  static const auto* words = new absl::flat_hash_set<std::string_view>{
      "a",      "about",  "am",    "an",    "and",   "any",   "are",  "as",    "at",    "be",     "been",  "being",
      "but",    "by",     "can",   "could", "did",   "do",    "does", "doing", "for",   "from",   "had",   "has",
      "have",   "having", "he",    "her",   "hers",  "him",   "his",  "how",   "i",     "if",     "in",    "into",
      "is",     "it",     "its",   "me",    "my",    "of",    "on",   "or",    "our",   "ours",   "shall", "she",
      "should", "so",     "some",  "such",  "tell",  "than",  "that", "the",   "their", "theirs", "them",  "then",
      "there",  "these",  "they",  "this",  "those", "to",    "us",   "was",   "we",    "were",   "what",  "when",
      "where",  "which",  "while", "who",   "whom",  "whose", "why",  "will",  "with",  "would",  "you",   "your",
      "yours",  "s",      "t",     "d",     "ll",    "m",     "re",   "ve"};
  return *words;
}

// Where BERT's tokenizer cuts, and what it drops: white space, controls, punctuation, symbols of ASCII, invalid bytes.
bool IsGap(UChar32 c) {
  if (c < 0x80) return !u_isalnum(c);
  return u_isUWhiteSpace(c) || (U_GET_GC_MASK(c) & (U_GC_P_MASK | U_GC_CC_MASK | U_GC_CF_MASK)) != 0;
}

void AppendFolded(UChar32 character, std::string& text) {
  uint8_t encoded[U8_MAX_LENGTH];
  size_t length = 0;
  U8_APPEND_UNSAFE(encoded, length, u_foldCase(character, U_FOLD_CASE_DEFAULT));
  text.append(reinterpret_cast<const char*>(encoded), length);
}

std::string FoldCase(std::string_view text) {
  std::string folded;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    UChar32 character;
    U8_NEXT(bytes, i, text.size(), character);
    if (character >= 0) AppendFolded(character, folded);
  }
  return folded;
}

}  // namespace

std::string_view StripWhitespace(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\n\r\f\v");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n\r\f\v") + 1 - begin);
}

bool IsValidUtf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    UChar32 character;
    U8_NEXT(bytes, i, text.size(), character);
    if (character < 0) return false;
  }
  return true;
}

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    UChar32 character;
    U8_NEXT(bytes, i, text.size(), character);
    if (character >= 0 && (U_GET_GC_MASK(character) & (U_GC_L_MASK | U_GC_M_MASK | U_GC_N_MASK))) {
      AppendFolded(character, word);
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::vector<std::string> ContentWords(std::string_view text) {
  std::vector<std::string> all, content;
  absl::flat_hash_set<std::string> seen;
  for (std::string& word : Words(text)) {
    if (!seen.insert(word).second) continue;
    if (!FunctionWords().contains(word)) content.push_back(word);
    all.push_back(std::move(word));
  }
  return content.empty() ? all : content;
}

std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> pieces;
  bool last_gap = false;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0, begin = 0; i < text.size(); begin = i) {
    UChar32 character;
    U8_NEXT(bytes, i, text.size(), character);
    const bool gap = IsGap(character);
    if (pieces.empty() || gap != last_gap) pieces.emplace_back();
    pieces.back().append(text.substr(begin, i - begin));
    last_gap = gap;
  }
  return pieces;
}

WordKind KindOf(std::string_view piece) {
  static const auto* question_words =
      new absl::flat_hash_set<std::string_view>{"how", "what", "when", "where", "which", "who", "whom", "whose", "why"};
  UChar32 first;
  size_t i = 0;
  const auto* bytes = reinterpret_cast<const uint8_t*>(piece.data());
  if (piece.empty()) return WordKind::kGap;
  U8_NEXT(bytes, i, piece.size(), first);
  if (IsGap(first)) return WordKind::kGap;
  const std::string word = FoldCase(piece);
  if (question_words->contains(word)) return WordKind::kQuestion;
  return FunctionWords().contains(word) ? WordKind::kFunction : WordKind::kContent;
}

}  // namespace blazon::retrieval
