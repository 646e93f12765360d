#include "language/jinja/filters.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/jinja/characters.h"
#include "language/jinja/formatting.h"
#include "language/jinja/operators.h"
#include "language/jinja/strings.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

constexpr std::string_view kFilters[] = {"default", "d",     "trim",       "length",  "count",  "upper",
                                         "lower",   "title", "capitalize", "replace", "string", "safe",
                                         "indent",  "int",   "float",      "round",   "abs",    "tojson"};

// The `title` filter: words begin behind white space, '-', '(', '{', '[' and '<'.
Text TitleFilter(Execution& run, const Text& text) {
  Text result;
  if (!run.MayMakeText(text.size())) return result;
  const auto delimits = [](int32_t c) {
    return IsSpace(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos);
  };
  for (size_t at = 0; at < text.size();) {
    size_t next = at;
    const bool delimiter = delimits(NextCharacter(text.bytes(), &next));
    size_t end = next;
    while (end < text.size()) {
      size_t behind = end;
      if (delimits(NextCharacter(text.bytes(), &behind)) != delimiter) break;
      end = behind;
    }
    AppendUpper(text, at, next, &result);
    AppendLower(text, next, end, &result);
    at = end;
  }
  return result;
}

// Python's int(text) and float(text); nullopt where it raises a ValueError.
std::optional<Value> ParseNumber(Execution& run, const std::string& text, bool as_float) {
  for (size_t at = 0; at < text.size();) {
    const int32_t character = NextCharacter(text, &at);
    if (character >= 0x80 && u_isdigit(character)) {
      return run.Refuse("a number in other than ASCII digits");
    }
  }
  std::string_view digits = text;
  digits = digits.substr(0, SkipSpaceBackward(digits, 0, digits.size()));
  digits = digits.substr(SkipSpaceForward(digits, 0));
  std::string plain;
  for (size_t i = 0; i < digits.size(); ++i) {
    const auto is_digit = [&](size_t at) { return at < digits.size() && digits[at] >= '0' && digits[at] <= '9'; };
    if (digits[i] == '_' && i > 0 && is_digit(i - 1) && is_digit(i + 1)) continue;
    plain += digits[i];
  }
  const bool negative = plain.starts_with('-');
  if (negative || plain.starts_with('+')) plain.erase(0, 1);
  if (plain.empty() || plain[0] == '-' || plain[0] == '+') return std::nullopt;
  const char *const begin = plain.data(), *const end = begin + plain.size();
  if (!as_float) {
    if (plain.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
    int64_t value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc()) return run.Refuse("an integer of more than 64 bits");
    return Value(negative ? -value : value);
  }
  double value = 0;
  // from_chars also reads "nan(...)", which Python does not.
  if (plain.find('(') != std::string::npos) return std::nullopt;
  const auto result = std::from_chars(begin, end, value);
  if (result.ptr != end || result.ec == std::errc::invalid_argument) return std::nullopt;
  if (result.ec != std::errc()) return run.Refuse("a number out of the range of floats");
  return Value(negative ? -value : value);
}

Value IntFilter(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "int", {"default", "base"});
  if (run.failed()) return Value();
  if (IntegerOr(run, given[1], 10) != 10) return run.Refuse("the filter 'int' with another base than 10");
  const Value otherwise = given[0].value_or(Value(int64_t{0}));
  if (input.IsUndefined()) return run.Fail(input.As<Undefined>().what);
  if (input.IsInteger()) return input.Integer();
  Value number = input;
  if (const Text* text = input.AsText()) {
    std::optional<Value> parsed = ParseNumber(run, text->bytes(), false);
    if (run.failed() || parsed) return parsed.value_or(Value());
    parsed = ParseNumber(run, text->bytes(), true);
    if (run.failed()) return Value();
    if (!parsed || std::isinf(parsed->As<double>())) return otherwise;
    number = *parsed;
  }
  if (!number.Is<double>() || std::isnan(number.As<double>())) return otherwise;
  if (std::isinf(number.As<double>())) return run.Fail("infinity is no integer");
  if (std::abs(number.As<double>()) >= 9.2e18) return run.Refuse("an integer of more than 64 bits");
  return static_cast<int64_t>(number.As<double>());
}

Value FloatFilter(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "float", {"default"});
  if (run.failed()) return Value();
  if (input.IsUndefined()) return run.Fail(input.As<Undefined>().what);
  if (input.IsNumber()) return input.Number();
  std::optional<Value> parsed;
  if (const Text* text = input.AsText()) parsed = ParseNumber(run, text->bytes(), true);
  return parsed ? *parsed : given[0].value_or(Value(0.0));
}

