// Runs a parsed template.
//
// Names are looked up from the innermost scope outwards: loop bodies, macros, blocks of set, filter, with and
// generation have one of their own, `if` has none; then in the caller's variables, then among the globals range, dict,
// namespace, raise_exception and strftime_now. A name that a scope sets further down hides those
// (language/jinja/scoping.h).
#pragma once

#include <ctime>
#include <optional>

#include "absl/status/statusor.h"
#include "language/jinja/execution.h"
#include "language/jinja/syntax.h"

namespace blazon::language::jinja {

struct RenderOptions {
  Limits limits;
  // Local time for strftime_now; nullopt: now.
  std::optional<std::tm> now;
};

// What the template writes, each byte marked as data or not. May be called from any thread, also at once.
// kInvalidArgument: raise_exception (the message is the template's), or what Jinja reports as an error.
// kUnimplemented: what Blazon does not evaluate as Jinja does. kResourceExhausted: a limit is passed.
absl::StatusOr<Text> Render(const Block& block, const Dict& variables, const RenderOptions& options);

}  // namespace blazon::language::jinja
