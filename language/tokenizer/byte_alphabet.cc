#include "language/tokenizer/byte_alphabet.h"

#include <array>

#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

constexpr int32_t kEnd = 0x100 + 33 + 34 + 1;  // the characters that are not themselves follow from U+0100

struct Alphabet {
  std::array<int32_t, 256> characters;
  std::array<int16_t, kEnd> bytes;  // -1: no byte
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet = [] {
    Alphabet made;
    made.bytes.fill(-1);
    int32_t next = 0x100;
    for (int32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      made.characters[byte] = printable ? byte : next++;
      made.bytes[made.characters[byte]] = static_cast<int16_t>(byte);
    }
    return made;
  }();
  return alphabet;
}

}  // namespace

int32_t ByteCharacter(uint8_t byte) { return TheAlphabet().characters[byte]; }

std::optional<uint8_t> CharacterByte(int32_t character) {
  if (character < 0 || character >= kEnd || TheAlphabet().bytes[character] < 0) return std::nullopt;
  return static_cast<uint8_t>(TheAlphabet().bytes[character]);
}

void AppendInByteAlphabet(std::string_view bytes, std::string* text) {
  for (const char byte : bytes) AppendUtf8(ByteCharacter(static_cast<uint8_t>(byte)), text);
}

std::optional<std::string> FromByteAlphabet(std::string_view spelling) {
  std::string bytes;
  for (size_t position = 0; position < spelling.size();) {
    const std::optional<uint8_t> byte = CharacterByte(NextCharacter(spelling, &position));
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
  }
  return bytes;
}

}  // namespace blazon::language
