#include "service/training/keep_freed_memory.h"

#include <mimalloc.h>

// Only programs have the allocator (cmake/Allocator.cmake), and only some of them.
#pragma weak mi_option_disable

namespace blazon::service {

void KeepFreedMemory() {
  if (mi_option_disable != nullptr) mi_option_disable(mi_option_allow_decommit);
}

}  // namespace blazon::service
