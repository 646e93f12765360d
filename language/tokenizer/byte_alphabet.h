// GPT-2's byte alphabet (Radford et al. 2019): a printable character for every byte, in which byte-level vocabularies
// are written. Printable Latin-1 stands for itself, the rest follows from U+0100: a space is U+0120.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace blazon::language {

// The character that stands for `byte`.
int32_t ByteCharacter(uint8_t byte);

// The byte that `character` stands for; nullopt when it is none of the alphabet's.
std::optional<uint8_t> CharacterByte(int32_t character);

// Appends `bytes`, written in the alphabet.
void AppendInByteAlphabet(std::string_view bytes, std::string* text);

// The bytes that `spelling` stands for; nullopt when a character of it is not in the alphabet.
std::optional<std::string> FromByteAlphabet(std::string_view spelling);

}  // namespace blazon::language
