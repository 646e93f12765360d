#include "language/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/jinja/characters.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                           "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool IsNameCharacter(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Line breaks become "\n"; one at the end of the template is dropped.
std::string Normalized(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(Normalized(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size() && status_.ok()) LexText();
    if (!status_.ok()) return status_;
    Add(TokenKind::kEnd, "", at_);
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return std::string_view(source_).substr(at_); }
  bool Accept(std::string_view spelling) {
    if (!Rest().starts_with(spelling)) return false;
    at_ += spelling.size();
    return true;
  }

  Position PositionOf(size_t byte) {
    for (; counted_ < byte; ++counted_) {
      if (source_[counted_] != '\n') continue;
      ++line_;
      line_begin_ = counted_ + 1;
    }
    return {line_, static_cast<uint32_t>(byte - line_begin_ + 1)};
  }
  void Add(TokenKind kind, std::string text, size_t begin) {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.position = PositionOf(begin);
    tokens_.push_back(std::move(token));
  }
  void Fail(size_t at, std::string_view message, absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    if (status_.ok()) status_ = ErrorAt(code, PositionOf(at), message);
  }

  // Text up to the next tag, and the tag. The white space before it goes with `-`, and when the tag is no output and
  // stands alone at the begin of its line.
  void LexText() {
    const size_t begin = at_;
    size_t tag = begin;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        AddText(begin, source_.size());
        at_ = source_.size();
        return;
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    const char kind = source_[tag + 1];
    at_ = tag + 2;
    const char sign = at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+') ? source_[at_] : ' ';
    if (sign != ' ') ++at_;
    AddText(begin, TextEnd(begin, tag, sign, kind == '{'));
    starts_line_ = false;
    if (kind == '#') return LexComment(tag);
    if (kind == '%' && AcceptRaw()) return LexRaw(tag);
    Add(kind == '{' ? TokenKind::kOutputBegin : TokenKind::kBlockBegin, "", tag);
    LexCode(kind == '{');
  }

  size_t TextEnd(size_t begin, size_t tag, char sign, bool is_output) const {
    if (sign == '-') return SkipSpaceBackward(source_, begin, tag);
    if (sign == '+' || is_output) return tag;
    const size_t blank = SkipSpaceBackward(source_, begin, tag);
    // Only what stands behind the last line break goes.
    const size_t newline = std::string_view(source_).substr(begin, tag - begin).rfind('\n');
    const size_t line = newline == std::string_view::npos ? begin : begin + newline + 1;
    if (newline == std::string_view::npos && !starts_line_) return tag;
    return blank <= line ? line : tag;
  }

  void AddText(size_t begin, size_t end) {
    if (end > begin) Add(TokenKind::kText, source_.substr(begin, end - begin), begin);
  }

  // Behind a tag: `-` takes the white space that follows, a tag that is no output takes one line break.
  void AfterTag(char sign, bool is_output) {
    if (sign == '-') {
      at_ = SkipSpaceForward(source_, at_);
    } else if (sign != '+' && !is_output) {
      Accept("\n");
    }
    starts_line_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  void LexComment(size_t begin) {
    size_t end = source_.find("#}", at_);
    if (end == std::string::npos) return Fail(begin, "the comment is not closed");
    const char sign = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? source_[end - 1] : ' ';
    at_ = end + 2;
    AfterTag(sign, false);
  }

  bool AcceptRaw() {
    const size_t begin = at_;
    at_ = SkipSpaceForward(source_, at_);
    if (Accept("raw")) {
      at_ = SkipSpaceForward(source_, at_);
      if (Accept("-%}")) {
        at_ = SkipSpaceForward(source_, at_);
        starts_line_ = source_[at_ - 1] == '\n';
        return true;
      }
      if (Accept("%}")) return true;
    }
    at_ = begin;
    return false;
  }

  void LexRaw(size_t tag) {
    const size_t begin = at_;
    for (size_t end = source_.find("{%", begin); end != std::string::npos; end = source_.find("{%", end + 1)) {
      at_ = end + 2;
      const char sign = at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+') ? source_[at_] : ' ';
      if (sign != ' ') ++at_;
      at_ = SkipSpaceForward(source_, at_);
      if (!Accept("endraw")) continue;
      at_ = SkipSpaceForward(source_, at_);
      const char closing = Rest().starts_with("-%}") ? '-' : Rest().starts_with("+%}") ? '+' : ' ';
      if (closing != ' ') ++at_;
      if (!Accept("%}")) continue;
      AddText(begin, TextEnd(begin, end, sign, false));
      return AfterTag(closing, false);
    }
    Fail(tag, "the raw block is not closed");
  }

  // The inside of {{ }} or {% %}.
  void LexCode(bool is_output) {
    const std::string_view closing = is_output ? "}}" : "%}";
    std::string brackets;  // the closing ones that are awaited
    while (status_.ok()) {
      if (at_ >= source_.size()) return Fail(source_.size(), "the template ends inside a tag");
      if (brackets.empty()) {
        const size_t begin = at_;
        const char sign = source_[at_] == '-' || (source_[at_] == '+' && !is_output) ? source_[at_] : ' ';
        if (sign != ' ') ++at_;
        if (Accept(closing)) {
          Add(is_output ? TokenKind::kOutputEnd : TokenKind::kBlockEnd, "", begin);
          return AfterTag(sign, is_output);
        }
        at_ = begin;
      }
      const size_t blank = SkipSpaceForward(source_, at_);
      if (blank != at_) {
        at_ = blank;
        continue;
      }
      const char c = source_[at_];
      if (IsDigit(c)) {
        LexNumber();
      } else if (IsNameCharacter(c)) {
        const size_t begin = at_;
        while (at_ < source_.size() && IsNameCharacter(source_[at_])) ++at_;
        Add(TokenKind::kName, source_.substr(begin, at_ - begin), begin);
      } else if (c == '\'' || c == '"') {
        LexString(c);
      } else {
        LexOperator(&brackets);
      }
    }
  }

  void LexOperator(std::string* brackets) {
    const auto spelling = std::find_if(std::begin(kOperators), std::end(kOperators),
                                       [&](std::string_view op) { return Rest().starts_with(op); });
    if (spelling == std::end(kOperators)) {
      if (static_cast<uint8_t>(source_[at_]) >= 0x80) {
        return Fail(at_, "a character outside ASCII in an expression is not supported",
                    absl::StatusCode::kUnimplemented);
      }
      return Fail(at_, absl::StrCat("unexpected character '", absl::CHexEscape(source_.substr(at_, 1)), "'"));
    }
    const char c = (*spelling)[0];
    if (c == '(' || c == '[' || c == '{') brackets->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets->empty() || brackets->back() != c)
        return Fail(at_, absl::StrCat("unexpected '", source_.substr(at_, 1), "'"));
      brackets->pop_back();
    }
    Add(TokenKind::kOperator, std::string(*spelling), at_);
    at_ += spelling->size();
  }

  // Digits with single underscores between them, from `position`; where they end.
  size_t DigitsEnd(size_t position) const {
    while (position < source_.size() &&
           (IsDigit(source_[position]) || (source_[position] == '_' && position + 1 < source_.size() &&
                                           IsDigit(source_[position + 1]) && IsDigit(source_[position - 1])))) {
      ++position;
    }
    return position;
  }

  void LexNumber() {
    const size_t begin = at_;
    const bool behind_dot = begin > 0 && source_[begin - 1] == '.';
    if (source_[begin] == '0' && begin + 1 < source_.size() && absl::ascii_isalpha(source_[begin + 1]) &&
        source_[begin + 1] != 'e' && source_[begin + 1] != 'E') {
      return Fail(begin, "integers in another base than ten are not supported", absl::StatusCode::kUnimplemented);
    }
    size_t end = DigitsEnd(begin);
    bool is_float = false;
    if (!behind_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
        end = DigitsEnd(end + 1);
        is_float = true;
      }
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        size_t exponent = end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
        if (exponent < source_.size() && IsDigit(source_[exponent])) {
          end = DigitsEnd(exponent);
          is_float = true;
        }
      }
    }
    std::string digits = source_.substr(begin, end - begin);
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    if (!is_float && digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos) {
      return Fail(begin, "an integer may not begin with 0");
    }
    at_ = end;
    Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, digits, begin);
    const char* const last = digits.data() + digits.size();
    if (is_float) {
      const auto result = std::from_chars(digits.data(), last, tokens_.back().number);
      if (result.ec != std::errc()) Fail(begin, "the number is out of range", absl::StatusCode::kUnimplemented);
    } else if (std::from_chars(digits.data(), last, tokens_.back().integer).ec != std::errc()) {
      Fail(begin, "integers of more than 64 bits are not supported", absl::StatusCode::kUnimplemented);
    }
  }

  void LexString(char quote) {
    const size_t begin = at_++;
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote && status_.ok()) {
      if (source_[at_] == '\\') {
        LexEscape(&text);
      } else {
        text += source_[at_++];
      }
    }
    if (at_ >= source_.size()) return Fail(begin, "the string is not closed");
    ++at_;
    Add(TokenKind::kString, std::move(text), begin);
  }

  // Python's escapes; a backslash before any other character stays.
  void LexEscape(std::string* text) {
    const size_t begin = at_++;
    if (at_ >= source_.size()) return;
    const char c = source_[at_++];
    constexpr std::string_view kNames = "\n\\'\"abfnrtv";
    constexpr std::string_view kMeanings[] = {"", "\\", "'", "\"", "\a", "\b", "\f", "\n", "\r", "\t", "\v"};
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      text->append(kMeanings[known]);
    } else if (c >= '0' && c <= '7') {
      int32_t character = c - '0';
      for (int i = 0; i < 2 && at_ < source_.size() && source_[at_] >= '0' && source_[at_] <= '7'; ++i) {
        character = character * 8 + (source_[at_++] - '0');
      }
      AppendUtf8(character, text);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      uint32_t character = 0;
      const std::string_view hex = Rest().substr(0, digits);
      const auto result = std::from_chars(hex.data(), hex.data() + hex.size(), character, 16);
      if (hex.size() != digits || result.ec != std::errc() || result.ptr != hex.data() + digits) {
        return Fail(begin, "a hexadecimal escape is cut short");
      }
      if (character > 0x10FFFF) return Fail(begin, "an escape names no Unicode character");
      if (character >= 0xD800 && character < 0xE000) {
        return Fail(begin, "an escape of a surrogate is not supported", absl::StatusCode::kUnimplemented);
      }
      at_ += digits;
      AppendUtf8(static_cast<int32_t>(character), text);
    } else if (c == 'N') {
      Fail(begin, "the escape \\N{...} is not supported", absl::StatusCode::kUnimplemented);
    } else if (static_cast<uint8_t>(c) >= 0x80) {
      Fail(begin, "a backslash before a character outside ASCII is not supported", absl::StatusCode::kUnimplemented);
    } else {
      *text += '\\';
      *text += c;
    }
  }

  const std::string source_;
  size_t at_ = 0;
  bool starts_line_ = true;  // whether the text that comes begins a line
  size_t counted_ = 0, line_begin_ = 0;
  uint32_t line_ = 1;
  std::vector<Token> tokens_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

absl::Status ErrorAt(absl::StatusCode code, Position position, std::string_view message) {
  return absl::Status(code, absl::StrCat("chat template, line ", position.line, ", column ", position.column, ": ",
                                         std::string(message)));
}

}  // namespace blazon::language::jinja
