#include "language/jinja/methods.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/jinja/characters.h"
#include "language/jinja/formatting.h"
#include "language/jinja/loop.h"
#include "language/jinja/operators.h"
#include "language/jinja/strings.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

constexpr std::string_view kTextMethods[] = {
    "capitalize",   "casefold",   "center",    "count",       "encode",    "endswith",     "expandtabs",   "find",
    "format",       "format_map", "index",     "isalnum",     "isalpha",   "isascii",      "isdecimal",    "isdigit",
    "isidentifier", "islower",    "isnumeric", "isprintable", "isspace",   "istitle",      "isupper",      "join",
    "ljust",        "lower",      "lstrip",    "maketrans",   "partition", "removeprefix", "removesuffix", "replace",
    "rfind",        "rindex",     "rjust",     "rpartition",  "rsplit",    "rstrip",       "split",        "splitlines",
    "startswith",   "strip",      "swapcase",  "title",       "translate", "upper",        "zfill"};
constexpr std::string_view kListMethods[] = {"append", "clear", "copy",   "count",   "extend", "index",
                                             "insert", "pop",   "remove", "reverse", "sort"};
constexpr std::string_view kTupleMethods[] = {"count", "index"};
constexpr std::string_view kDictMethods[] = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                             "pop",   "popitem", "setdefault", "update", "values"};
constexpr std::string_view kNumberMethods[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "fromhex", "hex", "imag",
    "is_integer",       "numerator", "real",       "to_bytes"};
constexpr std::string_view kOtherMethods[] = {"count",   "index",      "start", "stop",  "step",
                                              "mapping", "isdisjoint", "send",  "throw", "close"};

