// What string methods and filters share.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "language/jinja/execution.h"
#include "language/jinja/text.h"

namespace blazon::language::jinja {

// Without the characters of `characters` (nullptr: white space) at its begin, at its end.
Text Strip(Execution& run, const Text& text, const Text* characters, bool at_begin, bool at_end);
// str.replace; at most `count` times, all when it is negative.
Text Replace(Execution& run, const Text& text, const Text& old, const Text& by, int64_t count);
// str.split, str.rsplit: between `separator` (nullptr: runs of white space), at most `limit` cuts, any number when it
// is negative.
std::vector<Value> Split(Execution& run, const Text& text, const Text* separator, int64_t limit, bool from_right);
// str.capitalize, str.title.
Text Capitalize(Execution& run, const Text& text);
Text TitleMethod(Execution& run, const Text& text);
Text Upper(Execution& run, const Text& text);
Text Lower(Execution& run, const Text& text);
// str.splitlines(keepends): the lines, with their ends when `keep_ends`.
std::vector<Text> SplitLines(Execution& run, const Text& text, bool keep_ends);

}  // namespace blazon::language::jinja
