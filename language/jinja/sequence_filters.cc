// The filters of filters.h that walk through sequences.
#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "language/jinja/filters.h"
#include "language/jinja/formatting.h"
#include "language/jinja/operators.h"
#include "language/jinja/strings.h"
#include "language/jinja/tests.h"

namespace blazon::language::jinja {
namespace {

constexpr std::string_view kSequenceFilters[] = {"list",   "first",      "last",       "join",  "map",      "select",
                                                 "reject", "selectattr", "rejectattr", "items", "dictsort", "unique",
                                                 "sort",   "reverse",    "min",        "max",   "sum",      "batch"};

// What an attribute of a filter names: "role", "function.name", 0. Parts that are all digits count as numbers.
std::vector<Value> AttributeParts(Execution& run, const Value& attribute) {
  std::vector<Value> parts;
  if (attribute.IsInteger()) return {attribute};
  const Text* text = attribute.AsText();
  if (text == nullptr) {
    run.Refuse(absl::StrCat("an attribute named by a ", std::string(attribute.TypeName())));
    return parts;
  }
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text->bytes(), '.'))) {
    int64_t number = 0;
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    if (digits && std::from_chars(part.data(), part.data() + part.size(), number).ec == std::errc()) {
      parts.emplace_back(number);
    } else {
      parts.push_back(Value::String(part));
    }
  }
  return parts;
}

Value Walk(Execution& run, Value item, const std::vector<Value>& parts, const std::optional<Value>& otherwise) {
  for (const Value& part : parts) {
    item = Item(run, item, part);
    if (run.failed()) return Value();
    if (otherwise && !otherwise->Is<None>() && item.IsUndefined()) item = *otherwise;
  }
  return item;
}

// Every item's image under `change`, which gives nullopt for an item that is left out. An error waits behind the items
// before it.
template <typename Change>
Value Generate(Execution& run, const Value& input, const Change& change) {
  const std::vector<Value> items = Iterate(run, input);
  std::vector<Value> images;
  for (const Value& item : items) {
    if (run.failed() || !run.CountSteps()) break;
    std::optional<Value> image = change(item);
    if (run.failed()) break;
    if (image) images.push_back(*std::move(image));
  }
  absl::Status error = run.TakeError();
  return run.MakeGenerator(std::move(images), std::move(error));
}

Value Map(Execution& run, const Value& input, const Arguments& arguments) {
  if (arguments.positional.empty() && !arguments.named.empty()) {
    const auto given = arguments.Bind(run, "map", {"", "attribute", "default"});
    if (run.failed()) return Value();
    if (!given[1]) return run.Fail("map needs the name of a filter or an attribute");
    const std::vector<Value> parts = AttributeParts(run, *given[1]);
    if (run.failed()) return Value();
    return Generate(run, input, [&](const Value& item) { return std::optional(Walk(run, item, parts, given[2])); });
  }
  const Text* name = arguments.positional.empty() ? nullptr : arguments.positional[0].AsText();
  if (name == nullptr) return run.Fail("map needs the name of a filter or an attribute");
  if (!IsFilter(name->bytes())) return run.Refuse("map with this filter");
  const Arguments rest = {{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  return Generate(run, input,
                  [&](const Value& item) { return std::optional(ApplyFilter(run, name->bytes(), item, rest)); });
}

Value Select(Execution& run, std::string_view filter, const Value& input, const Arguments& arguments) {
  const bool by_attribute = filter.ends_with("attr"), keeps = filter.starts_with("select");
  size_t used = 0;
  std::vector<Value> parts;
  if (by_attribute) {
    if (arguments.positional.empty())
      return run.Fail(absl::StrCat(std::string(filter), " needs the name of an attribute"));
    parts = AttributeParts(run, arguments.positional[used++]);
  }
  if (run.failed()) return Value();
  const Text* name = nullptr;
  if (used < arguments.positional.size()) {
    name = arguments.positional[used++].AsText();
    if (name == nullptr || !IsTest(name->bytes()))
      return run.Refuse(absl::StrCat(std::string(filter), " with this test"));
  }
  const Arguments rest = {
      {arguments.positional.begin() + static_cast<std::ptrdiff_t>(used), arguments.positional.end()}, arguments.named};
  return Generate(run, input, [&](const Value& item) -> std::optional<Value> {
    const Value value = Walk(run, item, parts, std::nullopt);
    if (run.failed()) return std::nullopt;
    const bool passes = name == nullptr ? value.Truth() : PassesTest(run, name->bytes(), value, rest);
    return passes == keeps ? std::optional(item) : std::nullopt;
  });
}

// What an item is compared by: itself or its attribute, in lower case unless case counts.
Value SortKey(Execution& run, const Value& item, const std::optional<Value>& attribute, bool case_sensitive) {
  Value key = item;
  if (attribute && !attribute->Is<None>()) key = Walk(run, item, AttributeParts(run, *attribute), std::nullopt);
  if (!case_sensitive && key.AsText() != nullptr) return Lower(run, *key.AsText());
  return key;
}

std::vector<std::pair<Value, Value>> Keyed(Execution& run, const std::vector<Value>& items,
                                           const std::optional<Value>& attribute, bool case_sensitive) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    if (run.failed() || !run.CountSteps()) break;
    keyed.emplace_back(SortKey(run, item, attribute, case_sensitive), item);
  }
  return keyed;
}

