// Jinja's tests (`x is ...`).
//
// defined, undefined, none, boolean, true, false, integer, float, number, string, mapping, sequence, iterable,
// callable, odd, even, divisibleby, in, lower, upper, and the comparisons eq/equalto/==, ne/!=, lt/lessthan/<, le/<=,
// gt/greaterthan/>, ge/>=.
#pragma once

#include <string_view>

#include "language/jinja/arguments.h"
#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

bool IsTest(std::string_view name);
// IsTest(name).
bool PassesTest(Execution& run, std::string_view name, const Value& value, const Arguments& arguments);

}  // namespace blazon::language::jinja
