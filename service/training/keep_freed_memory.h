// What training asks of the program's malloc.
#pragma once

namespace blazon::service {

// From now on freed memory stays with the process. A step of training frees and takes the same tensors over and over;
// giving them back to the system and clearing them anew takes a tenth of its time. Without effect where malloc is not
// mimalloc.
// Thread safety: may be called from any thread.
void KeepFreedMemory();

}  // namespace blazon::service
