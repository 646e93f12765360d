#include "language/jinja/functions.h"

#include <locale.h>
#include <time.h>

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/jinja/formatting.h"
#include "language/jinja/operators.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

constexpr std::pair<std::string_view, Function> kFunctions[] = {{"range", Function::kRange},
                                                                {"dict", Function::kDict},
                                                                {"namespace", Function::kNamespace},
                                                                {"raise_exception", Function::kRaiseException},
                                                                {"strftime_now", Function::kStrftimeNow}};
constexpr std::string_view kRefused[] = {"lipsum", "cycler", "joiner"};

Value Range(Execution& run, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "range", {"start", "stop", "step"});
  if (run.failed()) return Value();
  if (!given[0] || !arguments.named.empty()) return run.Fail("range needs one to three integers");
  int64_t begin = IntegerOr(run, given[0], 0), end = IntegerOr(run, given[1], 0);
  const int64_t step = IntegerOr(run, given[2], 1);
  if (!given[1]) end = std::exchange(begin, 0);
  if (step == 0) run.Fail("the step of range is 0");
  if (run.failed()) return Value();
  // Jinja's sandbox has the same limit.
  constexpr size_t kMaxRange = 100'000;
  std::vector<Value> items;
  for (int64_t at = begin; step > 0 ? at < end : at > end;) {
    if (items.size() >= kMaxRange) return run.Fail("a range may have at most 100000 items");
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return run.MakeList(std::move(items), SequenceKind::kRange);
}

// dict(...) and namespace(...): a mapping to begin with, and named values.
Value DictOrNamespace(Execution& run, Function function, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) return run.Fail("dict and namespace take one mapping at most");
  if (!arguments.positional.empty()) {
    const Dict* given = arguments.positional[0].AsDict();
    if (given == nullptr) return run.Refuse("dict or namespace made of other than a dict");
    dict = *given;
  }
  for (const auto& [name, value] : arguments.named) dict.Set(Value::String(name), value);
  if (function == Function::kDict) return run.MakeDict(std::move(dict));
  auto result = std::make_shared<Namespace>();
  for (auto& [key, value] : dict.items) {
    if (!value.Storable()) return run.Refuse(absl::StrCat("a ", std::string(value.TypeName()), " in a namespace"));
    if (key.AsText() == nullptr) return run.Refuse("a namespace with keys that are not strings");
    SetAttribute(result.get(), key.AsText()->bytes(), std::move(value));
  }
  return NamespacePtr(std::move(result));
}

Value RaiseException(Execution& run, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "raise_exception", {"message"});
  if (run.failed()) return Value();
  if (!given[0]) return run.Fail("raise_exception needs a message");
  constexpr size_t kShown = 400;
  const std::string message = Str(run, *given[0])->bytes().substr(0, kShown);
  return run.Raise(absl::InvalidArgumentError(
      absl::StrCat("the model's chat template refuses the messages: ", absl::Utf8SafeCHexEscape(message))));
}

Value StrftimeNow(Execution& run, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "strftime_now", {"format"});
  const Text* format = run.failed() ? nullptr : TextOrNull(run, given[0]);
  if (format == nullptr) return run.Fail("strftime_now needs a format");
  // Conversions that mean the same in C and Python and need no time zone.
  constexpr std::string_view kConversions = "aAbBcdDeFHIjmMpRSTuUwWxXyY%";
  for (size_t at = format->bytes().find('%'); at != std::string::npos; at = format->bytes().find('%', at + 2)) {
    if (at + 1 >= format->size() || kConversions.find(format->bytes()[at + 1]) == std::string_view::npos) {
      return run.Refuse("this conversion of strftime_now");
    }
  }
  if (format->size() > 1000) return run.Refuse("a format of strftime_now of more than 1000 bytes");
  static const locale_t kPlain = newlocale(LC_ALL_MASK, "C", nullptr);
  const std::tm now = run.Now();
  // A leading byte tells an empty result from one that does not fit.
  const std::string marked = absl::StrCat(".", format->bytes());
  std::vector<char> buffer(64 * 1024);
  const size_t size = strftime_l(buffer.data(), buffer.size(), marked.c_str(), &now, kPlain);
  if (size == 0 || format->bytes().find('\0') != std::string::npos) return run.Refuse("this format of strftime_now");
  return Text(std::string_view(buffer.data() + 1, size - 1), format->HasData());
}

}  // namespace

Value Global(Execution& run, const std::string& name) {
  for (const auto& [known, function] : kFunctions) {
    if (known == name) return function;
  }
  for (const std::string_view refused : kRefused) {
    if (refused == name) return run.Refuse(absl::StrCat("the function '", name, "'"));
  }
  return Undefined{absl::StrCat("'", name, "' is undefined")};
}

Value CallFunction(Execution& run, Function function, const Arguments& arguments) {
  switch (function) {
    case Function::kRange:
      return Range(run, arguments);
    case Function::kDict:
    case Function::kNamespace:
      return DictOrNamespace(run, function, arguments);
    case Function::kRaiseException:
      return RaiseException(run, arguments);
    case Function::kStrftimeNow:
      return StrftimeNow(run, arguments);
  }
  return Value();
}

void SetAttribute(Namespace* object, const std::string& name, Value value) {
  for (auto& [known, old] : object->attributes) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  object->attributes.emplace_back(name, std::move(value));
}

}  // namespace blazon::language::jinja
