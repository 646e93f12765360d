// Attributes, items and slices (operators.h).
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/jinja/characters.h"
#include "language/jinja/loop.h"
#include "language/jinja/methods.h"
#include "language/jinja/operators.h"

namespace blazon::language::jinja {
namespace {

Value NoAttribute(const Value& object, std::string_view name) {
  return Undefined{absl::StrCat("a ", std::string(object.TypeName()), " has no attribute '",
                                absl::Utf8SafeCHexEscape(std::string(name.substr(0, 60))), "'")};
}

// What Python's getattr finds; nullopt: nothing.
std::optional<Value> OwnAttribute(Execution& run, const Value& object, std::string_view name) {
  if (object.Is<NamespacePtr>()) {
    for (const auto& [known, value] : object.As<NamespacePtr>()->attributes) {
      if (known == name) return value;
    }
    return std::nullopt;
  }
  if (object.Is<Loop*>()) return object.As<Loop*>()->Attribute(run, name);
  if (object.Is<Macro>() || object.Is<Function>() || object.Is<MethodPtr>()) {
    return run.Refuse(absl::StrCat("an attribute of a ", std::string(object.TypeName())));
  }
  if (!HasMethod(object, name)) return std::nullopt;
  return Value(std::make_shared<const Method>(Method{object, std::string(name)}));
}

bool IsHidden(std::string_view name) { return name.starts_with("__"); }

}  // namespace

Value Attribute(Execution& run, const Value& object, std::string_view name) {
  if (object.IsUndefined()) return run.Fail(object.As<Undefined>().what);
  if (IsHidden(name)) return run.Refuse(absl::StrCat("the attribute '", std::string(name), "'"));
  if (std::optional<Value> own = OwnAttribute(run, object, name); own) return *own;
  if (const Dict* dict = object.AsDict()) {
    if (!run.CountSteps(dict->items.size() / 8)) return Value();
    if (const Value* value = dict->Find(name)) return *value;
  }
  return NoAttribute(object, name);
}

Value Item(Execution& run, const Value& object, const Value& key) {
  if (object.IsUndefined()) return run.Fail(object.As<Undefined>().what);
  if (const Dict* dict = object.AsDict()) {
    if (key.AsSequence() != nullptr || key.AsDict() != nullptr) return run.Refuse("a container as key");
    if (!run.CountSteps(dict->items.size() / 8)) return Value();
    if (const Value* value = dict->Find(key)) return *value;
  }
  if (key.IsInteger()) {
    const Sequence* sequence = object.AsSequence();
    const Text* text = object.AsText();
    const bool is_view = sequence != nullptr && sequence->kind >= SequenceKind::kKeys;
    if ((sequence != nullptr && !is_view) || text != nullptr) {
      const auto size = static_cast<int64_t>(sequence ? sequence->items.size() : CharacterCount(text->bytes()));
      const int64_t index = key.Integer() < 0 ? key.Integer() + size : key.Integer();
      if (index < 0 || index >= size) {
        return Undefined{absl::StrCat("a ", std::string(object.TypeName()), " has no item ", key.Integer())};
      }
      if (sequence != nullptr) return sequence->items[static_cast<size_t>(index)];
      if (!run.CountSteps(1 + text->size() / 64)) return Value();
      const size_t begin = ByteOfCharacter(text->bytes(), static_cast<size_t>(index));
      return text->Part(begin, begin + ByteOfCharacter(std::string_view(text->bytes()).substr(begin), 1));
    }
  }
  const Text* name = key.AsText();
  if (name == nullptr) {
    if (object.Is<Macro>() || object.Is<Function>() || object.Is<MethodPtr>() || object.Is<Loop*>()) {
      return run.Refuse(absl::StrCat("an item of a ", std::string(object.TypeName())));
    }
    return Undefined{absl::StrCat("a ", std::string(object.TypeName()), " has no such item")};
  }
  if (IsHidden(name->bytes())) return run.Refuse("a subscript that begins with __");
  return OwnAttribute(run, object, name->bytes()).value_or(NoAttribute(object, name->bytes()));
}

Value Slice(Execution& run, const Value& object, const std::optional<Value>& begin, const std::optional<Value>& end,
            const std::optional<Value>& step) {
  if (object.IsUndefined()) return run.Fail(object.As<Undefined>().what);
  const Text* text = object.AsText();
  const Sequence* sequence = object.AsSequence();
  const bool is_list =
      sequence != nullptr && (sequence->kind == SequenceKind::kList || sequence->kind == SequenceKind::kTuple);
  if (text == nullptr && !is_list) {
    return run.Refuse(absl::StrCat("a slice of a ", std::string(object.TypeName())));
  }
  const auto size = static_cast<int64_t>(text ? CharacterCount(text->bytes()) : sequence->items.size());
  const auto given = [](const std::optional<Value>& part) { return part && !part->Is<None>(); };
  for (const std::optional<Value>* part : {&begin, &end, &step}) {
    // Jinja makes an undefined value of a slice that Python refuses.
    if (given(*part) && !(*part)->IsInteger()) return run.Refuse("a slice by other than integers");
  }
  const int64_t stride = given(step) ? step->Integer() : 1;
  if (stride == 0) return run.Fail("the step of a slice is 0");
  const auto bound = [&](const std::optional<Value>& part, int64_t otherwise) {
    if (!given(part)) return otherwise;
    const int64_t low = stride < 0 ? -1 : 0, high = stride < 0 ? size - 1 : size;
    int64_t at = part->Integer();
    if (at < 0) at = at < -size ? low : at + size;
    return std::clamp(at, low, std::max(low, high));
  };
  const int64_t first = bound(begin, stride < 0 ? size - 1 : 0), last = bound(end, stride < 0 ? -1 : size);
  const int64_t span = stride < 0 ? first - last : last - first;
  const uint64_t width = stride < 0 ? uint64_t{0} - static_cast<uint64_t>(stride) : static_cast<uint64_t>(stride);
  const uint64_t count = span <= 0 ? 0 : (static_cast<uint64_t>(span) - 1) / width + 1;
  if (text != nullptr) {
    if (!run.MayMakeText(text->size())) return Value();
    if (stride == 1) {
      const size_t from = ByteOfCharacter(text->bytes(), static_cast<size_t>(first));
      const std::string_view rest = std::string_view(text->bytes()).substr(from);
      return text->Part(from, from + ByteOfCharacter(rest, count));
    }
    std::vector<size_t> begins;
    if (!run.MayMakeItems(static_cast<size_t>(size))) return Value();
    for (size_t at = 0; at < text->size(); ++at) {
      if ((static_cast<uint8_t>(text->bytes()[at]) & 0xC0) != 0x80) begins.push_back(at);
    }
    begins.push_back(text->size());
    Text result;
    for (uint64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(first + static_cast<int64_t>(i) * stride);
      result.Append(*text, begins[at], begins[at + 1]);
    }
    return result;
  }
  if (!run.MayMakeItems(count)) return Value();
  std::vector<Value> items;
  for (uint64_t i = 0; i < count; ++i) {
    items.push_back(sequence->items[static_cast<size_t>(first + static_cast<int64_t>(i) * stride)]);
  }
  return run.MakeList(std::move(items), sequence->kind);
}

}  // namespace blazon::language::jinja
