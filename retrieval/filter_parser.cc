// The text of a filter's condition, by recursive descent.
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "retrieval/filter.h"

namespace blazon::retrieval {
namespace {

using Kind = Condition::Kind;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<Condition> Parse() {
    absl::StatusOr<Condition> condition = Any(1);
    if (!condition.ok()) return condition;
    SkipSpaces();
    if (place_ < text_.size()) return Expected("'and', 'or' or the end");
    return condition;
  }

 private:
  absl::Status Expected(const std::string& what) const {
    const std::string rest(text_.substr(place_, 20));
    return absl::InvalidArgumentError(absl::StrCat("the filter has ",
                                                   rest.empty() ? "its end" : absl::StrCat("'", rest, "'"), " at byte ",
                                                   place_, ", where ", what, " is expected"));
  }
  void SkipSpaces() {
    while (place_ < text_.size() && absl::ascii_isspace(static_cast<unsigned char>(text_[place_]))) ++place_;
  }
  bool Take(std::string_view sign) {
    SkipSpaces();
    if (!text_.substr(place_).starts_with(sign)) return false;
    place_ += sign.size();
    return true;
  }
  static bool InWord(char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  }
  std::string_view PeekWord() {
    SkipSpaces();
    size_t end = place_;
    while (end < text_.size() && InWord(text_[end])) ++end;
    return text_.substr(place_, end - place_);
  }
  bool NextIs(const std::string& word) { return absl::EqualsIgnoreCase(std::string(PeekWord()), word); }
  bool TakeWord(const std::string& word) {
    if (!NextIs(word)) return false;
    place_ += word.size();
    return true;
  }

  absl::StatusOr<Condition> Joined(int depth, Kind kind, const std::string& word,
                                   absl::StatusOr<Condition> (Parser::*part)(int)) {
    absl::StatusOr<Condition> first = (this->*part)(depth);
    if (!first.ok()) return first;
    if (!NextIs(word)) return first;
    Condition joined{kind, {*std::move(first)}, "", {}};
    while (TakeWord(word)) {
      absl::StatusOr<Condition> next = (this->*part)(depth);
      if (!next.ok()) return next;
      joined.parts.push_back(*std::move(next));
    }
    return joined;
  }
  absl::StatusOr<Condition> Any(int depth) { return Joined(depth, Kind::kOr, "or", &Parser::All); }
  absl::StatusOr<Condition> All(int depth) { return Joined(depth, Kind::kAnd, "and", &Parser::One); }

  absl::StatusOr<Condition> One(int depth) {
    if (depth >= kMaxConditionDepth)
      return absl::InvalidArgumentError(absl::StrCat("the filter is nested deeper than ", kMaxConditionDepth));
    if (TakeWord("not")) return Not(One(depth + 1));
    if (Take("(")) {
      absl::StatusOr<Condition> inside = Any(depth + 1);
      if (!inside.ok()) return inside;
      if (!Take(")")) return Expected("')'");
      return inside;
    }
    return Comparison();
  }

  static absl::StatusOr<Condition> Not(absl::StatusOr<Condition> condition) {
    if (!condition.ok()) return condition;
    return Condition{Kind::kNot, {*std::move(condition)}, "", {}};
  }

