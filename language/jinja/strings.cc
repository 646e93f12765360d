#include "language/jinja/strings.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "language/jinja/characters.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

bool IsIn(const Text* characters, std::string_view text, size_t begin) {
  size_t end = begin;
  const int32_t character = NextCharacter(text, &end);
  if (characters == nullptr) return IsSpace(character);
  // A character's bytes are found in UTF-8 only where that character stands.
  return characters->bytes().find(text.substr(begin, end - begin)) != std::string::npos;
}

}  // namespace

Text Strip(Execution& run, const Text& text, const Text* characters, bool at_begin, bool at_end) {
  if (!run.MayMakeText(text.size()) || !run.CountSteps(characters == nullptr ? 1 : 1 + characters->size())) return {};
  const std::string_view bytes = text.bytes();
  size_t begin = 0, end = bytes.size();
  while (at_begin && begin < end && IsIn(characters, bytes, begin)) NextCharacter(bytes, &begin);
  while (at_end && end > begin) {
    const size_t previous = PreviousCharacter(bytes, end);
    if (!IsIn(characters, bytes, previous)) break;
    end = previous;
  }
  return text.Part(begin, end);
}

Text Replace(Execution& run, const Text& text, const Text& old, const Text& by, int64_t count) {
  Text result;
  const std::string_view bytes = text.bytes();
  size_t from = 0;
  for (int64_t done = 0; (count < 0 || done < count) && run.CountSteps() && run.TextFits(result.size()); ++done) {
    size_t at = from;
    if (old.empty()) {
      // An empty string is found before each character and at the end.
      if (done > 0 && from >= bytes.size()) break;
      if (done > 0) NextCharacter(bytes, &at);
    } else {
      at = bytes.find(old.bytes(), from);
      if (at == std::string_view::npos) break;
    }
    result.Append(text, from, at);
    result.Append(by);
    from = at + old.size();
  }
  result.Append(text, from, bytes.size());
  return run.MayMakeText(result.size()) ? result : Text();
}

std::vector<Value> Split(Execution& run, const Text& text, const Text* separator, int64_t limit, bool from_right) {
  std::vector<Value> parts;
  const std::string_view bytes = text.bytes();
  if (separator != nullptr && separator->empty()) {
    run.Fail("the separator of split is empty");
    return parts;
  }
  if (!run.MayMakeText(bytes.size())) return parts;
  const auto may_cut = [&] {
    return (limit < 0 || static_cast<int64_t>(parts.size()) < limit) && run.CountSteps() && run.MayMakeItems(1);
  };
  if (!from_right) {
    size_t begin = separator == nullptr ? SkipSpaceForward(bytes, 0) : 0;
    while (may_cut()) {
      size_t end = begin, next = begin;
      if (separator != nullptr) {
        end = bytes.find(separator->bytes(), begin);
        if (end == std::string_view::npos) break;
        next = end + separator->size();
      } else {
        while (end < bytes.size() && !IsIn(nullptr, bytes, end)) NextCharacter(bytes, &end);
        if (end == begin) break;
        next = SkipSpaceForward(bytes, end);
      }
      parts.emplace_back(text.Part(begin, end));
      begin = next;
    }
    if (separator != nullptr || begin < bytes.size()) parts.emplace_back(text.Part(begin, bytes.size()));
    return parts;
  }
  size_t end = separator == nullptr ? SkipSpaceBackward(bytes, 0, bytes.size()) : bytes.size();
  while (may_cut()) {
    size_t begin = end, next = end;
    if (separator != nullptr) {
      const size_t at =
          end < separator->size() ? std::string_view::npos : bytes.rfind(separator->bytes(), end - separator->size());
      if (at == std::string_view::npos) break;
      begin = at + separator->size();
      next = at;
    } else {
      while (begin > 0 && !IsIn(nullptr, bytes, PreviousCharacter(bytes, begin)))
        begin = PreviousCharacter(bytes, begin);
      if (begin == end) break;
      next = SkipSpaceBackward(bytes, 0, begin);
    }
    parts.emplace_back(text.Part(begin, end));
    end = next;
  }
  if (separator != nullptr || end > 0) parts.emplace_back(text.Part(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Text Capitalize(Execution& run, const Text& text) {
  Text result;
  if (text.empty() || !run.MayMakeText(text.size())) return result;
  const size_t rest = AppendTitleCharacter(text, 0, &result);
  // The sigma's place in its word counts the first character, too.
  Text lower;
  AppendLower(text, 0, text.size(), &lower);
  Text first;
  AppendLower(text, 0, rest, &first);
  result.Append(lower, first.size(), lower.size());
  return result;
}

Text TitleMethod(Execution& run, const Text& text) {
  Text result;
  if (!run.MayMakeText(text.size())) return result;
  Text lower;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const int32_t character = NextCharacter(text.bytes(), &at);
    constexpr int32_t kCapitalSigma = 0x3A3;
    if (in_word && character == kCapitalSigma) {
      run.Refuse("title() of a capital sigma inside a word");
      return {};
    }
    if (in_word) {
      AppendLower(text, begin, at, &result);
    } else {
      AppendTitleCharacter(text, begin, &result);
    }
    in_word = IsCased(character);
  }
  return result;
}

Text Upper(Execution& run, const Text& text) {
  Text result;
  if (run.MayMakeText(text.size())) AppendUpper(text, 0, text.size(), &result);
  return result;
}

Text Lower(Execution& run, const Text& text) {
  Text result;
  if (run.MayMakeText(text.size())) AppendLower(text, 0, text.size(), &result);
  return result;
}

std::vector<Text> SplitLines(Execution& run, const Text& text, bool keep_ends) {
  std::vector<Text> lines;
  if (!run.MayMakeText(text.size())) return lines;
  for (size_t begin = 0, at = 0; at < text.size();) {
    const size_t end = at;
    const int32_t c = NextCharacter(text.bytes(), &at);
    const bool breaks = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks && at < text.size()) continue;
    if (c == '\r' && at < text.size() && text.bytes()[at] == '\n') ++at;
    if (!run.MayMakeItems(1)) return lines;
    lines.push_back(text.Part(begin, breaks && !keep_ends ? end : at));
    begin = at;
  }
  return lines;
}

}  // namespace blazon::language::jinja