std::vector<Value> Sorted(Execution& run, std::vector<std::pair<Value, Value>> keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    if (run.failed() || !run.CountSteps()) return false;
    return reverse ? Less(run, b.first, a.first) : Less(run, a.first, b.first);
  });
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return items;
}

Value Sort(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "sort", {"reverse", "case_sensitive", "attribute"});
  if (run.failed()) return Value();
  if (given[2] && given[2]->AsText() != nullptr && given[2]->AsText()->bytes().find(',') != std::string::npos) {
    return run.Refuse("sort by several attributes");
  }
  auto keyed = Keyed(run, Iterate(run, input), given[2], TruthOr(given[1], false));
  return run.MakeList(Sorted(run, std::move(keyed), TruthOr(given[0], false)));
}

Value DictSort(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "dictsort", {"case_sensitive", "by", "reverse"});
  const Text* by = run.failed() ? nullptr : TextOrNull(run, given[1]);
  if (run.failed()) return Value();
  const Dict* dict = input.AsDict();
  if (dict == nullptr) return run.Fail("dictsort needs a dict");
  if (by != nullptr && by->bytes() != "key" && by->bytes() != "value") return run.Fail("dictsort is by key or value");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : dict->items) {
    const bool by_value = by != nullptr && by->bytes() == "value";
    keyed.emplace_back(SortKey(run, by_value ? value : key, std::nullopt, TruthOr(given[0], false)),
                       run.MakeList({key, value}, SequenceKind::kTuple));
  }
  return run.MakeList(Sorted(run, std::move(keyed), TruthOr(given[2], false)));
}

Value Unique(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "unique", {"case_sensitive", "attribute"});
  if (run.failed()) return Value();
  std::vector<Value> seen;
  return Generate(run, input, [&](const Value& item) -> std::optional<Value> {
    const Value key = SortKey(run, item, given[1], TruthOr(given[0], false));
    if (key.AsSequence() != nullptr || key.AsDict() != nullptr) return run.Refuse("unique among containers");
    for (const Value& known : seen) {
      if (run.failed() || Equals(run, known, key)) return std::nullopt;
    }
    seen.push_back(key);
    return item;
  });
}

Value Extreme(Execution& run, std::string_view name, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, name, {"case_sensitive", "attribute"});
  if (run.failed()) return Value();
  auto keyed = Keyed(run, Iterate(run, input), given[1], TruthOr(given[0], false));
  if (run.failed()) return Value();
  if (keyed.empty()) return Undefined{"the sequence is empty"};
  size_t best = 0;
  for (size_t i = 1; i < keyed.size() && !run.failed(); ++i) {
    const bool better =
        name == "min" ? Less(run, keyed[i].first, keyed[best].first) : Less(run, keyed[best].first, keyed[i].first);
    if (better) best = i;
  }
  return keyed[best].second;
}

Value Sum(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "sum", {"attribute", "start"});
  if (run.failed()) return Value();
  Value sum = given[1].value_or(Value(int64_t{0}));
  if (sum.AsText() != nullptr) return run.Fail("sum adds no strings");
  const bool walks = given[0] && !given[0]->Is<None>();
  const std::vector<Value> parts = walks ? AttributeParts(run, *given[0]) : std::vector<Value>();
  for (const Value& item : Iterate(run, input)) {
    if (run.failed() || !run.CountSteps()) break;
    const Value value = Walk(run, item, parts, std::nullopt);
    if (!run.failed()) sum = Arithmetic(run, "+", sum, value);
  }
  return sum;
}

