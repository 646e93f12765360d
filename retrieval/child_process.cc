#include "retrieval/child_process.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace blazon::retrieval {
namespace {

constexpr size_t kErrorBytes = 4096;

absl::Status SystemError(const std::string& action) {
  return absl::InternalError(absl::StrCat("cannot ", action, ": ", std::strerror(errno)));
}

// Fails for what a converter of documents has no use for: sockets, other processes, tracing. The rest is allowed.
// (seccomp's classic BPF: linux/Documentation/userspace-api/seccomp_filter.rst.)
bool ForbidNetworkAndProcesses() {
  constexpr auto load = [](size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
  };
  constexpr auto deny = [](uint32_t call, uint32_t result) {
    return std::array<sock_filter, 2>{
        {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | result)}};
  };
  std::array<sock_filter, 64> program{};
  unsigned short size = 0;
  const auto add = [&](const auto&... statements) { ((program[size++] = statements), ...); };
  add(load(offsetof(seccomp_data, arch)), sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), load(offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),  // the x32 calls
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  for (const long call : {SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_ptrace, SYS_process_vm_readv,
                          SYS_process_vm_writev, SYS_fork, SYS_vfork, SYS_kill, SYS_unshare, SYS_setns, SYS_mount,
                          SYS_io_uring_setup, SYS_bpf, SYS_userfaultfd}) {
    const auto pair = deny(static_cast<uint32_t>(call), EPERM);
    add(pair[0], pair[1]);
  }
  // Its arguments lie in memory, out of the filter's sight: with ENOSYS libc takes clone instead.
  const auto clone3 = deny(SYS_clone3, ENOSYS);
  add(clone3[0], clone3[1]);
  // Threads are allowed, processes are not.
  add(sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3), load(offsetof(seccomp_data, args[0])),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{size, program.data()};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool Limit(__rlimit_resource resource, rlim_t value) {
  const rlimit limit{value, value};
  return setrlimit(resource, &limit) == 0;
}

// In the child, between fork and exec: system calls alone.
[[noreturn]] void BecomeProgram(char* const* arguments, char* const* environment, int input, int output, int errors,
                                const ChildLimits& limits) {
  sigset_t none;
  sigemptyset(&none);
  bool good = sigprocmask(SIG_SETMASK, &none, nullptr) == 0;
  signal(SIGPIPE, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  good = good && setsid() >= 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  good = good && dup2(input, 0) == 0 && dup2(output, 1) == 1 && dup2(errors, 2) == 2;
  good = good && syscall(SYS_close_range, 3u, ~0u, 0u) == 0;
  good = good && chdir("/") == 0;
  good = good && Limit(RLIMIT_AS, limits.memory_bytes) &&
         Limit(RLIMIT_CPU, static_cast<rlim_t>(limits.processor_seconds)) && Limit(RLIMIT_FSIZE, 0) &&
         Limit(RLIMIT_CORE, 0) && Limit(RLIMIT_NOFILE, 64);
  good = good && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ForbidNetworkAndProcesses();
  if (good) execve(arguments[0], arguments, environment);
  _exit(127);
}

// `input` as a file in memory, at its start.
absl::StatusOr<int> MemoryFile(std::string_view input) {
  const int file = memfd_create("input", MFD_CLOEXEC);
  if (file < 0) return SystemError("make a file in memory");
  for (size_t done = 0; done < input.size();) {
    const ssize_t count = write(file, input.data() + done, input.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      close(file);
      return SystemError("write a file in memory");
    }
    done += static_cast<size_t>(count);
  }
  lseek(file, 0, SEEK_SET);
  return file;
}

}  // namespace

std::optional<std::string> FindProgram(const std::string& name) {
  for (const char* folder : {"/usr/local/bin", "/usr/bin", "/bin"}) {
    std::string file = absl::StrCat(folder, "/", name);
    std::error_code error;
    if (access(file.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(file, error)) return file;
  }
  return std::nullopt;
}

absl::StatusOr<ChildOutput> RunChild(const std::vector<std::string>& arguments, std::string_view input,
                                     const ChildLimits& limits) {
  absl::StatusOr<int> input_file = MemoryFile(input);
  if (!input_file.ok()) return input_file.status();
  const absl::Cleanup close_input = [&] { close(*input_file); };
  int output[2] = {-1, -1}, errors[2] = {-1, -1};
  const auto shut = [](int& descriptor) {
    if (descriptor >= 0) close(descriptor);
    descriptor = -1;
  };
  const absl::Cleanup close_pipes = [&] {
    for (int* descriptor : {&output[0], &output[1], &errors[0], &errors[1]}) shut(*descriptor);
  };
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) return SystemError("make a pipe");
  // dup2 in the child must not meet one of 0 to 2.
  for (int* descriptor : {&*input_file, &output[1], &errors[1]}) {
    if (*descriptor > 2) continue;
    const int moved = fcntl(*descriptor, F_DUPFD_CLOEXEC, 3);
    if (moved < 0) return SystemError("copy a descriptor");
    close(*descriptor);
    *descriptor = moved;
  }

  std::vector<char*> argument_list, environment_list;
  for (const std::string& argument : arguments) argument_list.push_back(const_cast<char*>(argument.c_str()));
  argument_list.push_back(nullptr);
  std::vector<std::string> environment = {"LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin", "HOME=/nonexistent",
                                          "OMP_THREAD_LIMIT=1"};
  for (std::string& variable : environment) environment_list.push_back(variable.data());
  environment_list.push_back(nullptr);

  const pid_t child = fork();
  if (child < 0) return SystemError("start a process");
  if (child == 0) {
    BecomeProgram(argument_list.data(), environment_list.data(), *input_file, output[1], errors[1], limits);
  }
  shut(output[1]);
  shut(errors[1]);

  ChildOutput result;
  absl::Status status;
  const std::string& name = arguments.front();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(limits.wall_seconds);
  std::string buffer(1 << 16, '\0');
  while (status.ok() && (output[0] >= 0 || errors[0] >= 0)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd files[2] = {{output[0], POLLIN, 0}, {errors[0], POLLIN, 0}};
    const int ready = left <= 0 ? 0 : poll(files, 2, static_cast<int>(std::min<int64_t>(left, 60000)) + 1);
    if (ready < 0 && errno != EINTR) status = SystemError("wait for a process");
    if (left <= 0) {
      status = absl::ResourceExhaustedError(absl::StrCat(name, " took more than ", limits.wall_seconds, " seconds"));
    }
    if (ready <= 0) continue;
    for (int i = 0; i < 2; ++i) {
      int& descriptor = i == 0 ? output[0] : errors[0];
      if (descriptor < 0 || files[i].revents == 0) continue;
      const ssize_t count = read(descriptor, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        shut(descriptor);
        continue;
      }
      const std::string_view bytes(buffer.data(), static_cast<size_t>(count));
      if (i == 1) {
        result.errors += bytes.substr(0, kErrorBytes - std::min(kErrorBytes, result.errors.size()));
      } else if (result.output.size() + bytes.size() > limits.output_bytes) {
        status = absl::ResourceExhaustedError(
            absl::StrCat(name, " wrote more than the ", limits.output_bytes, " bytes that are allowed"));
      } else {
        result.output += bytes;
      }
    }
  }
  if (status.ok()) {  // it may have closed its pipes and go on
    const int handle = static_cast<int>(syscall(SYS_pidfd_open, child, 0u));
    const absl::Cleanup close_handle = [handle] {
      if (handle >= 0) close(handle);
    };
    pollfd ended{handle, POLLIN, 0};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    int ready = -1;
    do {
      ready = poll(&ended, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 3600000)));
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
      status = absl::ResourceExhaustedError(absl::StrCat(name, " took more than ", limits.wall_seconds, " seconds"));
    }
  }
  if (!status.ok()) kill(-child, SIGKILL);
  int ending = 0;
  rusage usage{};
  while (wait4(child, &ending, 0, &usage) < 0) {
    if (errno != EINTR) return SystemError("wait for a process");
  }
  if (!status.ok()) return status;
  if (WIFSIGNALED(ending)) {
    const int64_t seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec;
    if (WTERMSIG(ending) == SIGXCPU || (WTERMSIG(ending) == SIGKILL && seconds + 1 >= limits.processor_seconds)) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name, " took more than ", limits.processor_seconds, " seconds of processor time"));
    }
    return absl::AbortedError(
        absl::StrCat(name, " was ended by signal ", WTERMSIG(ending), " (", strsignal(WTERMSIG(ending)), ")"));
  }
  result.exit_status = WEXITSTATUS(ending);
  if (result.exit_status == 127 && result.errors.empty())
    return absl::InternalError(absl::StrCat(name, " could not be started"));
  return result;
}

}  // namespace blazon::retrieval
