#include "retrieval/page_quality.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>
#include <unicode/utf8.h>

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::retrieval {
namespace {

// Words of these scripts stand without spaces between them.
bool WritesWithoutSpaces(UChar32 character) {
  UErrorCode error = U_ZERO_ERROR;
  switch (uscript_getScript(character, &error)) {
    case USCRIPT_HAN:
    case USCRIPT_HIRAGANA:
    case USCRIPT_KATAKANA:
    case USCRIPT_THAI:
    case USCRIPT_LAO:
    case USCRIPT_KHMER:
    case USCRIPT_MYANMAR:
    case USCRIPT_TIBETAN:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string_view PageFault(std::string_view text) {
  int64_t visible = 0, unreadable = 0, letters = 0, words = 0;
  bool in_word = false;
  const auto size = static_cast<int32_t>(text.size());
  for (int32_t at = 0; at < size;) {
    UChar32 character;
    U8_NEXT(text.data(), at, size, character);
    if (character >= 0 && u_isUWhiteSpace(character)) {
      in_word = false;
      continue;
    }
    ++visible;
    const int8_t kind = character < 0 ? static_cast<int8_t>(U_UNASSIGNED) : u_charType(character);
    if (character == 0xfffd || kind == U_CONTROL_CHAR || kind == U_PRIVATE_USE_CHAR || kind == U_UNASSIGNED ||
        kind == U_SURROGATE) {
      ++unreadable;
    }
    if (character >= 0 && u_isalpha(character) && !WritesWithoutSpaces(character)) {
      ++letters;
      if (!in_word) ++words;
      in_word = true;
    }
  }
  if (unreadable > 0 && unreadable * 20 >= visible) return "has characters that cannot be read";
  if (letters > 200 && letters > 40 * words) return "has no spaces between its words";
  return "";
}

std::string PageList(const std::vector<int>& pages) {
  std::vector<std::string> runs;
  for (size_t begin = 0; begin < pages.size();) {
    size_t end = begin + 1;
    while (end < pages.size() && pages[end] == pages[end - 1] + 1) ++end;
    runs.push_back(end - begin == 1 ? absl::StrCat(pages[begin]) : absl::StrCat(pages[begin], " to ", pages[end - 1]));
    begin = end;
  }
  const std::string last = runs.back();
  runs.pop_back();
  return absl::StrCat(pages.size() == 1 ? "page " : "pages ", absl::StrJoin(runs, ", "), runs.empty() ? "" : " and ",
                      last);
}

}  // namespace blazon::retrieval
