#include "tests/service/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

// pread: the child writes through the same file offset.
std::string Contents(FILE* file) {
  std::string contents;
  char block[65536];
  ssize_t size;
  while ((size = pread(fileno(file), block, sizeof block, static_cast<off_t>(contents.size()))) > 0) {
    contents.append(block, static_cast<size_t>(size));
  }
  return contents;
}

}  // namespace

BlazonProcess::BlazonProcess(const std::vector<std::string>& arguments, const std::string& input)
    : input_(std::tmpfile(), std::fclose), output_(std::tmpfile(), std::fclose), errors_(std::tmpfile(), std::fclose) {
  std::fwrite(input.data(), 1, input.size(), input_.get());
  std::fflush(input_.get());
  std::rewind(input_.get());
  std::string program = BLAZON_PROGRAM;
  std::vector<char*> argv = {program.data()};
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);
  child_ = fork();
  if (child_ == 0) {
    dup2(fileno(input_.get()), STDIN_FILENO);
    dup2(fileno(output_.get()), STDOUT_FILENO);
    dup2(fileno(errors_.get()), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
}

BlazonProcess::~BlazonProcess() {
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
}

std::string BlazonProcess::Environment() const {
  std::ifstream in(absl::StrCat("/proc/", child_, "/environ"), std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void BlazonProcess::Signal(int signal) { kill(child_, signal); }

Finished BlazonProcess::Wait() {
  int status = 0;
  waitpid(child_, &status, 0);
  child_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), Contents(output_.get()),
          Contents(errors_.get())};
}

std::string BlazonProcess::WaitForErrors(std::string_view text, int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < end) {
    std::string errors = Contents(errors_.get());
    if (errors.find(text) != std::string::npos) return errors;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return "";
}

Finished RunBlazon(const std::vector<std::string>& arguments, const std::string& input) {
  return BlazonProcess(arguments, input).Wait();
}

Finished InterruptBlazon(const std::vector<std::string>& arguments, int signal, int milliseconds) {
  BlazonProcess process(arguments);
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  process.Signal(signal);
  return process.Wait();
}

}  // namespace blazon::service
