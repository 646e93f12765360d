// Runs a program of someone else's on bytes that nobody vouches for, so that its crash or hang costs one result.
//
// The child reads `input` as its standard input (a file in memory: it may seek in /dev/stdin) and has nothing else: no
// other descriptor, no network, no new processes, no file to write to, a fixed environment, and limits on memory,
// processor time, wall time and output. There is no shell: arguments are passed as they are.
// Thread safety: may run together from any threads.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::retrieval {

struct ChildLimits {
  size_t memory_bytes = size_t{1} << 30;  // of address space
  int processor_seconds = 60;
  int wall_seconds = 120;
  size_t output_bytes = 256u << 20;  // of standard output
};

struct ChildOutput {
  std::string output;  // standard output
  std::string errors;  // the start of standard error
  int exit_status = 0;
};

// The path of a program in /usr/local/bin, /usr/bin or /bin, the first that has it; nullopt when none has. The caller's
// PATH is not asked: it must not choose what reads a document.
std::optional<std::string> FindProgram(const std::string& name);

// Runs arguments[0] (a path) to its end. A child that ends by itself is no error, whatever its exit status.
// kResourceExhausted: it went over a limit, which the message names. kAborted: a signal ended it. kInternal: it could
// not be started.
absl::StatusOr<ChildOutput> RunChild(const std::vector<std::string>& arguments, std::string_view input,
                                     const ChildLimits& limits = {});

}  // namespace blazon::retrieval
