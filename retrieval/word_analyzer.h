// From text to the terms that the word index keeps and searches are made of.
//
// A word is a maximal run of letters, marks and digits, as words.h has it; its term is the word case-folded, Latin
// letters without their diacritics, stemmed by Porter's algorithm (1980). Other scripts keep their marks.
//
// Thread safety: one thread at a time; an object is cheap to make.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

struct sb_stemmer;

namespace blazon::retrieval {

// What the terms of an index were made by; other rules need another name, and a writer makes indexes of another name
// anew.
inline constexpr std::string_view kWordRules = "words/1";

class WordAnalyzer {
 public:
  WordAnalyzer();

  // Calls `take` with the term of each word of UTF-8 text, in order, repeats kept; bytes that are not UTF-8 separate
  // words. A term lives until `take` returns.
  void Analyze(std::string_view text, absl::FunctionRef<void(std::string_view)> take);

 private:
  void EndWord(absl::FunctionRef<void(std::string_view)> take);

  std::unique_ptr<sb_stemmer, void (*)(sb_stemmer*)> stemmer_;
  std::string word_;  // folded so far
};

}  // namespace blazon::retrieval
