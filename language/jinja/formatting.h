// Values as text: Python's str() and repr(), and json.dumps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

// str(value) behind `result`. What has no fixed text (functions, generators, ranges) is refused.
void AppendStr(Execution& run, const Value& value, Text* result);
// str(value); for a string the value itself.
TextPtr Str(Execution& run, const Value& value);

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<Text> indent;  // one level of it; nullopt: all in one line
  std::optional<Text> item_separator, key_separator;
};
// json.dumps(value) behind `result`; fails where Python raises a TypeError.
void AppendJson(Execution& run, const Value& value, const JsonOptions& options, Text* result);

}  // namespace blazon::language::jinja
