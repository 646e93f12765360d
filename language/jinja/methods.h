// Methods of strings and dicts, and the global functions.
//
// Arguments are given by position or by name as Python's own methods take them. Known and refused: format, encode,
// translate, splitlines and other rare ones; lists and dicts cannot be changed, as in Jinja's immutable sandbox.
#pragma once

#include <string_view>

#include "language/jinja/arguments.h"
#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

// Whether values of this kind have an attribute of that name in Python.
bool HasMethod(const Value& object, std::string_view name);
Value CallMethod(Execution& run, const Method& method, const Arguments& arguments);

}  // namespace blazon::language::jinja
