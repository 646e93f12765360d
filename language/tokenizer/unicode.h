// Properties of characters as tokenizers ask for them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace blazon::language {

// The Unicode property White_Space: U+0085, U+00A0 and U+3000 have it, U+180E, U+200B and U+FEFF do not.
bool IsWhiteSpace(int32_t character);

// General category N: digits, Roman numerals, fractions.
bool IsNumeric(int32_t character);

// \w of regular expressions: letters, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(int32_t character);

// Punctuation, and every printable ASCII character that is neither letter nor digit.
// In this and in OldCategory the `tokenizers` package knows Unicode 8.0; what was assigned later has no category there.
bool IsPunctuation(int32_t character);

// U_GC_*_MASK of ICU for the character's general category in Unicode 8.0.
uint32_t OldCategory(int32_t character);

// The character that ends `text`, which must be well-formed UTF-8 and not empty; *begin is where it begins.
int32_t LastCharacter(std::string_view text, size_t* begin);

// Bytes of the character that begins with byte `lead` of well-formed UTF-8.
inline size_t CharacterLength(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// How many characters well-formed UTF-8 has.
size_t CountCharacters(std::string_view text);

}  // namespace blazon::language
