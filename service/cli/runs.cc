#include "service/cli/runs.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/cli/context.h"

namespace blazon::service::cli {

namespace fs = std::filesystem;

void AddRunName(CLI::App& command, RunName& run) {
  command.add_option("--run", run.name, "The run's name")->type_name("RUN")->capture_default_str();
  command.add_option("--runs", run.runs, "The folder that runs lie in")->type_name("RUNS")->capture_default_str();
}

absl::StatusOr<fs::path> RunFolder(const RunName& run) {
  if (run.name.empty() || run.name[0] == '.' || run.name.find('/') != std::string::npos ||
      run.name.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("--run is '", run.name, "'; it is a name without slashes that begins with no dot"));
  }
  return run.runs / run.name;
}

absl::Status UseRun(const RunName& run, Context& context) {
  const absl::StatusOr<fs::path> folder = RunFolder(run);
  if (!folder.ok()) return folder.status();
  std::error_code error;
  if (!context.server.empty()) return absl::InvalidArgumentError("--run is of this process; leave out --server");
  const auto has_result = [&](const fs::path& path) { return fs::exists(path / "run.json", error); };
  if (!has_result(*folder)) {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(run.runs, error)) {
      if (has_result(entry.path())) names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return absl::NotFoundError(absl::StrCat(folder->string(), " has no result of a training run; ",
                                            names.empty() ? absl::StrCat("there is none in ", run.runs.string())
                                                          : "there are " + absl::StrJoin(names, ", ")));
  }
  std::ifstream file(*folder / "run.json");
  const nlohmann::json note = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!note.is_object() || !note.value("model", nlohmann::json()).is_string())
    return absl::DataLossError(absl::StrCat((*folder / "run.json").string(), " is no note of a run"));
  if (note.value("trained", "") == "model") {
    if (!context.models.language_model.empty())
      return absl::InvalidArgumentError("--run names a model of its own; leave out --model");
    context.models.language_model = *folder;
    return absl::OkStatus();
  }
  if (!context.models.adapter.empty())
    return absl::InvalidArgumentError("--run names an adapter of its own; leave out --adapter");
  context.models.adapter = *folder;
  if (context.models.language_model.empty()) context.models.language_model = note["model"].get<std::string>();
  return absl::OkStatus();
}

}  // namespace blazon::service::cli
