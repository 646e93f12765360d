// Python's operators on values.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

// + - * / // % **. Integers that leave 64 bits are refused.
Value Arithmetic(Execution& run, std::string_view op, const Value& left, const Value& right);
// + and - of one number.
Value Signed(Execution& run, std::string_view op, const Value& operand);
// == != < <= > >= in "not in".
bool Compare(Execution& run, std::string_view op, const Value& left, const Value& right);
bool Equals(Execution& run, const Value& left, const Value& right);
// Whether `a` sorts before `b`; an error where Python has no order.
bool Less(Execution& run, const Value& a, const Value& b);

// The items that a `for` walks through: of a string its characters, of a dict its keys, of an undefined value none. A
// generator is used up. An error for what cannot be walked through.
std::vector<Value> Iterate(Execution& run, const Value& value);

// object[key] and object.name, as Jinja looks them up: methods first for an attribute, items first for a subscript;
// undefined where there is neither.
Value Item(Execution& run, const Value& object, const Value& key);
Value Attribute(Execution& run, const Value& object, std::string_view name);
// object[begin:end:step]; none or nullopt: left out.
Value Slice(Execution& run, const Value& object, const std::optional<Value>& begin, const std::optional<Value>& end,
            const std::optional<Value>& step);

}  // namespace blazon::language::jinja