Value Join(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "join", {"d", "attribute"});
  if (run.failed()) return Value();
  const bool walks = given[1] && !given[1]->Is<None>();
  const std::vector<Value> parts = walks ? AttributeParts(run, *given[1]) : std::vector<Value>();
  const TextPtr separator = Str(run, given[0].value_or(Value::String("")));
  Text result;
  bool first = true;
  for (const Value& item : Iterate(run, input)) {
    if (run.failed() || !run.TextFits(result.size())) return Value();
    if (!std::exchange(first, false)) result.Append(*separator);
    const Value value = Walk(run, item, parts, std::nullopt);
    if (!run.failed()) AppendStr(run, value, &result);
  }
  return run.MayMakeText(result.size()) ? Value(std::move(result)) : Value();
}

Value Batch(Execution& run, const Value& input, const Arguments& arguments) {
  const auto given = arguments.Bind(run, "batch", {"linecount", "fill_with"});
  if (run.failed()) return Value();
  const int64_t size = IntegerOr(run, given[0], 0);
  if (size < 1) return run.Refuse("batch of less than one item");
  std::vector<Value> rows, row;
  for (const Value& item : Iterate(run, input)) {
    row.push_back(item);
    if (static_cast<int64_t>(row.size()) == size) rows.push_back(run.MakeList(std::exchange(row, {})));
  }
  if (!row.empty() && given[1] && !given[1]->Is<None>()) {
    if (!run.MayMakeItems(static_cast<size_t>(size))) return Value();
    row.resize(static_cast<size_t>(size), *given[1]);
  }
  if (!row.empty()) rows.push_back(run.MakeList(std::move(row)));
  return run.failed() ? Value() : run.MakeGenerator(std::move(rows));
}

// list, first, last and reverse.
Value Plain(Execution& run, std::string_view name, const Value& input) {
  if (name == "first" && input.Is<GeneratorPtr>()) {
    Generator& generator = *input.As<GeneratorPtr>();
    if (generator.next < generator.items.size()) return generator.items[generator.next++];
    if (!generator.error.ok()) return run.Raise(generator.error);
    return Undefined{"there is no first item"};
  }
  if (name == "last" && input.Is<GeneratorPtr>()) return run.Fail("a generator has no last item");
  if (name == "last" && input.IsUndefined()) return run.Refuse("last of an undefined value");
  if (name == "reverse" && input.AsText() != nullptr) {
    return Slice(run, input, std::nullopt, std::nullopt, Value(int64_t{-1}));
  }
  std::vector<Value> items = Iterate(run, input);
  if (run.failed()) return Value();
  if (name == "list") return run.MakeList(std::move(items));
  if (name == "reverse") {
    std::reverse(items.begin(), items.end());
    if (input.Is<GeneratorPtr>()) return run.MakeList(std::move(items));
    if (input.IsUndefined()) return run.Refuse("reverse of an undefined value");
    return run.MakeGenerator(std::move(items));
  }
  if (items.empty()) return Undefined{absl::StrCat("there is no ", std::string(name), " item")};
  return name == "first" ? items.front() : items.back();
}

}  // namespace

bool IsSequenceFilter(std::string_view name) {
  return std::find(std::begin(kSequenceFilters), std::end(kSequenceFilters), name) != std::end(kSequenceFilters);
}

Value ApplySequenceFilter(Execution& run, std::string_view name, const Value& input, const Arguments& arguments) {
  if (name == "map") return Map(run, input, arguments);
  if (name.ends_with("attr") || name == "select" || name == "reject") return Select(run, name, input, arguments);
  if (name == "sort") return Sort(run, input, arguments);
  if (name == "dictsort") return DictSort(run, input, arguments);
  if (name == "unique") return Unique(run, input, arguments);
  if (name == "min" || name == "max") return Extreme(run, name, input, arguments);
  if (name == "sum") return Sum(run, input, arguments);
  if (name == "join") return Join(run, input, arguments);
  if (name == "batch") return Batch(run, input, arguments);
  arguments.Bind(run, name, {});
  if (run.failed()) return Value();
  if (name != "items") return Plain(run, name, input);
  std::vector<Value> pairs;
  const Dict* dict = input.AsDict();
  if (dict == nullptr && !input.IsUndefined()) {
    return run.MakeGenerator({}, ErrorAt(absl::StatusCode::kInvalidArgument, run.position(), "items needs a dict"));
  }
  for (size_t i = 0; dict != nullptr && i < dict->items.size(); ++i) {
    pairs.push_back(run.MakeList({dict->items[i].first, dict->items[i].second}, SequenceKind::kTuple));
  }
  return run.failed() ? Value() : run.MakeGenerator(std::move(pairs));
}

}  // namespace blazon::language::jinja
