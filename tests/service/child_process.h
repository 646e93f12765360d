// Runs the program as a shell would, and gives what it printed.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace blazon::service {

struct Finished {
  int status = 0;  // of exit; -N when signal N ended it
  std::string output, errors;
};

// One run of build/blazon. Not thread-safe.
class BlazonProcess {
 public:
  // Starts it with `arguments`; `input` is its standard input.
  explicit BlazonProcess(const std::vector<std::string>& arguments, const std::string& input = "");
  // Kills it when it still runs.
  ~BlazonProcess();
  BlazonProcess(const BlazonProcess&) = delete;
  BlazonProcess& operator=(const BlazonProcess&) = delete;

  void Signal(int signal);
  // Its environment as its kernel has it, variables ended by NULs.
  std::string Environment() const;
  // Waits for its end.
  Finished Wait();
  // Waits until what it has printed as errors contains `text`, and gives all of it; "" when that did not come in time.
  std::string WaitForErrors(std::string_view text, int seconds);

 private:
  // Files rather than pipes: nothing has to be read while the child runs.
  using File = std::unique_ptr<FILE, int (*)(FILE*)>;
  File input_, output_, errors_;
  pid_t child_ = -1;  // -1: waited for
};

// `arguments` go to build/blazon; `input` is its standard input.
Finished RunBlazon(const std::vector<std::string>& arguments, const std::string& input = "");

// The same, but `signal` is sent after `milliseconds`.
Finished InterruptBlazon(const std::vector<std::string>& arguments, int signal, int milliseconds);

}  // namespace blazon::service
