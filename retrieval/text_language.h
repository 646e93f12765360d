// Which language a text is in, and whose stems its words have in the word index.
//
// Thread safety: all functions may run together.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace blazon::retrieval {

// The language of UTF-8 text by its script and letter groups (CLD2), as an ISO 639-1 code such as "de"; empty when the
// text is too short or too mixed to tell. Looks at the first 64 KiB.
std::string DetectLanguage(std::string_view text);

// Whether a code is one that documents and collections may have: two lower-case letters.
bool IsLanguageCode(std::string_view code);

// kInvalidArgument: a person gave a code that is none of a language known here, those that are detected or have stems;
// the message lists them.
absl::Status CheckLanguage(std::string_view code);

// The place of a language's stemmer in the list of them; 0 for English and for an unknown language, which share
// Porter's; kNoStems for languages without one. Part of the word index's format.
int StemsOf(std::string_view language);
inline constexpr int kNoStems = 63;
// libstemmer's name of the algorithm at a place; null for kNoStems.
const char* StemAlgorithm(int stems);

}  // namespace blazon::retrieval
