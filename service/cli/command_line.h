// The program `blazon`: parses the command line, a TOML file and the environment, and runs one command.
#pragma once

namespace blazon::service::cli {

// Exit statuses of the process.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUsage = 2;
inline constexpr int kNoMatch = 3;        // a search found nothing, or the answer was refused
inline constexpr int kInterrupted = 130;  // Ctrl-C, as shells count it

int RunCommandLine(int argc, char** argv);

}  // namespace blazon::service::cli
