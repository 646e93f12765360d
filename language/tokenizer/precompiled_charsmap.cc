#include "language/tokenizer/precompiled_charsmap.h"

#include <unicode/uchar.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/unicode.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

uint32_t LittleEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Units of the double array: a label, whether the string may end here, where the children are.
bool HasResult(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Result(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t Offset(uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); }

// The end of the extended grapheme cluster (UAX 29) that begins at `begin`.
size_t GraphemeEnd(std::string_view text, size_t begin) {
  size_t position = begin;
  const auto break_class = [](int32_t c) {
    return static_cast<UGraphemeClusterBreak>(u_getIntPropertyValue(c, UCHAR_GRAPHEME_CLUSTER_BREAK));
  };
  int32_t character = NextCharacter(text, &position);
  UGraphemeClusterBreak previous = break_class(character);
  bool pictograph = u_hasBinaryProperty(character, UCHAR_EXTENDED_PICTOGRAPHIC);  // before the extenders that end here
  bool joined = false;                                                            // pictograph, extenders, joiner
  int flags = previous == U_GCB_REGIONAL_INDICATOR;
  while (position < text.size()) {
    size_t next_position = position;
    character = NextCharacter(text, &next_position);
    const UGraphemeClusterBreak next = break_class(character);
    const auto is_control = [](UGraphemeClusterBreak c) {
      return c == U_GCB_CONTROL || c == U_GCB_CR || c == U_GCB_LF;
    };
    bool together = false;
    if (previous == U_GCB_CR && next == U_GCB_LF) {
      together = true;
    } else if (is_control(previous) || is_control(next)) {
      together = false;
    } else if (previous == U_GCB_L && (next == U_GCB_L || next == U_GCB_V || next == U_GCB_LV || next == U_GCB_LVT)) {
      together = true;
    } else if ((previous == U_GCB_LV || previous == U_GCB_V) && (next == U_GCB_V || next == U_GCB_T)) {
      together = true;
    } else if ((previous == U_GCB_LVT || previous == U_GCB_T) && next == U_GCB_T) {
      together = true;
    } else if (next == U_GCB_EXTEND || next == U_GCB_ZWJ || next == U_GCB_SPACING_MARK || previous == U_GCB_PREPEND) {
      together = true;
    } else if (joined && u_hasBinaryProperty(character, UCHAR_EXTENDED_PICTOGRAPHIC)) {
      together = true;
    } else if (flags == 1 && next == U_GCB_REGIONAL_INDICATOR) {
      together = true;
    }
    if (!together) break;
    flags = next == U_GCB_REGIONAL_INDICATOR ? flags + 1 : 0;
    joined = pictograph && next == U_GCB_ZWJ;
    if (u_hasBinaryProperty(character, UCHAR_EXTENDED_PICTOGRAPHIC)) {
      pictograph = true;
    } else if (next != U_GCB_EXTEND) {
      pictograph = false;
    }
    previous = next;
    position = next_position;
  }
  return position;
}

}  // namespace

absl::StatusOr<PrecompiledCharsmap> PrecompiledCharsmap::Create(std::string_view table) {
  const uint32_t trie_bytes = table.size() < 4 ? 0 : LittleEndian(table);
  if (table.size() < 4 || trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > table.size() - 4) {
    return absl::InvalidArgumentError(absl::StrCat("the character table of ", table.size(),
                                                   " bytes announces a trie of ", trie_bytes,
                                                   "; it must be a multiple of 4 within the table"));
  }
  PrecompiledCharsmap charsmap;
  charsmap.units_.reserve(trie_bytes / 4);
  for (size_t at = 4; at < 4 + size_t{trie_bytes}; at += 4)
    charsmap.units_.push_back(LittleEndian(table.substr(at, 4)));
  charsmap.results_ = table.substr(4 + size_t{trie_bytes});
  if (!IsValidUtf8(charsmap.results_)) {
    return absl::InvalidArgumentError("the results of the character table are not UTF-8");
  }
  return charsmap;
}

std::optional<std::string_view> PrecompiledCharsmap::Find(std::string_view part) const {
  size_t at = Offset(units_[0]);
  for (const char c : part) {
    if (c == '\0') return std::nullopt;
    at ^= static_cast<unsigned char>(c);
    if (at >= units_.size() || Label(units_[at]) != static_cast<unsigned char>(c)) return std::nullopt;
    const uint32_t unit = units_[at];
    at ^= Offset(unit);
    if (!HasResult(unit)) continue;
    if (at >= units_.size()) return std::nullopt;
    const size_t begin = Result(units_[at]);
    if (begin >= results_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(results_).substr(begin);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string PrecompiledCharsmap::Apply(std::string_view text, bool* lost_first) const {
  std::string out;
  out.reserve(text.size());
  const auto lose = [&](size_t position, std::string_view with) {
    if (position == 0 && with.empty()) *lost_first = true;
  };
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = GraphemeEnd(text, begin);
    const std::string_view grapheme = text.substr(begin, end - begin);
    std::optional<std::string_view> found;
    if (grapheme.size() < 6) found = Find(grapheme);
    if (found) {
      out.append(*found);
      lose(begin, *found);
    } else {
      for (size_t at = 0; at < grapheme.size();) {
        const std::string_view character = grapheme.substr(at, CharacterLength(grapheme[at]));
        const std::optional<std::string_view> entry = Find(character);
        out.append(entry.value_or(character));
        if (entry) lose(begin + at, *entry);
        at += character.size();
      }
    }
    begin = end;
  }
  return out;
}

}  // namespace blazon::language
