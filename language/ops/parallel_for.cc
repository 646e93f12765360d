#include "language/ops/parallel_for.h"

#include <ATen/Parallel.h>

#ifndef _OPENMP
#error "compile this file with OpenMP: without it at::parallel_for uses one thread"
#endif

namespace blazon::language {

void ParallelFor(int64_t count, int64_t per_task, absl::FunctionRef<void(int64_t begin, int64_t end)> work) {
  at::parallel_for(0, count, per_task, work);
}

}  // namespace blazon::language
