#include "tests/service/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

namespace blazon::service {
namespace {

// Files rather than pipes: nothing has to be read while the child runs.
using File = std::unique_ptr<FILE, int (*)(FILE*)>;
File Temporary() { return File(std::tmpfile(), std::fclose); }

std::string Contents(FILE* file) {
  std::string contents;
  std::rewind(file);
  char block[65536];
  for (size_t size; (size = std::fread(block, 1, sizeof block, file)) > 0;) contents.append(block, size);
  return contents;
}

Finished Run(const std::vector<std::string>& arguments, const std::string& text, int signal, int milliseconds) {
  const File input = Temporary(), output = Temporary(), errors = Temporary();
  std::fwrite(text.data(), 1, text.size(), input.get());
  std::fflush(input.get());
  std::rewind(input.get());
  std::string program = BLAZON_PROGRAM;
  std::vector<char*> argv = {program.data()};
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(fileno(input.get()), STDIN_FILENO);
    dup2(fileno(output.get()), STDOUT_FILENO);
    dup2(fileno(errors.get()), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  if (signal != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    kill(child, signal);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), Contents(output.get()), Contents(errors.get())};
}

}  // namespace

Finished RunBlazon(const std::vector<std::string>& arguments, const std::string& input) {
  return Run(arguments, input, 0, 0);
}

Finished InterruptBlazon(const std::vector<std::string>& arguments, int signal, int milliseconds) {
  return Run(arguments, "", signal, milliseconds);
}

}  // namespace blazon::service