Value RoundFilter(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "round", {"precision", "method"});
  if (run.failed()) return Value();
  const int64_t precision = IntegerOr(run, given[0], 0);
  const Text* method = TextOrNull(run, given[1]);
  const std::string name = method ? method->bytes() : "common";
  if (input.IsUndefined()) return run.Fail(input.As<Undefined>().what);
  if (!input.IsNumber()) return run.Fail("round needs a number");
  if (name != "common" && name != "ceil" && name != "floor")
    return run.Fail("the method of round is common, ceil or floor");
  if (precision < 0 || precision > 15) return run.Refuse("round to other than 0 to 15 digits");
  if (name == "common" && input.IsInteger()) return input.Integer();
  const double number = input.Number();
  if (!std::isfinite(number)) return name == "common" ? Value(number) : run.Fail("this number cannot be rounded");
  if (name == "common") {
    // printf rounds the exact value, half to even, as Python does.
    char buffer[400];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision), number);
    return std::strtod(buffer, nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  return (name == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale;
}

Value IndentFilter(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "indent", {"width", "first", "blank"});
  if (run.failed()) return Value();
  if (input.IsUndefined()) return run.Fail(input.As<Undefined>().what);
  if (input.AsText() == nullptr) return run.Fail("indent needs a string");
  Text indent;
  if (given[0] && given[0]->AsText() != nullptr) {
    indent = *given[0]->AsText();
  } else {
    const int64_t width = std::max<int64_t>(0, IntegerOr(run, given[0], 4));
    if (run.failed() || !run.MayMakeText(static_cast<size_t>(width))) return Value();
    indent.Append(std::string(static_cast<size_t>(width), ' '), false);
  }
  const bool first = TruthOr(given[1], false), blank = TruthOr(given[2], false);
  Text text = *input.AsText(), result;
  text.Append("\n", false);
  const std::vector<Text> lines = SplitLines(run, text, false);
  for (size_t i = 0; i < lines.size() && run.TextFits(result.size()); ++i) {
    if (i > 0) result.Append("\n", false);
    if (i == 0 ? first : blank || !lines[i].empty()) result.Append(indent);
    result.Append(lines[i]);
  }
  return run.MayMakeText(result.size()) ? Value(std::move(result)) : Value();
}

Value ToJson(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  if (run.failed()) return Value();
  JsonOptions options;
  options.ensure_ascii = TruthOr(given[0], false);
  options.sort_keys = TruthOr(given[3], false);
  if (given[1] && given[1]->AsText() != nullptr) {
    options.indent = *given[1]->AsText();
  } else if (given[1] && !given[1]->Is<None>()) {
    const int64_t width = std::clamp<int64_t>(IntegerOr(run, given[1], 0), 0, 1'000'000);
    options.indent = Text(std::string(static_cast<size_t>(width), ' '), false);
  }
  if (given[2] && !given[2]->Is<None>()) {
    const std::vector<Value> separators = Iterate(run, *given[2]);
    if (run.failed() || separators.size() != 2 || separators[0].AsText() == nullptr ||
        separators[1].AsText() == nullptr) {
      return run.Fail("the separators of tojson are two strings");
    }
    options.item_separator = *separators[0].AsText();
    options.key_separator = *separators[1].AsText();
  }
  Text result;
  if (!run.failed()) AppendJson(run, input, options, &result);
  return result;
}

Value Length(Execution& run, const Value& input) {
  if (input.IsUndefined()) return int64_t{0};
  if (const Text* text = input.AsText()) {
    return run.CountSteps(1 + text->size() / 64) ? Value(static_cast<int64_t>(CharacterCount(text->bytes()))) : Value();
  }
  if (const Sequence* sequence = input.AsSequence()) return static_cast<int64_t>(sequence->items.size());
  if (const Dict* dict = input.AsDict()) return static_cast<int64_t>(dict->items.size());
  if (input.Is<Loop*>()) return run.Refuse("the length of loop");
  return run.Fail(absl::StrCat("a value of type ", std::string(input.TypeName()), " has no length"));
}

}  // namespace

bool IsFilter(std::string_view name) {
  return std::find(std::begin(kFilters), std::end(kFilters), name) != std::end(kFilters) || IsSequenceFilter(name);
}

Value ApplyFilter(Execution& run, std::string_view name, const Value& input, const Arguments& arguments) {
  if (IsSequenceFilter(name)) return ApplySequenceFilter(run, name, input, arguments);
  if (name == "default" || name == "d") {
    const auto given = arguments.Bind(run, name, {"default_value", "boolean"});
    const bool replaces = input.IsUndefined() || (TruthOr(given[1], false) && !input.Truth());
    return !replaces ? input : given[0].value_or(Value::String(""));
  }
  if (name == "int") return IntFilter(run, input, arguments);
  if (name == "float") return FloatFilter(run, input, arguments);
  if (name == "round") return RoundFilter(run, input, arguments);
  if (name == "indent") return IndentFilter(run, input, arguments);
  if (name == "tojson") return ToJson(run, input, arguments);
  if (name == "safe") return run.Refuse("the filter 'safe' inside an expression");
  if (name == "trim") {
    const auto given = arguments.Bind(run, name, {"chars"});
    const Text* characters = run.failed() ? nullptr : TextOrNull(run, given[0]);
    const TextPtr text = Str(run, input);
    return run.failed() ? Value() : Strip(run, *text, characters, true, true);
  }
  if (name == "replace") {
    const auto given = arguments.Bind(run, name, {"old", "new", "count"});
    if (run.failed()) return Value();
    if (!given[0] || !given[1]) return run.Fail("replace needs two strings");
    const TextPtr text = Str(run, input), old = Str(run, *given[0]), by = Str(run, *given[1]);
    const bool all = !given[2] || given[2]->Is<None>();
    const int64_t count = all ? -1 : IntegerOr(run, given[2], -1);
    return run.failed() ? Value() : Replace(run, *text, *old, *by, count);
  }
  arguments.Bind(run, name, {});
  if (run.failed()) return Value();
  if (name == "length" || name == "count") return Length(run, input);
  if (name == "abs") {
    if (input.IsUndefined()) return run.Fail(input.As<Undefined>().what);
    if (!input.IsNumber()) return run.Fail("abs needs a number");
    if (input.Is<double>()) return std::abs(input.As<double>());
    return input.Integer() < 0 ? Signed(run, "-", input) : Value(input.Integer());
  }
  const TextPtr text = Str(run, input);
  if (run.failed()) return Value();
  if (name == "upper") return Upper(run, *text);
  if (name == "lower") return Lower(run, *text);
  if (name == "title") return TitleFilter(run, *text);
  if (name == "capitalize") return Capitalize(run, *text);
  return text;  // string
}

}  // namespace blazon::language::jinja
