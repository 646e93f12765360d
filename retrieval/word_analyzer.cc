#include "retrieval/word_analyzer.h"

#include <libstemmer.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf8.h>

#include <algorithm>

namespace blazon::retrieval {
namespace {

// Shorter and longer words are their own stems, as in SQLite's FTS5.
constexpr size_t kShortestStemmed = 3;
constexpr size_t kLongestStemmed = 64;

bool IsAsciiLetter(UChar32 c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDiacritic(UChar32 c) { return c >= 0x300 && c <= 0x36f; }

void AppendUtf8(UChar32 character, std::string& text) {
  uint8_t encoded[U8_MAX_LENGTH];
  size_t length = 0;
  U8_APPEND_UNSAFE(encoded, length, character);
  text.append(reinterpret_cast<const char*>(encoded), length);
}

// The letter without its diacritics when it is a Latin one with some, else itself; case-folded.
UChar32 FoldLetter(UChar32 character) {
  UErrorCode code = U_ZERO_ERROR;
  static const UNormalizer2* const forms = unorm2_getNFDInstance(&code);
  UChar parts[32];
  const int32_t length = unorm2_getDecomposition(forms, character, parts, 32, &code);
  if (U_SUCCESS(code) && length > 1 && IsAsciiLetter(parts[0])) character = parts[0];
  return u_foldCase(character, U_FOLD_CASE_DEFAULT);
}

UChar32 Composed(UChar32 letter, UChar32 mark) {
  UErrorCode code = U_ZERO_ERROR;
  static const UNormalizer2* const forms = unorm2_getNFCInstance(&code);
  return unorm2_composePair(forms, letter, mark);
}

}  // namespace

WordAnalyzer::WordAnalyzer() : stemmer_(sb_stemmer_new("porter", "UTF_8"), sb_stemmer_delete) {}

void WordAnalyzer::EndWord(absl::FunctionRef<void(std::string_view)> take) {
  if (word_.empty()) return;
  std::string_view term = word_;
  if (stemmer_ && word_.size() >= kShortestStemmed && word_.size() <= kLongestStemmed) {
    const sb_symbol* stem = sb_stemmer_stem(stemmer_.get(), reinterpret_cast<const sb_symbol*>(word_.data()),
                                            static_cast<int>(word_.size()));
    if (stem) term = {reinterpret_cast<const char*>(stem), static_cast<size_t>(sb_stemmer_length(stemmer_.get()))};
  }
  take(term);
  word_.clear();
}

void WordAnalyzer::Analyze(std::string_view text, absl::FunctionRef<void(std::string_view)> take) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 last = 0;    // what stands at the end of word_
  size_t last_at = 0;  // where
  word_.clear();
  for (size_t i = 0; i < text.size();) {
    const uint8_t byte = bytes[i];
    if (byte < 0x80) {
      ++i;
      if (byte >= 'A' && byte <= 'Z') {
        last = byte + ('a' - 'A');
      } else if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9')) {
        last = byte;
      } else {
        EndWord(take);
        continue;
      }
      last_at = word_.size();
      word_.push_back(static_cast<char>(last));
      continue;
    }
    UChar32 character;
    U8_NEXT(bytes, i, text.size(), character);
    if (character < 0 || !(U_GET_GC_MASK(character) & (U_GC_L_MASK | U_GC_M_MASK | U_GC_N_MASK))) {
      EndWord(take);
      continue;
    }
    if (IsDiacritic(character) && !word_.empty()) {  // letters that are spelled in parts
      const UChar32 whole = IsAsciiLetter(last) ? -1 : Composed(last, character);
      if (whole < 0) continue;
      word_.resize(last_at);
      character = whole;
    }
    last = FoldLetter(character);
    last_at = word_.size();
    AppendUtf8(last, word_);
  }
  EndWord(take);
}

}  // namespace blazon::retrieval
