// A shim over the calls that change files. A program that links faulty_calls.cc has its own write, fsync, rename and so
// on, which its libraries (SQLite too) use in place of libc's; armed, one of them fails or is the process's last.
#pragma once

#include <cstdint>
#include <string>

namespace blazon::retrieval::faulty {

enum class Fault {
  kFailOnce,  // that call fails with an error of the disk
  kFailFrom,  // it and all later ones fail, as on a disk that is full
  kDie,       // the process is killed there; of a write, half is done
};

// Counts calls of this thread from 0 and strikes at number `at`.
void Arm(Fault fault, int at);
// Back to normal; returns how many calls there were.
int Disarm();

// As if `folder` were a disk of so many bytes: writes of this thread that make its files grow further fail with ENOSPC,
// and statvfs tells what is left. "" ends it.
void LimitFolder(const std::string& folder, int64_t bytes);

}  // namespace blazon::retrieval::faulty
