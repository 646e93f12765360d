// Runs the program as a shell would, and gives what it printed.
#pragma once

#include <string>
#include <vector>

namespace blazon::service {

struct Finished {
  int status = 0;  // of exit; -N when signal N ended it
  std::string output, errors;
};

// `arguments` go to build/blazon; `input` is its standard input.
Finished RunBlazon(const std::vector<std::string>& arguments, const std::string& input = "");

// The same, but `signal` is sent after `milliseconds`.
Finished InterruptBlazon(const std::vector<std::string>& arguments, int signal, int milliseconds);

}  // namespace blazon::service
