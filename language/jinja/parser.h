// A template's text to its syntax tree.
//
// What Jinja knows and Blazon does not is refused here, not approximated later: include, import, extends, block, call,
// autoescape, i18n, recursive loops, star arguments, and filters or tests that are not in the lists of filters.h and
// tests.h.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "language/jinja/syntax.h"

namespace blazon::language::jinja {

// kInvalidArgument: Jinja refuses it too, or it nests deeper than 100 levels. kUnimplemented: what Blazon does not
// know. Messages name the construct, line and column.
absl::StatusOr<Block> Parse(std::string_view source);

}  // namespace blazon::language::jinja
