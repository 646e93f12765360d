#include "language/jinja/tests.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/jinja/formatting.h"
#include "language/jinja/operators.h"
#include "language/jinja/strings.h"

namespace blazon::language::jinja {
namespace {

// Tests of one value.
constexpr std::string_view kUnary[] = {"defined",  "undefined", "none",   "boolean", "true",    "false",
                                       "integer",  "float",     "number", "string",  "mapping", "sequence",
                                       "iterable", "callable",  "odd",    "even",    "lower",   "upper"};
// Tests against another value, and the operators that they stand for.
constexpr std::pair<std::string_view, std::string_view> kBinary[] = {
    {"eq", "=="},      {"equalto", "=="}, {"==", "=="}, {"ne", "!="}, {"!=", "!="},        {"lt", "<"},
    {"lessthan", "<"}, {"<", "<"},        {"le", "<="}, {"<=", "<="}, {"gt", ">"},         {"greaterthan", ">"},
    {">", ">"},        {"ge", ">="},      {">=", ">="}, {"in", "in"}, {"divisibleby", "%"}};

const std::pair<std::string_view, std::string_view>* FindBinary(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kBinary), std::end(kBinary), [&](const auto& b) { return b.first == name; });
  return found == std::end(kBinary) ? nullptr : found;
}

// Whether the text has letters with case, and all of them are of the one asked for: str.isupper, str.islower.
bool HasOnlyCase(Execution& run, const Value& value, bool upper) {
  const TextPtr text = Str(run, value);
  if (run.failed()) return false;
  const Text same = upper ? Upper(run, *text) : Lower(run, *text),
             other = upper ? Lower(run, *text) : Upper(run, *text);
  return same.bytes() == text->bytes() && other.bytes() != text->bytes();
}

bool Remainder(Execution& run, const Value& value, const Value& divisor, int64_t expected) {
  const Value remainder = Arithmetic(run, "%", value, divisor);
  return !run.failed() && Equals(run, remainder, Value(expected));
}

}  // namespace

bool IsTest(std::string_view name) {
  return std::find(std::begin(kUnary), std::end(kUnary), name) != std::end(kUnary) || FindBinary(name) != nullptr;
}

bool PassesTest(Execution& run, std::string_view name, const Value& value, const Arguments& arguments) {
  if (const auto* binary = FindBinary(name)) {
    const auto given = arguments.Bind(run, name, {"other"});
    if (!run.failed() && !given[0])
      run.Fail(absl::StrCat("the test '", std::string(name), "' needs a value to compare with"));
    if (run.failed()) return false;
    if (binary->second == "%") return Remainder(run, value, *given[0], 0);
    return Compare(run, binary->second, value, *given[0]);
  }
  arguments.Bind(run, name, {});
  if (run.failed()) return false;
  if (name == "defined") return !value.IsUndefined();
  if (name == "undefined") return value.IsUndefined();
  if (name == "none") return value.Is<None>();
  if (name == "boolean") return value.Is<bool>();
  if (name == "true") return value.Is<bool>() && value.As<bool>();
  if (name == "false") return value.Is<bool>() && !value.As<bool>();
  if (name == "integer") return value.Is<int64_t>();
  if (name == "float") return value.Is<double>();
  if (name == "number") return value.IsNumber();
  if (name == "string") return value.AsText() != nullptr;
  if (name == "mapping") return value.AsDict() != nullptr;
  if (name == "odd") return Remainder(run, value, Value(int64_t{2}), 1);
  if (name == "even") return Remainder(run, value, Value(int64_t{2}), 0);
  if (name == "lower" || name == "upper") return HasOnlyCase(run, value, name == "upper");
  const Sequence* sequence = value.AsSequence();
  const bool holds =
      value.AsText() != nullptr || sequence != nullptr || value.AsDict() != nullptr || value.IsUndefined();
  // Jinja counts an undefined value among the sequences; the views of a dict have no items by number.
  if (name == "sequence") return holds && (sequence == nullptr || sequence->kind < SequenceKind::kKeys);
  if (name == "iterable") return holds || value.Is<GeneratorPtr>() || value.Is<Loop*>();
  return value.Is<Macro>() || value.Is<Function>() || value.Is<MethodPtr>() || value.Is<Loop*>() || value.IsUndefined();
}

}  // namespace blazon::language::jinja
