#include "retrieval/json_reader.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace blazon::retrieval {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

void AppendUtf8(uint32_t character, std::string& text) {
  if (character >= 0xd800 && character < 0xe000) character = 0xfffd;  // half a pair
  if (character == 0) character = 0xfffd;                             // no NUL in a text
  if (character < 0x80) {
    text += static_cast<char>(character);
  } else if (character < 0x800) {
    text += static_cast<char>(0xc0 | character >> 6);
    text += static_cast<char>(0x80 | (character & 0x3f));
  } else if (character < 0x10000) {
    text += static_cast<char>(0xe0 | character >> 12);
    text += static_cast<char>(0x80 | (character >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (character & 0x3f));
  } else {
    text += static_cast<char>(0xf0 | character >> 18);
    text += static_cast<char>(0x80 | (character >> 12 & 0x3f));
    text += static_cast<char>(0x80 | (character >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (character & 0x3f));
  }
}

class JsonReader {
 public:
  JsonReader(std::string_view source, int max_nesting, size_t first_line,
             const std::function<void(const JsonPath&, const JsonScalar&)>& visit)
      : source_(source), max_nesting_(max_nesting), first_line_(first_line), visit_(visit) {}

  absl::Status Read() {
    SkipSpace();
    // Open objects (true) and arrays; the recursion that JSON's grammar is, on the heap.
    while (true) {
      if (absl::Status status = Value(); !status.ok()) return status;
      if (entered_) continue;
      // After a value: what it stands in ends or goes on.
      while (true) {
        SkipSpace();
        if (open_.empty()) return at_ == source_.size() ? absl::OkStatus() : Wrong("more after its end");
        if (Take(',')) {
          if (open_.back().object) {
            SkipSpace();
            if (absl::Status status = Name(); !status.ok()) return status;
          } else {
            path_.back() = absl::StrCat(++open_.back().index);
          }
          SkipSpace();
          break;
        }
        if (!Take(open_.back().object ? '}' : ']'))
          return Wrong(open_.back().object ? "no ',' or '}' where one must be" : "no ',' or ']' where one must be");
        open_.pop_back();
        path_.pop_back();
      }
    }
  }

 private:
  struct Open {
    bool object;
    size_t index;
  };

  // A scalar, or the start of an object or array that is not empty (entered_).
  absl::Status Value() {
    entered_ = false;
    if (at_ == source_.size()) return Wrong("a value is missing");
    const char c = source_[at_];
    if (c == '{' || c == '[') {
      if (open_.size() >= static_cast<size_t>(max_nesting_))
        return absl::InvalidArgumentError(absl::StrCat("its values are nested deeper than ", max_nesting_));
      ++at_;
      SkipSpace();
      if (Take(c == '{' ? '}' : ']')) return absl::OkStatus();
      open_.push_back({c == '{', 0});
      path_.emplace_back("0");
      entered_ = true;
      if (c == '{') {
        if (absl::Status status = Name(); !status.ok()) return status;
        SkipSpace();
      }
      return absl::OkStatus();
    }
    JsonScalar scalar;
    scalar.begin = at_;
    absl::Status status;
    if (c == '"') {
      scalar.kind = JsonScalar::Kind::kString;
      scalar.begin = at_ + 1;
      status = String(scalar.text, scalar.plain);
    } else if (c == '-' || IsDigit(c)) {
      scalar.kind = JsonScalar::Kind::kNumber;
      status = Number(scalar.text);
    } else {
      status = Word(scalar.text);
    }
    if (!status.ok()) return status;
    visit_(path_, scalar);
    return absl::OkStatus();
  }

  // The name of a member and the colon.
  absl::Status Name() {
    if (at_ == source_.size() || source_[at_] != '"') return Wrong("no name where one must be");
    bool plain = true;
    path_.back().clear();
    if (absl::Status status = String(path_.back(), plain); !status.ok()) return status;
    SkipSpace();
    return Take(':') ? absl::OkStatus() : Wrong("no ':' after a name");
  }

  absl::Status String(std::string& text, bool& plain) {
    ++at_;
    while (true) {
      const size_t begin = at_;
      while (at_ < source_.size() && source_[at_] != '"' && source_[at_] != '\\' &&
             static_cast<unsigned char>(source_[at_]) >= 0x20)
        ++at_;
      text += source_.substr(begin, at_ - begin);
      if (at_ == source_.size()) return Wrong("a string does not end");
      if (source_[at_] == '"') {
        ++at_;
        return absl::OkStatus();
      }
      if (source_[at_] != '\\') return Wrong("a control character in a string");
      plain = false;
      ++at_;
      if (at_ == source_.size()) return Wrong("a string does not end");
      const char escape = source_[at_++];
      static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
      if (const size_t letter = kLetters.find(escape); letter != std::string_view::npos) {
        text += kMeanings[letter];
        continue;
      }
      uint32_t character = 0;
      if (escape != 'u' || !Hex(character)) return Wrong("an escape that JSON does not have");
      if (character >= 0xd800 && character < 0xdc00 && source_.substr(at_, 2) == "\\u") {
        const size_t before = at_;
        uint32_t second = 0;
        at_ += 2;
        if (!Hex(second)) return Wrong("an escape that JSON does not have");
        if (second >= 0xdc00 && second < 0xe000) {
          character = 0x10000 + ((character - 0xd800) << 10) + (second - 0xdc00);
        } else {
          at_ = before;
        }
      }
      AppendUtf8(character, text);
    }
  }

  bool Hex(uint32_t& value) {
    if (source_.size() - at_ < 4) return false;
    for (int i = 0; i < 4; ++i) {
      const char c = source_[at_++];
      const int digit = IsDigit(c)             ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      value = value << 4 | static_cast<uint32_t>(digit);
    }
    return true;
  }

  absl::Status Number(std::string& text) {
    const size_t begin = at_;
    Take('-');
    if (!Take('0') && !Digits()) return Wrong("a number without digits");
    if (Take('.') && !Digits()) return Wrong("a number without digits after the point");
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      ++at_;
      if (!Take('+')) Take('-');
      if (!Digits()) return Wrong("a number without digits in the exponent");
    }
    text = std::string(source_.substr(begin, at_ - begin));
    return absl::OkStatus();
  }

  bool Digits() {
    const size_t begin = at_;
    while (at_ < source_.size() && IsDigit(source_[at_])) ++at_;
    return at_ > begin;
  }

  absl::Status Word(std::string& text) {
    for (const std::string_view word : {"true", "false", "null"}) {
      if (!source_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      text = std::string(word);
      return absl::OkStatus();
    }
    return Wrong("something that is no value");
  }

  bool Take(char c) {
    if (at_ == source_.size() || source_[at_] != c) return false;
    ++at_;
    return true;
  }

  void SkipSpace() {
    while (at_ < source_.size() &&
           (source_[at_] == ' ' || source_[at_] == '\t' || source_[at_] == '\n' || source_[at_] == '\r'))
      ++at_;
  }

  absl::Status Wrong(absl::string_view what) const {
    const auto line =
        static_cast<size_t>(std::count(source_.begin(), source_.begin() + static_cast<std::ptrdiff_t>(at_), '\n'));
    return absl::InvalidArgumentError(absl::StrCat("it is not JSON: ", what, " on line ", first_line_ + line));
  }

  const std::string_view source_;
  const int max_nesting_;
  const size_t first_line_;
  const std::function<void(const JsonPath&, const JsonScalar&)>& visit_;
  size_t at_ = 0;
  std::vector<Open> open_;
  JsonPath path_;
  bool entered_ = false;
};

}  // namespace

absl::Status ReadJson(std::string_view source, int max_nesting, size_t first_line,
                      const std::function<void(const JsonPath&, const JsonScalar&)>& visit) {
  return JsonReader(source, max_nesting, first_line, visit).Read();
}

}  // namespace blazon::retrieval
