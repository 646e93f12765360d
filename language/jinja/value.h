// The values of a template's program: Python's, as far as templates of checkpoints use them.
//
// Copying is cheap: everything large is shared and never changes, except a namespace's attributes and what is left of a
// generator. Thread safety: values of a parsed template may be read by any thread; those made while rendering belong to
// that rendering.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "language/jinja/text.h"

namespace blazon::language::jinja {

class Value;
struct Statement;
struct Scope;
class Loop;

struct Undefined {
  std::string what;  // for messages: "'x' is undefined"
};
struct None {};

enum class SequenceKind { kList, kTuple, kRange, kKeys, kValues, kItems };

struct Sequence;
struct Dict;
struct Generator;
struct Namespace;
struct Method;

// A macro: the statement that defined it, and the scope that it sees. Both outlive it, since values that point into a
// rendering's scopes are not stored in containers or namespaces.
struct Macro {
  const Statement* definition;
  const Scope* scope;
};

enum class Function { kRange, kDict, kNamespace, kRaiseException, kStrftimeNow };

using TextPtr = std::shared_ptr<const Text>;
using SequencePtr = std::shared_ptr<const Sequence>;
using DictPtr = std::shared_ptr<const Dict>;
using GeneratorPtr = std::shared_ptr<Generator>;
using NamespacePtr = std::shared_ptr<Namespace>;
using MethodPtr = std::shared_ptr<const Method>;

class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, double, TextPtr, SequencePtr, DictPtr, GeneratorPtr,
                               NamespacePtr, MethodPtr, Macro, Function, Loop*>;

  Value() : value_(Undefined{}) {}
  template <typename T>
  requires std::is_constructible_v<Variant, std::in_place_type_t<T>, T> Value(T value)
      : value_(std::in_place_type<T>, std::move(value)) {}                     // NOLINT: a value is what it holds
  Value(Text text) : value_(std::make_shared<const Text>(std::move(text))) {}  // NOLINT
  // Text of the template itself.
  static Value String(std::string_view text) { return Text(text, /*is_data=*/false); }
  static Value List(std::vector<Value> items, SequenceKind kind = SequenceKind::kList);

  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(value_);
  }
  template <typename T>
  const T& As() const {
    return std::get<T>(value_);
  }
  const Text* AsText() const { return Is<TextPtr>() ? As<TextPtr>().get() : nullptr; }
  const Sequence* AsSequence() const { return Is<SequencePtr>() ? As<SequencePtr>().get() : nullptr; }
  const Dict* AsDict() const { return Is<DictPtr>() ? As<DictPtr>().get() : nullptr; }
  bool IsUndefined() const { return Is<Undefined>(); }
  bool IsNumber() const { return Is<bool>() || Is<int64_t>() || Is<double>(); }
  // bool and int, as Python counts both.
  bool IsInteger() const { return Is<bool>() || Is<int64_t>(); }
  int64_t Integer() const { return Is<bool>() ? int64_t{As<bool>()} : As<int64_t>(); }
  double Number() const { return Is<double>() ? As<double>() : static_cast<double>(Integer()); }

  // Python's name of the type: "str", "list", "NoneType".
  std::string_view TypeName() const;
  // Python's bool().
  bool Truth() const;
  // How deep containers nest in it; 0: no container.
  int Depth() const;
  // The values in it, itself included and shared ones counted each time: what walking through all of it costs.
  size_t Weight() const;
  // Whether it may be kept in a container or namespace: not a macro, loop or method.
  bool Storable() const { return !Is<Macro>() && !Is<Loop*>() && !Is<MethodPtr>(); }

 private:
  Variant value_;
};

struct Sequence {
  std::vector<Value> items;
  SequenceKind kind = SequenceKind::kList;
  int depth = 1;
  size_t weight = 1;
};

// In the order of insertion, as Python's.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;
  size_t weight = 1;

  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  // Replaces the value of an equal key. The key is hashable.
  void Set(Value key, Value value);
};

// What filters like map give: can be walked through once. Jinja computes each item when it is asked for; here they are
// there at once, and an error waits at its place.
struct Generator {
  std::vector<Value> items;
  size_t next = 0;
  absl::Status error;  // behind the last item; OK: none
  int depth = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Method {
  Value self;
  std::string name;
};

// Python's ==. nullopt: between kinds whose comparison Blazon does not know (functions, generators, views).
std::optional<bool> Equal(const Value& a, const Value& b);

// Python's float as text: the shortest that reads back, "1.0", "1e+16", "inf".
std::string FloatText(double number);

inline constexpr int kMaxContainerDepth = 64;

}  // namespace blazon::language::jinja
