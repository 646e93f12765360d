// Runs the parts of one piece of work side by side.
#pragma once

#include <functional>

#include "absl/types/span.h"

namespace blazon::retrieval {

// Returns when every task is done; they start in order. At most `threads` run at once, on the caller's thread and on
// others that are made for it (some 30 microseconds each, so tasks should take milliseconds). threads: at least 1.
void RunTasks(absl::Span<const std::function<void()>> tasks, int threads);

}  // namespace blazon::retrieval