  absl::StatusOr<Condition> Comparison() {
    absl::StatusOr<std::string> name = Name();
    if (!name.ok()) return name.status();
    Condition condition{Kind::kExists, {}, *std::move(name), {}};
    if (TakeWord("exists")) return condition;
    bool negative = TakeWord("not");
    if (TakeWord("in")) {
      condition.kind = Kind::kIn;
      if (!Take("(")) return Expected("'('");
      while (!Take(")")) {
        if (!condition.values.empty() && !Take(",")) return Expected("',' or ')'");
        absl::StatusOr<FilterValue> value = Value();
        if (!value.ok()) return value.status();
        condition.values.push_back(*std::move(value));
      }
      return negative ? Not(std::move(condition)) : std::move(condition);
    }
    if (negative) return Expected("'in'");
    if (TakeWord("prefix")) {
      condition.kind = Kind::kPrefix;
    } else if (Take("==")) {
      condition.kind = Kind::kEqual;
    } else if (Take("!=")) {
      condition.kind = Kind::kEqual;
      negative = true;
    } else if (Take("<=")) {
      condition.kind = Kind::kLessOrEqual;
    } else if (Take(">=")) {
      condition.kind = Kind::kGreaterOrEqual;
    } else if (Take("<")) {
      condition.kind = Kind::kLess;
    } else if (Take(">")) {
      condition.kind = Kind::kGreater;
    } else if (Take("=")) {
      condition.kind = Kind::kEqual;
    } else {
      return Expected("one of == != < <= > >= in prefix exists");
    }
    absl::StatusOr<FilterValue> value = Value();
    if (!value.ok()) return value.status();
    condition.values.push_back(*std::move(value));
    return negative ? Not(std::move(condition)) : std::move(condition);
  }

  absl::StatusOr<std::string> Name() {
    SkipSpaces();
    if (place_ < text_.size() && text_[place_] == '`') return QuotedText();
    const size_t begin = place_;
    if (Take("@")) {
    }
    const std::string_view word = PeekWord();
    if (word.empty() || !(absl::ascii_isalpha(static_cast<unsigned char>(word[0])) || word[0] == '_')) {
      place_ = begin;
      return Expected("a name, 'not' or '('");
    }
    for (const char* reserved : {"and", "or", "in", "prefix", "exists", "true", "false"}) {
      if (NextIs(reserved)) return Expected("a name (in backquotes, if it is this word)");
    }
    place_ += word.size();
    return std::string(text_.substr(begin, place_ - begin));
  }

  absl::StatusOr<std::string> QuotedText() {
    const size_t begin = place_;
    const char quote = text_[place_++];
    std::string text;
    while (place_ < text_.size() && text_[place_] != quote) {
      if (text_[place_] == '\\') {
        ++place_;
        if (place_ == text_.size() || (text_[place_] != '\\' && text_[place_] != quote))
          return Expected("a quote or a backslash after the backslash");
      }
      text += text_[place_++];
    }
    if (place_ == text_.size()) {
      place_ = begin;
      return Expected("a closed quotation");
    }
    ++place_;
    return text;
  }

  absl::StatusOr<FilterValue> Value() {
    SkipSpaces();
    if (place_ < text_.size() && (text_[place_] == '"' || text_[place_] == '\'')) {
      absl::StatusOr<std::string> text = QuotedText();
      if (!text.ok()) return text.status();
      return FilterValue(*std::move(text));
    }
    if (TakeWord("true")) return FilterValue(true);
    if (TakeWord("false")) return FilterValue(false);
    size_t end = place_;
    while (end < text_.size() && (InWord(text_[end]) || text_[end] == ':' || text_[end] == '+')) ++end;
    const std::string_view word = text_.substr(place_, end - place_);
    if (const std::optional<Date> date = ReadDate(word)) {
      place_ = end;
      return FilterValue(*date);
    }
    if (const std::optional<double> number = ReadNumber(word)) {
      if (std::abs(*number) >= 9007199254740992.0 && word.find_first_of(".eE") == std::string_view::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat("the filter has the number ", std::string(word),
                         "; whole numbers are exact below 2^53: compare it as text, in quotes"));
      }
      place_ = end;
      return FilterValue(*number);
    }
    return Expected("text in quotes, a number, true, false or a date such as 2024-05-31");
  }

  std::string_view text_;
  size_t place_ = 0;
};

}  // namespace

absl::StatusOr<Condition> ParseCondition(std::string_view text) {
  if (text.size() > kMaxConditionBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the filter has ", text.size(), " bytes; at most ", kMaxConditionBytes, " are allowed"));
  }
  absl::StatusOr<Condition> condition = Parser(text).Parse();
  if (!condition.ok()) return condition;
  if (absl::Status status = CheckCondition(*condition); !status.ok()) return status;
  return condition;
}

}  // namespace blazon::retrieval
