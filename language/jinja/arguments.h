// The arguments of a call, evaluated.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The value of each parameter in `names`, in their order; nullopt where it is not given. Too many, unknown or doubled
  // arguments are an error of `run`.
  std::vector<std::optional<Value>> Bind(Execution& run, std::string_view function,
                                         std::initializer_list<std::string_view> names) const;
};

// What a parameter holds, with its default; a value of another type is an error of `run`.
int64_t IntegerOr(Execution& run, const std::optional<Value>& value, int64_t otherwise);
bool TruthOr(const std::optional<Value>& value, bool otherwise);
// nullptr when it is not given or none.
const Text* TextOrNull(Execution& run, const std::optional<Value>& value);

}  // namespace blazon::language::jinja
