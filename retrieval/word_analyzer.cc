#include "retrieval/word_analyzer.h"

#include <libstemmer.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "retrieval/text_language.h"

namespace blazon::retrieval {
namespace {

// Shorter and longer words are their own stems, as in SQLite's FTS5.
constexpr size_t kShortestStemmed = 3;
constexpr size_t kLongestStemmed = 64;

bool IsAsciiLetter(UChar32 c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDiacritic(UChar32 c) { return c >= 0x300 && c <= 0x36f; }

// Of a script whose words stand side by side.
bool IsUnspaced(UChar32 c) {
  return (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) || (c >= 0x1780 && c <= 0x17ff) ||
         (c >= 0x3005 && c <= 0x3007) || (c >= 0x3040 && c <= 0x30ff) || (c >= 0x31f0 && c <= 0x31ff) ||
         (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0xff66 && c <= 0xff9f) || (c >= 0x20000 && c <= 0x3ffff);
}

void AppendUtf8(UChar32 character, std::string& text) {
  uint8_t encoded[U8_MAX_LENGTH];
  size_t length = 0;
  U8_APPEND_UNSAFE(encoded, length, character);
  text.append(reinterpret_cast<const char*>(encoded), length);
}

// The letter without its diacritics when it is a Latin one with some, else itself.
UChar32 WithoutDiacritics(UChar32 character) {
  UErrorCode code = U_ZERO_ERROR;
  static const UNormalizer2* const forms = unorm2_getNFDInstance(&code);
  UChar parts[32];
  const int32_t length = unorm2_getDecomposition(forms, character, parts, 32, &code);
  if (U_SUCCESS(code) && length > 1 && IsAsciiLetter(parts[0])) return parts[0];
  return character;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

UChar32 Composed(UChar32 letter, UChar32 mark) {
  UErrorCode code = U_ZERO_ERROR;
  static const UNormalizer2* const forms = unorm2_getNFCInstance(&code);
  return unorm2_composePair(forms, letter, mark);
}

}  // namespace

WordAnalyzer::WordAnalyzer(int stems)
    : stems_(stems),
      stemmer_(StemAlgorithm(stems) ? sb_stemmer_new(StemAlgorithm(stems), "UTF_8") : nullptr, sb_stemmer_delete),
      breaks_(nullptr, ubrk_close) {}

void WordAnalyzer::TakeStem(std::string_view word, absl::FunctionRef<void(std::string_view)> take) {
  std::string_view term = word;
  if (stemmer_ && word.size() >= kShortestStemmed && word.size() <= kLongestStemmed) {
    const sb_symbol* stem =
        sb_stemmer_stem(stemmer_.get(), reinterpret_cast<const sb_symbol*>(word.data()), static_cast<int>(word.size()));
    if (stem) term = {reinterpret_cast<const char*>(stem), static_cast<size_t>(sb_stemmer_length(stemmer_.get()))};
  }
  if (stems_ == 0 || IsAscii(term)) return take(term);
  stripped_.clear();
  const auto* bytes = reinterpret_cast<const uint8_t*>(term.data());
  for (size_t i = 0; i < term.size();) {
    UChar32 character;
    U8_NEXT(bytes, i, term.size(), character);
    AppendUtf8(WithoutDiacritics(character), stripped_);
  }
  take(stripped_);
}

void WordAnalyzer::CutWord(absl::FunctionRef<void(std::string_view)> take) {
  UErrorCode code = U_ZERO_ERROR;
  if (!breaks_) breaks_.reset(ubrk_open(UBRK_WORD, "", nullptr, 0, &code));
  UText text = UTEXT_INITIALIZER;
  utext_openUTF8(&text, word_.data(), static_cast<int64_t>(word_.size()), &code);
  ubrk_setUText(breaks_.get(), &text, &code);
  if (U_FAILURE(code)) {  // without ICU's data: the run is a word
    utext_close(&text);
    return take(word_);
  }
  int32_t begin = ubrk_first(breaks_.get());
  for (int32_t end; (end = ubrk_next(breaks_.get())) != UBRK_DONE; begin = end)
    TakeStem(std::string_view(word_).substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), take);
  utext_close(&text);
}

void WordAnalyzer::EndWord(absl::FunctionRef<void(std::string_view)> take) {
  if (word_.empty()) return;
  if (has_unspaced_) {
    CutWord(take);
  } else {
    TakeStem(word_, take);
  }
  word_.clear();
  has_unspaced_ = false;
}

void WordAnalyzer::Analyze(std::string_view text, absl::FunctionRef<void(std::string_view)> take) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 last = 0;    // what stands at the end of word_
  size_t last_at = 0;  // where
  word_.clear();
  has_unspaced_ = false;
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
      const UChar32 whole = stems_ == 0 && IsAsciiLetter(last) ? -1 : Composed(last, character);
      if (whole < 0) continue;
      word_.resize(last_at);
      character = whole;
    }
    last = u_foldCase(stems_ == 0 ? WithoutDiacritics(character) : character, U_FOLD_CASE_DEFAULT);
    has_unspaced_ |= IsUnspaced(last);
    last_at = word_.size();
    AppendUtf8(last, word_);
  }
  EndWord(take);
}

}  // namespace blazon::retrieval
