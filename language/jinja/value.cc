#include "language/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace blazon::language::jinja {
namespace {

// Weights grow exponentially where a list holds itself twice, and stop here.
constexpr size_t kMaxWeight = size_t{1} << 40;

}  // namespace

Value Value::List(std::vector<Value> items, SequenceKind kind) {
  auto sequence = std::make_shared<Sequence>();
  for (const Value& item : items) {
    sequence->depth = std::max(sequence->depth, 1 + item.Depth());
    sequence->weight = std::min(kMaxWeight, sequence->weight + item.Weight());
  }
  sequence->items = std::move(items);
  sequence->kind = kind;
  return SequencePtr(std::move(sequence));
}

std::string_view Value::TypeName() const {
  struct Names {
    std::string_view operator()(const Undefined&) const { return "Undefined"; }
    std::string_view operator()(const None&) const { return "NoneType"; }
    std::string_view operator()(bool) const { return "bool"; }
    std::string_view operator()(int64_t) const { return "int"; }
    std::string_view operator()(double) const { return "float"; }
    std::string_view operator()(const TextPtr&) const { return "str"; }
    std::string_view operator()(const SequencePtr& sequence) const {
      constexpr std::string_view kNames[] = {"list", "tuple", "range", "dict_keys", "dict_values", "dict_items"};
      return kNames[static_cast<size_t>(sequence->kind)];
    }
    std::string_view operator()(const DictPtr&) const { return "dict"; }
    std::string_view operator()(const GeneratorPtr&) const { return "generator"; }
    std::string_view operator()(const NamespacePtr&) const { return "Namespace"; }
    std::string_view operator()(const MethodPtr&) const { return "method"; }
    std::string_view operator()(const Macro&) const { return "Macro"; }
    std::string_view operator()(Function) const { return "function"; }
    std::string_view operator()(Loop*) const { return "LoopContext"; }
  };
  return std::visit(Names(), value_);
}

bool Value::Truth() const {
  if (IsUndefined() || Is<None>()) return false;
  if (IsInteger()) return Integer() != 0;
  if (Is<double>()) return As<double>() != 0;
  if (const Text* text = AsText()) return !text->empty();
  if (const Sequence* sequence = AsSequence()) return !sequence->items.empty();
  if (const Dict* dict = AsDict()) return !dict->items.empty();
  return true;
}

int Value::Depth() const {
  if (const Sequence* sequence = AsSequence()) return sequence->depth;
  if (const Dict* dict = AsDict()) return dict->depth;
  return Is<GeneratorPtr>() ? As<GeneratorPtr>()->depth : 0;
}

size_t Value::Weight() const {
  if (const Sequence* sequence = AsSequence()) return sequence->weight;
  if (const Dict* dict = AsDict()) return dict->weight;
  return 1;
}

const Value* Dict::Find(const Value& key) const {
  for (const auto& [known, value] : items) {
    if (Equal(known, key).value_or(false)) return &value;
  }
  return nullptr;
}

const Value* Dict::Find(std::string_view key) const {
  for (const auto& [known, value] : items) {
    if (const Text* text = known.AsText(); text != nullptr && text->bytes() == key) return &value;
  }
  return nullptr;
}

void Dict::Set(Value key, Value value) {
  depth = std::max({depth, 1 + key.Depth(), 1 + value.Depth()});
  weight = std::min(kMaxWeight, weight + key.Weight() + value.Weight());
  for (auto& [known, old] : items) {
    if (!Equal(known, key).value_or(false)) continue;
    old = std::move(value);
    return;
  }
  items.emplace_back(std::move(key), std::move(value));
}

std::optional<bool> Equal(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsInteger() && b.IsInteger()) return a.Integer() == b.Integer();
    if (a.Is<double>() && b.Is<double>()) return a.As<double>() == b.As<double>();
    // An integer and a float are equal when they are exactly; a long double holds both.
    const auto exact = [](const Value& v) -> long double { return v.IsInteger() ? v.Integer() : v.As<double>(); };
    return exact(a) == exact(b);
  }
  if (a.IsUndefined() || b.IsUndefined()) return a.IsUndefined() && b.IsUndefined();
  if (a.Is<None>() || b.Is<None>()) return a.Is<None>() && b.Is<None>();
  if (a.AsText() != nullptr && b.AsText() != nullptr) return a.AsText()->bytes() == b.AsText()->bytes();
  if (const Sequence* x = a.AsSequence(), *y = b.AsSequence(); x != nullptr && y != nullptr) {
    if (x->kind != y->kind) {
      const auto is_view = [](const Sequence* s) {
        return s->kind == SequenceKind::kKeys || s->kind == SequenceKind::kItems;
      };
      if (is_view(x) && is_view(y)) return std::nullopt;
      return false;
    }
    if (x->kind == SequenceKind::kValues || x->kind == SequenceKind::kKeys || x->kind == SequenceKind::kItems) {
      return std::nullopt;
    }
    if (x->items.size() != y->items.size()) return false;
    for (size_t i = 0; i < x->items.size(); ++i) {
      const std::optional<bool> equal = Equal(x->items[i], y->items[i]);
      if (!equal || !*equal) return equal;
    }
    return true;
  }
  if (const Dict* x = a.AsDict(), *y = b.AsDict(); x != nullptr && y != nullptr) {
    if (x->items.size() != y->items.size()) return false;
    for (const auto& [key, value] : x->items) {
      const Value* other = y->Find(key);
      if (other == nullptr) return false;
      const std::optional<bool> equal = Equal(value, *other);
      if (!equal || !*equal) return equal;
    }
    return true;
  }
  if (a.Is<NamespacePtr>() && b.Is<NamespacePtr>()) return a.As<NamespacePtr>() == b.As<NamespacePtr>();
  if (a.TypeName() == b.TypeName()) return std::nullopt;
  return false;
}

std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::scientific);
  std::string text(buffer, result.ptr);
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;  // both write at least two digits of it
  const bool negative = text[0] == '-';
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < 0) {
    digits = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else {
    const auto whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() <= whole) digits.append(whole - digits.size() + 1, '0');
    digits.insert(whole, ".");
  }
  return negative ? "-" + digits : digits;
}

}  // namespace blazon::language::jinja
