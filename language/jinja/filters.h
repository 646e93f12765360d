// Jinja's filters, those that templates of checkpoints use.
//
// default/d, trim, length/count, upper, lower, title, capitalize, replace, string, safe (as the last filter of an
// output; elsewhere refused), indent, int, float, round, abs, tojson (transformers': characters stay as they are),
// list, first, last, join, map, select, reject, selectattr, rejectattr, items, dictsort, unique, sort, reverse, min,
// max, sum, batch.
#pragma once

#include <string_view>

#include "language/jinja/arguments.h"
#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

bool IsFilter(std::string_view name);
// IsFilter(name).
Value ApplyFilter(Execution& run, std::string_view name, const Value& input, const Arguments& arguments);

// The part of ApplyFilter that walks through sequences (sequence_filters.cc); IsSequenceFilter(name).
bool IsSequenceFilter(std::string_view name);
Value ApplySequenceFilter(Execution& run, std::string_view name, const Value& input, const Arguments& arguments);

}  // namespace blazon::language::jinja
