#include "service/cli/command_line.h"

int main(int argc, char** argv) { return blazon::service::cli::RunCommandLine(argc, argv); }
