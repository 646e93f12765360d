// Loops over several threads, for kernels of our own.
//
// ATen/Parallel.h has at::parallel_for, whose threads appear only where a file is compiled with OpenMP: elsewhere it is
// a plain loop and says nothing. This one is compiled with it, once.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace blazon::language {

// Calls work(begin, end) for runs that together are [0, count), each of at least `per_task` unless it is the last or
// the only one. Threads: at most at::get_num_threads(), LibTorch's own pool; within another such loop, the caller
// alone. Returns when all is done; rethrows what a run threw.
// Thread safety: may be called from any thread; the runs must not touch each other's results.
void ParallelFor(int64_t count, int64_t per_task, absl::FunctionRef<void(int64_t begin, int64_t end)> work);

}  // namespace blazon::language
