// The words of a question, as search by words and the measures of overlap see them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blazon::retrieval {

// Without spaces, tabs and line breaks at its ends.
std::string_view StripWhitespace(std::string_view text);
bool IsValidUtf8(std::string_view text);

// Maximal runs of letters, marks and digits of UTF-8 text, case-folded, in order, repeats kept; bytes that are not
// UTF-8 separate words.
std::vector<std::string> Words(std::string_view text);

// Words without function words of English ("what", "is", "the") and without repeats; all words when it has no others.
std::vector<std::string> ContentWords(std::string_view text);

// UTF-8 text cut into words and what stands between them, in order; together the pieces are the text. A word is a
// maximal run of characters that are neither white space nor punctuation (P, and the symbols of ASCII): where BERT's
// tokenizer cuts.
std::vector<std::string> SplitWords(std::string_view text);

enum class WordKind {
  kContent,
  kFunction,  // "the", "is"
  kQuestion,  // "what", "how"
  kGap,       // no word: what stands between words
};
// Of a piece that SplitWords gave.
WordKind KindOf(std::string_view piece);

}  // namespace blazon::retrieval
