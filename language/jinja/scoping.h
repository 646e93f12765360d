// When a name belongs to a scope. Jinja settles that before it runs a template (jinja2, idtracking.py): a name that the
// statements of a scope set, other than within an `if`, and have not read before, is the scope's own from its beginning
// on: up to the assignment it is undefined, in loops and macros inside as well, whatever the caller's variables have.
// Not so where a scope around it knows the name: there it has that one's value at first.
#pragma once

#include "language/jinja/syntax.h"

namespace blazon::language::jinja {

// Puts a Statement of kind kHide with these names in front of the template and of each body with a scope of its own.
void HideNamesBeforeTheyAreSet(Block* root);

}  // namespace blazon::language::jinja
