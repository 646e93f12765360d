#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "service/cli/command_line.h"

int main(int argc, char** argv) {
  const int status = blazon::service::cli::RunCommandLine(argc, argv);
#ifndef __SANITIZE_ADDRESS__  // which looks for leaks at the end
  // Without the destructors of LibTorch's static objects, which take a tenth of the shortest command's time.
  std::cout.flush();
  std::fflush(nullptr);
  _exit(status);
#endif
  return status;
}
