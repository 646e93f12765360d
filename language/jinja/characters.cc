#include "language/jinja/characters.h"

#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

constexpr int32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;

enum class Case { kUpper, kLower, kTitle };

// The full mapping of one character; ICU's longest has three.
void AppendMapped(int32_t character, Case mapping, std::string* result) {
  if (character < 0x80) {
    const bool up = mapping != Case::kLower;
    if (up && character >= 'a' && character <= 'z') character -= 'a' - 'A';
    if (!up && character >= 'A' && character <= 'Z') character += 'a' - 'A';
    result->push_back(static_cast<char>(character));
    return;
  }
  UChar source[2], mapped[16];
  int32_t length = 0;
  UBool failed = false;
  U16_APPEND(source, length, 2, character, failed);
  UErrorCode error = U_ZERO_ERROR;
  int32_t count = 0;
  switch (mapping) {
    case Case::kUpper:
      count = u_strToUpper(mapped, 16, source, length, "", &error);
      break;
    case Case::kLower:
      count = u_strToLower(mapped, 16, source, length, "", &error);
      break;
    case Case::kTitle:
      count = u_strToTitle(mapped, 16, source, length, nullptr, "", &error);
      break;
  }
  if (failed || U_FAILURE(error)) return AppendUtf8(character, result);
  for (int32_t i = 0; i < count;) {
    UChar32 next;
    U16_NEXT(mapped, i, count, next);
    AppendUtf8(next, result);
  }
}

// Whether the capital sigma at [begin, behind) ends a word of [first, last) (Unicode, SpecialCasing, Final_Sigma).
bool EndsWord(std::string_view text, size_t first, size_t begin, size_t behind, size_t last) {
  bool cased_before = false;
  while (begin > first && !cased_before) {
    begin = PreviousCharacter(text, begin);
    size_t position = begin;
    const int32_t character = NextCharacter(text, &position);
    if (u_hasBinaryProperty(character, UCHAR_CASE_IGNORABLE)) continue;
    if (!IsCased(character)) return false;
    cased_before = true;
  }
  if (!cased_before) return false;
  while (behind < last) {
    const int32_t character = NextCharacter(text, &behind);
    if (!u_hasBinaryProperty(character, UCHAR_CASE_IGNORABLE)) return !IsCased(character);
  }
  return true;
}

}  // namespace

bool IsSpace(int32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsPrintable(int32_t character) {
  if (character < 0x7F) return character >= 0x20;
  switch (u_charType(character)) {
    case U_UNASSIGNED:
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_PRIVATE_USE_CHAR:
    case U_SURROGATE:
    case U_SPACE_SEPARATOR:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
      return false;
    default:
      return true;
  }
}

bool IsCased(int32_t character) { return u_hasBinaryProperty(character, UCHAR_CASED); }

size_t CharacterCount(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += (static_cast<uint8_t>(byte) & 0xC0) != 0x80;
  return count;
}

size_t ByteOfCharacter(std::string_view text, size_t character) {
  size_t position = 0;
  for (; position < text.size(); ++position) {
    if ((static_cast<uint8_t>(text[position]) & 0xC0) == 0x80) continue;
    if (character == 0) break;
    --character;
  }
  return position;
}

size_t PreviousCharacter(std::string_view text, size_t position) {
  do --position;
  while (position > 0 && (static_cast<uint8_t>(text[position]) & 0xC0) == 0x80);
  return position;
}

size_t SkipSpaceForward(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t next = begin;
    if (!IsSpace(NextCharacter(text, &next))) break;
    begin = next;
  }
  return begin;
}

size_t SkipSpaceBackward(std::string_view text, size_t begin, size_t end) {
  while (end > begin) {
    const size_t previous = PreviousCharacter(text, end);
    size_t next = previous;
    if (!IsSpace(NextCharacter(text, &next))) break;
    end = previous;
  }
  return end;
}

void AppendUpper(const Text& text, size_t begin, size_t end, Text* result) {
  std::string mapped;
  while (begin < end) {
    const bool is_data = text.IsData(begin);
    mapped.clear();
    AppendMapped(NextCharacter(text.bytes(), &begin), Case::kUpper, &mapped);
    result->Append(mapped, is_data);
  }
}

void AppendLower(const Text& text, size_t begin, size_t end, Text* result) {
  std::string mapped;
  const size_t first = begin;
  while (begin < end) {
    const size_t at = begin;
    mapped.clear();
    const int32_t character = NextCharacter(text.bytes(), &begin);
    if (character == kCapitalSigma && EndsWord(text.bytes(), first, at, begin, end)) {
      AppendUtf8(kFinalSigma, &mapped);
    } else {
      AppendMapped(character, Case::kLower, &mapped);
    }
    result->Append(mapped, text.IsData(at));
  }
}

size_t AppendTitleCharacter(const Text& text, size_t begin, Text* result) {
  size_t next = begin;
  std::string mapped;
  AppendMapped(NextCharacter(text.bytes(), &next), Case::kTitle, &mapped);
  result->Append(mapped, text.IsData(begin));
  return next;
}

}  // namespace blazon::language::jinja
