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
      const UChar32 folded = u_foldCase(character, U_FOLD_CASE_DEFAULT);
      uint8_t encoded[U8_MAX_LENGTH];
      size_t length = 0;
      U8_APPEND_UNSAFE(encoded, length, folded);
      word.append(reinterpret_cast<const char*>(encoded), length);
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

}  // namespace blazon::retrieval
