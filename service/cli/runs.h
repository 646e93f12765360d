// Training runs by name: each a folder side by side under one.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace blazon::service::cli {

struct Context;

struct RunName {
  std::string name = "run1";
  std::filesystem::path runs = "runs";
};

// Adds --run and --runs to `command`.
void AddRunName(CLI::App& command, RunName& run);

// kInvalidArgument: the name is empty, has a slash, or begins with a dot.
absl::StatusOr<std::filesystem::path> RunFolder(const RunName& run);

// Makes the run's result the language model, or the adapter, of `context`. kNotFound: no such run, or one without a
// result; the message lists those that there are. kInvalidArgument: as above, or --adapter is given too.
absl::Status UseRun(const RunName& run, Context& context);

}  // namespace blazon::service::cli
