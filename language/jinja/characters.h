// Characters as Python's str sees them: white space, printing, case (ICU's Unicode data; full case mappings).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "language/jinja/text.h"

namespace blazon::language::jinja {

// str.isspace of one character.
bool IsSpace(int32_t character);
// str.isprintable of one character: decides what repr() escapes.
bool IsPrintable(int32_t character);
// Whether the character has case; of these str.title() makes words.
bool IsCased(int32_t character);

// Characters (code points) of valid UTF-8.
size_t CharacterCount(std::string_view text);
// The byte at which each character begins, and text.size() behind the last.
size_t ByteOfCharacter(std::string_view text, size_t character);
// The begin of the character before `position` (> 0).
size_t PreviousCharacter(std::string_view text, size_t position);

// Where text without leading, without trailing white space begins and ends.
size_t SkipSpaceForward(std::string_view text, size_t begin);
size_t SkipSpaceBackward(std::string_view text, size_t begin, size_t end);

// The mapped bytes [begin, end) of `text` behind `result`, each marked as the character it was made from. Lower follows
// the rule of the final sigma within the range.
void AppendUpper(const Text& text, size_t begin, size_t end, Text* result);
void AppendLower(const Text& text, size_t begin, size_t end, Text* result);
// One character that begins at `begin`, in title case; returns where the next one begins.
size_t AppendTitleCharacter(const Text& text, size_t begin, Text* result);

}  // namespace blazon::language::jinja
