#include "language/tokenizer/utf8.h"

#include <unicode/utf8.h>

namespace blazon::language {

int32_t NextCharacter(std::string_view text, size_t* position) {
  const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(text.data());
  const size_t size = text.size();
  UChar32 character;
  U8_NEXT_OR_FFFD(bytes, *position, size, character);
  return character;
}

void AppendUtf8(int32_t character, std::string* text) {
  uint8_t bytes[U8_MAX_LENGTH];
  int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, character);
  text->append(reinterpret_cast<const char*>(bytes), length);
}

bool IsValidUtf8(std::string_view text) {
  for (size_t position = 0; position < text.size();) {
    if (static_cast<unsigned char>(text[position]) < 0x80) {
      ++position;
      continue;
    }
    const size_t begin = position;
    // U+FFFD itself, spelled out, is three bytes long and begins with 0xEF 0xBF 0xBD.
    if (NextCharacter(text, &position) == kReplacementCharacter &&
        text.substr(begin, position - begin) != "\xEF\xBF\xBD")
      return false;
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  if (IsValidUtf8(text)) return std::string(text);
  std::string valid;
  valid.reserve(text.size());
  for (size_t position = 0; position < text.size();) AppendUtf8(NextCharacter(text, &position), &valid);
  return valid;
}

}  // namespace blazon::language
