// From text to the terms that the word index keeps and searches are made of.
//
// A word is a maximal run of letters, marks and digits, as words.h has it; a run with characters of a script that is
// written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) is cut further, by ICU's dictionaries. The term
// is the word case-folded, stemmed, and its Latin letters without their diacritics. Stemming is by language, Snowball's
// algorithms; in English, and where the language is not known, diacritics go first and the algorithm is Porter's
// (1980), as in SQLite's FTS5.
//
// Thread safety: one thread at a time; an object is cheap to make.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

struct sb_stemmer;
struct UBreakIterator;

namespace blazon::retrieval {

// What the terms of an index were made by; other rules need another name.
inline constexpr std::string_view kWordRules = "words/2";

class WordAnalyzer {
 public:
  // stems: text_language.h.
  explicit WordAnalyzer(int stems = 0);

  // Calls `take` with the term of each word of UTF-8 text, in order, repeats kept; bytes that are not UTF-8 separate
  // words. The number of terms does not depend on `stems`. A term lives until `take` returns.
  void Analyze(std::string_view text, absl::FunctionRef<void(std::string_view)> take);

 private:
  void EndWord(absl::FunctionRef<void(std::string_view)> take);
  void TakeStem(std::string_view word, absl::FunctionRef<void(std::string_view)> take);
  void CutWord(absl::FunctionRef<void(std::string_view)> take);

  const int stems_;
  std::unique_ptr<sb_stemmer, void (*)(sb_stemmer*)> stemmer_;
  std::unique_ptr<UBreakIterator, void (*)(UBreakIterator*)> breaks_;  // made when it is first needed
  std::string word_;                                                   // folded so far
  std::string stripped_;                                               // a stem without diacritics
  bool has_unspaced_ = false;  // word_ has characters of a script without spaces
};

}  // namespace blazon::retrieval