template <size_t N>
bool IsOneOf(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// The characters [begin, end) of a search, as bytes; nullopt: the range begins behind the text.
struct ByteRange {
  size_t begin, end;
};
std::optional<ByteRange> SearchRange(Execution& run, const Text& text, const std::optional<Value>& begin,
                                     const std::optional<Value>& end) {
  const auto size = static_cast<int64_t>(CharacterCount(text.bytes()));
  const auto bound = [&](const std::optional<Value>& part, int64_t otherwise) {
    if (!part || part->Is<None>()) return otherwise;
    const int64_t at = IntegerOr(run, part, otherwise);
    return at < 0 ? std::max<int64_t>(0, at + size) : at;
  };
  const int64_t first = bound(begin, 0), last = std::min(bound(end, size), size);
  if (first > size || first > last) return std::nullopt;
  return ByteRange{ByteOfCharacter(text.bytes(), static_cast<size_t>(first)),
                   ByteOfCharacter(text.bytes(), static_cast<size_t>(last))};
}

// startswith and endswith: one string or a tuple of them.
Value StartsOrEnds(Execution& run, const Text& text, const Arguments& arguments, bool at_begin) {
  const auto given = arguments.Bind(run, at_begin ? "startswith" : "endswith", {"prefix", "start", "end"});
  if (run.failed() || !run.CountSteps()) return Value();
  if (!given[0]) return run.Fail("startswith and endswith need a string");
  std::vector<Value> affixes = {*given[0]};
  if (const Sequence* sequence = given[0]->AsSequence();
      sequence != nullptr && sequence->kind == SequenceKind::kTuple) {
    affixes = sequence->items;
  }
  const std::optional<ByteRange> range = SearchRange(run, text, given[1], given[2]);
  if (run.failed()) return Value();
  const std::string_view part =
      range ? std::string_view(text.bytes()).substr(range->begin, range->end - range->begin) : "";
  for (const Value& affix : affixes) {
    if (affix.AsText() == nullptr) return run.Fail("startswith and endswith need a string or a tuple of strings");
    const std::string& bytes = affix.AsText()->bytes();
    if (range && (at_begin ? part.starts_with(bytes) : part.ends_with(bytes))) return true;
  }
  return false;
}

Value Find(Execution& run, std::string_view name, const Text& text, const Arguments& arguments) {
  const auto given = arguments.Bind(run, name, {"sub", "start", "end"});
  const Text* part = run.failed() ? nullptr : TextOrNull(run, given[0]);
  if (part == nullptr) return run.Fail(absl::StrCat(std::string(name), " needs a string"));
  const std::optional<ByteRange> range = SearchRange(run, text, given[1], given[2]);
  if (run.failed() || !run.CountSteps(1 + text.size() / 64)) return Value();
  const std::string_view bytes = std::string_view(text.bytes()).substr(0, range ? range->end : 0);
  if (name == "count") {
    int64_t count = 0;
    if (!range) return count;
    if (part->empty()) return static_cast<int64_t>(CharacterCount(bytes.substr(range->begin)) + 1);
    for (size_t at = bytes.find(part->bytes(), range->begin); at != std::string_view::npos;
         at = bytes.find(part->bytes(), at + part->size())) {
      ++count;
    }
    return count;
  }
  size_t at = std::string_view::npos;
  if (range) at = name[0] == 'r' ? bytes.rfind(part->bytes()) : bytes.find(part->bytes(), range->begin);
  if (range && at != std::string_view::npos && at < range->begin) at = std::string_view::npos;
  if (at != std::string_view::npos) return static_cast<int64_t>(CharacterCount(bytes.substr(0, at)));
  return name.ends_with("index") ? run.Fail("the substring is not found") : Value(int64_t{-1});
}

// isdigit and its like, where ASCII decides; characters beyond it are refused.
Value IsAll(Execution& run, std::string_view name, const Text& text) {
  bool all = !text.empty(), cased = false;
  for (size_t at = 0; at < text.size() && run.CountSteps();) {
    const int32_t c = NextCharacter(text.bytes(), &at);
    const bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'z', upper = c >= 'A' && c <= 'Z';
    if (c >= 0x80 && name != "isspace" && name != "isascii") {
      return run.Refuse(absl::StrCat(std::string(name), "() of a text with characters outside ASCII"));
    }
    if (name == "isspace") all = all && IsSpace(c);
    if (name == "isdigit" || name == "isdecimal" || name == "isnumeric") all = all && digit;
    if (name == "isalpha") all = all && (lower || upper);
    if (name == "isalnum") all = all && (lower || upper || digit);
    if (name == "isascii") all = all && c < 0x80;
    if (name == "isupper") all = all && !lower;
    if (name == "islower") all = all && !upper;
    cased = cased || lower || upper;
  }
  if (name == "isascii") return all || text.empty();
  if (name == "isupper" || name == "islower") return all && cased;
  return all;
}

Value JoinBy(Execution& run, const Text& separator, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "join", {"iterable"});
  if (run.failed()) return Value();
  if (!given[0]) return run.Fail("join needs a list of strings");
  const std::vector<Value> items = Iterate(run, *given[0]);
  Text result;
  for (size_t i = 0; i < items.size() && run.TextFits(result.size()); ++i) {
    if (items[i].AsText() == nullptr) {
      return run.Fail(absl::StrCat("join needs strings, not ", std::string(items[i].TypeName())));
    }
    if (i > 0) result.Append(separator);
    result.Append(*items[i].AsText());
  }
  return run.MayMakeText(result.size()) ? Value(std::move(result)) : Value();
}

Value Partition(Execution& run, std::string_view name, const Text& text, const Arguments& arguments) {
  const auto given = arguments.Bind(run, name, {"sep"});
  const Text* separator = run.failed() ? nullptr : TextOrNull(run, given[0]);
  if (separator == nullptr || separator->empty())
    return run.Fail(absl::StrCat(std::string(name), " needs a separator"));
  if (!run.MayMakeText(text.size())) return Value();
  const bool right = name == "rpartition";
  const size_t at = right ? text.bytes().rfind(separator->bytes()) : text.bytes().find(separator->bytes());
  std::vector<Value> parts;
  if (at == std::string::npos) {
    parts = right ? std::vector<Value>{Text(), Text(), text} : std::vector<Value>{text, Text(), Text()};
  } else {
    parts = {text.Part(0, at), *separator, text.Part(at + separator->size(), text.size())};
  }
  return run.MakeList(std::move(parts), SequenceKind::kTuple);
}

