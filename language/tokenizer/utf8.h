// UTF-8 that may be broken: in tokenizers every ill-formed part reads as U+FFFD, one for each maximal subpart (Unicode
// 15, 3.9, table 3-8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace blazon::language {

inline constexpr int32_t kReplacementCharacter = 0xFFFD;

// The character that begins at text[*position], which must be inside `text`; moves *position behind it.
int32_t NextCharacter(std::string_view text, size_t* position);

void AppendUtf8(int32_t character, std::string* text);

bool IsValidUtf8(std::string_view text);

// `text` with U+FFFD in place of what is not UTF-8.
std::string ReplaceInvalidUtf8(std::string_view text);

}  // namespace blazon::language
