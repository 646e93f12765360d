// How OpenMP's threads wait, chosen before they exist.
//
// They spin at the end of each parallel loop, and a token takes hundreds of them: with more threads in the process than
// cores, or beside another busy program, everything is then up to five times slower. libgomp reads what it shall do
// instead when it is loaded, so the program has to be started with that in its environment.
#include <unistd.h>

#include <climits>
#include <cstring>

namespace {

constexpr char kPassive[] = "OMP_WAIT_POLICY=PASSIVE";
constexpr int kMostVariables = 4096;

bool Names(const char* variable, const char* name) {
  const size_t length = std::strlen(name);
  return std::strncmp(variable, name, length) == 0 && variable[length] == '=';
}

// Starts the program again with kPassive, unless the user has chosen. When that fails all goes on, only slower. It runs
// before any library's constructors: what is paid twice is the loading of the libraries, not LibTorch's setting up.
// C++'s and libc's state is not there yet; only what needs none is called.
#ifndef __SANITIZE_ADDRESS__
void StartWithPassiveWaiting(int, char** arguments, char** environment) {
  static char* extended[kMostVariables];
  static char program[PATH_MAX];
  int count = 0;
  for (; environment[count] != nullptr; ++count) {
    if (count + 2 >= kMostVariables) return;
    if (Names(environment[count], "OMP_WAIT_POLICY") || Names(environment[count], "GOMP_SPINCOUNT")) return;
    extended[count] = environment[count];
  }
  extended[count] = const_cast<char*>(kPassive);
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length <= 0) return;
  execve(program, arguments, extended);
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const kBeforeLibraries)(int, char**,
                                                                             char**) = StartWithPassiveWaiting;
#endif

}  // namespace