Value CallTextMethod(Execution& run, const std::string& name, const Value& self, const Arguments& arguments) {
  const Text& text = *self.AsText();
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const auto given = arguments.Bind(run, name, {"chars"});
    const Text* characters = run.failed() ? nullptr : TextOrNull(run, given[0]);
    return run.failed() ? Value() : Strip(run, text, characters, name != "rstrip", name != "lstrip");
  }
  if (name == "split" || name == "rsplit") {
    const auto given = arguments.Bind(run, name, {"sep", "maxsplit"});
    if (run.failed()) return Value();
    const Text* separator = TextOrNull(run, given[0]);
    const int64_t limit = IntegerOr(run, given[1], -1);
    return run.failed() ? Value() : run.MakeList(Split(run, text, separator, limit, name == "rsplit"));
  }
  if (name == "startswith" || name == "endswith") return StartsOrEnds(run, text, arguments, name == "startswith");
  if (name == "replace") {
    const auto given = arguments.Bind(run, name, {"old", "new", "count"});
    if (run.failed()) return Value();
    const Text *old = TextOrNull(run, given[0]), *by = TextOrNull(run, given[1]);
    if (old == nullptr || by == nullptr) return run.Fail("replace needs two strings");
    const int64_t count = IntegerOr(run, given[2], -1);
    return run.failed() ? Value() : Replace(run, text, *old, *by, count);
  }
  if (name == "find" || name == "rfind" || name == "index" || name == "rindex" || name == "count") {
    return Find(run, name, text, arguments);
  }
  if (name == "join") return JoinBy(run, text, arguments);
  if (name == "partition" || name == "rpartition") return Partition(run, name, text, arguments);
  if (name == "removeprefix" || name == "removesuffix") {
    const auto given = arguments.Bind(run, name, {"affix"});
    const Text* affix = run.failed() ? nullptr : TextOrNull(run, given[0]);
    if (affix == nullptr) return run.Fail(absl::StrCat(name, " needs a string"));
    if (!run.MayMakeText(text.size())) return Value();
    if (name == "removeprefix") {
      return text.Part(text.bytes().starts_with(affix->bytes()) ? affix->size() : 0, text.size());
    }
    return text.Part(0, text.size() - (text.bytes().ends_with(affix->bytes()) ? affix->size() : 0));
  }
  if (name == "splitlines") {
    const auto given = arguments.Bind(run, name, {"keepends"});
    if (run.failed()) return Value();
    std::vector<Value> lines;
    for (Text& line : SplitLines(run, text, TruthOr(given[0], false))) lines.emplace_back(std::move(line));
    return run.MakeList(std::move(lines));
  }
  constexpr std::string_view kPlain[] = {"upper",     "lower",     "title",   "capitalize", "isdigit",
                                         "isalpha",   "isalnum",   "isspace", "isupper",    "islower",
                                         "isdecimal", "isnumeric", "isascii"};
  if (!IsOneOf(kPlain, name)) return run.Refuse(absl::StrCat("the string method ", name, "()"));
  arguments.Bind(run, name, {});
  if (run.failed()) return Value();
  if (name == "upper") return Upper(run, text);
  if (name == "lower") return Lower(run, text);
  if (name == "title") return TitleMethod(run, text);
  if (name == "capitalize") return Capitalize(run, text);
  return IsAll(run, name, text);
}

