#include "language/tokenizer/unicode.h"

#include <unicode/uchar.h>

#include "language/tokenizer/utf8.h"

namespace blazon::language {

bool IsWhiteSpace(int32_t character) {
  if (character < 0x80) return character == ' ' || (character >= '\t' && character <= '\r');
  return u_isUWhiteSpace(character);
}

bool IsNumeric(int32_t character) {
  if (character < 0x80) return character >= '0' && character <= '9';
  return (U_MASK(u_charType(character)) & U_GC_N_MASK) != 0;
}

bool IsWordCharacter(int32_t character) {
  if (u_hasBinaryProperty(character, UCHAR_ALPHABETIC) || u_hasBinaryProperty(character, UCHAR_JOIN_CONTROL))
    return true;
  return (U_MASK(u_charType(character)) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

// Over all of Unicode 15 six rare characters differ from the package, whose category has changed since 8.0: 166D 1734
// 1885 1886 A9BD 111C9.
uint32_t OldCategory(int32_t character) {
  constexpr uint8_t kUnicodeMajor = 8;
  UVersionInfo age;
  u_charAge(character, age);
  return age[0] > kUnicodeMajor ? U_GC_CN_MASK : U_MASK(u_charType(character));
}

bool IsPunctuation(int32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  return (OldCategory(c) & U_GC_P_MASK) != 0;
}

int32_t LastCharacter(std::string_view text, size_t* begin) {
  size_t position = text.size() - 1;
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) --position;
  *begin = position;
  return NextCharacter(text, &position);
}

size_t CountCharacters(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  return count;
}

}  // namespace blazon::language
