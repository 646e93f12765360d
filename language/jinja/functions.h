// The functions that every template may call: range, dict, namespace, and transformers' raise_exception, strftime_now.
#pragma once

#include <string>
#include <string_view>

#include "language/jinja/arguments.h"
#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

// The global of that name; undefined where there is none. Jinja's lipsum, cycler and joiner are refused.
Value Global(Execution& run, const std::string& name);
Value CallFunction(Execution& run, Function function, const Arguments& arguments);
// Sets or adds an attribute.
void SetAttribute(Namespace* object, const std::string& name, Value value);

}  // namespace blazon::language::jinja