Value CallDictMethod(Execution& run, const std::string& name, const Dict& dict, const Arguments& arguments) {
  if (name == "get") {
    if (!arguments.named.empty()) return run.Fail("get takes no named arguments");
    const auto given = arguments.Bind(run, name, {"key", "default"});
    if (run.failed()) return Value();
    if (!given[0]) return run.Fail("get needs a key");
    if (given[0]->AsSequence() != nullptr || given[0]->AsDict() != nullptr) return run.Refuse("a container as key");
    if (!run.CountSteps(dict.items.size() / 8)) return Value();
    if (const Value* value = dict.Find(*given[0])) return *value;
    return given[1].value_or(Value(None{}));
  }
  if (name == "clear" || name == "pop" || name == "popitem" || name == "setdefault" || name == "update") {
    return run.Fail(absl::StrCat("a template may not change a dict: ", name, "()"));
  }
  if (name == "fromkeys") return run.Refuse("the dict method fromkeys()");
  arguments.Bind(run, name, {});
  if (run.failed()) return Value();
  if (name == "copy") return DictPtr(std::make_shared<const Dict>(dict));
  std::vector<Value> items;
  for (const auto& [key, value] : dict.items) {
    if (name == "keys") items.push_back(key);
    if (name == "values") items.push_back(value);
    if (name == "items") items.push_back(run.MakeList({key, value}, SequenceKind::kTuple));
  }
  return run.MakeList(std::move(items), name == "keys"     ? SequenceKind::kKeys
                                        : name == "values" ? SequenceKind::kValues
                                                           : SequenceKind::kItems);
}

Value CallListMethod(Execution& run, const std::string& name, const Sequence& list, const Arguments& arguments) {
  if (name == "count" || name == "index") {
    const auto given = arguments.Bind(run, name, {"value"});
    if (run.failed()) return Value();
    if (!given[0]) return run.Fail(absl::StrCat(name, " needs a value"));
    int64_t count = 0;
    for (size_t i = 0; i < list.items.size() && !run.failed(); ++i) {
      if (!Equals(run, list.items[i], *given[0])) continue;
      if (name == "index") return static_cast<int64_t>(i);
      ++count;
    }
    return name == "index" ? run.Fail("index() does not find the value") : Value(count);
  }
  if (name == "copy" && list.kind == SequenceKind::kList) return run.MakeList(list.items);
  return run.Fail(absl::StrCat("a template may not change a list: ", name, "()"));
}

}  // namespace

bool HasMethod(const Value& object, std::string_view name) {
  if (object.AsText() != nullptr) return IsOneOf(kTextMethods, name);
  if (object.AsDict() != nullptr) return IsOneOf(kDictMethods, name);
  if (object.IsNumber()) return IsOneOf(kNumberMethods, name);
  if (const Sequence* sequence = object.AsSequence()) {
    if (sequence->kind == SequenceKind::kList) return IsOneOf(kListMethods, name);
    if (sequence->kind == SequenceKind::kTuple) return IsOneOf(kTupleMethods, name);
  }
  return (object.AsSequence() != nullptr || object.Is<GeneratorPtr>()) && IsOneOf(kOtherMethods, name);
}

Value CallMethod(Execution& run, const Method& method, const Arguments& arguments) {
  if (method.self.AsText() != nullptr) return CallTextMethod(run, method.name, method.self, arguments);
  if (const Dict* dict = method.self.AsDict()) return CallDictMethod(run, method.name, *dict, arguments);
  if (method.self.Is<Loop*>()) return method.self.As<Loop*>()->Call(run, method.name, arguments);
  const Sequence* sequence = method.self.AsSequence();
  if (sequence != nullptr && sequence->kind <= SequenceKind::kTuple) {
    return CallListMethod(run, method.name, *sequence, arguments);
  }
  return run.Refuse(absl::StrCat("the method ", method.name, "() of a ", std::string(method.self.TypeName())));
}

}  // namespace blazon::language::jinja
