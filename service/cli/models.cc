// blazon models: which models there are, and whether they are loaded; and what a checkpoint is.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/strings/str_format.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/download_progress.h"
#include "service/hub/cache.h"
#include "service/inspect.h"

namespace blazon::service::cli {
namespace {

std::string_view KindName(v1::ModelKind kind) {
  switch (kind) {
    case v1::MODEL_KIND_LANGUAGE:
      return "language";
    case v1::MODEL_KIND_EMBEDDER:
      return "embedder";
    case v1::MODEL_KIND_CAPTIONER:
      return "captioner";
    default:
      return "unknown";
  }
}

std::string_view StateName(v1::ModelState state) {
  switch (state) {
    case v1::MODEL_STATE_AVAILABLE:
      return "available";
    case v1::MODEL_STATE_LOADED:
      return "loaded";
    case v1::MODEL_STATE_FAILED:
      return "failed";
    default:
      return "missing";
  }
}

int RunModels(Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::ListModelsResponse> response = (*backend)->ListModels();
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
    return kDone;
  }
  for (const v1::Model& model : response->models()) {
    std::cout << absl::StrFormat("%-10s %-10s %-26s %s%s\n", KindName(model.kind()), StateName(model.state()),
                                 model.name(), model.source(), model.sees_pictures() ? "  (sees pictures)" : "");
  }
  return kDone;
}

nlohmann::json ToJson(const CheckpointReport& report) {
  nlohmann::json memory = nlohmann::json::array();
  for (const CheckpointReport::Memory& each : report.memory) {
    memory.push_back(
        {{"dtype", each.dtype}, {"weight_bytes", each.weight_bytes}, {"bytes_per_token", each.bytes_per_token}});
  }
  return {{"format", report.format},
          {"model_type", report.model_type},
          {"name", report.name},
          {"sees_pictures", report.sees_pictures},
          {"tokens_per_tile", report.tokens_per_tile},
          {"runs", report.problem.empty()},
          {"problem", report.problem},
          {"parameters", report.parameters},
          {"tensors", report.tensors},
          {"files", report.files},
          {"weight_bytes", report.weight_bytes},
          {"formats", report.formats},
          {"width", report.width},
          {"layers", report.layers},
          {"vocabulary_size", report.vocabulary_size},
          {"context_length", report.context_length},
          {"memory", memory}};
}

int RunInspect(const Context& context, const std::filesystem::path& path) {
  const absl::StatusOr<std::filesystem::path> found = hub::FindModel(path, hub::Cache::FromEnvironment(std::getenv));
  if (!found.ok()) return Fail(found.status());
  absl::StatusOr<CheckpointReport> report = InspectCheckpoint(*found);
  if (!report.ok()) return Fail(report.status());
  // A folder of the hub's cache is named after a commit.
  if (*found != path && report->name == found->filename().string()) report->name = path.string();
  if (context.json) {
    std::cout << ToJson(*report).dump() << "\n";
    return report->problem.empty() ? kDone : kFailed;
  }
  const auto line = [](std::string_view name, const std::string& value) {
    std::cout << absl::StrFormat("%-12s %s\n", name, value);
  };
  line("name", report->name);
  line("format", absl::StrFormat("%s, %s in %d file%s", report->format, ByteSize(report->weight_bytes), report->files,
                                 report->files == 1 ? "" : "s"));
  line("family", report->model_type);
  line("runs", report->problem.empty() ? "yes" : "no: " + report->problem);
  line("parameters", absl::StrFormat("%.1f million in %d tensors", report->parameters / 1e6, report->tensors));
  for (const auto& [format, count] : report->formats) {
    line("", absl::StrFormat("%-6s %5.1f %%", format, 100.0 * static_cast<double>(count) / report->parameters));
  }
  if (report->problem.empty()) {
    line("shape", absl::StrFormat("%d layers of width %d, %d tokens in the vocabulary, context of %d tokens",
                                  report->layers, report->width, report->vocabulary_size, report->context_length));
  }
  if (report->tokens_per_tile > 0) {
    line("pictures",
         absl::StrFormat("yes, %d tokens for each, or for each tile of one that is split", report->tokens_per_tile));
  } else {
    line("pictures", report->sees_pictures ? "yes" : "no");
  }
  for (const CheckpointReport::Memory& each : report->memory) {
    line("memory", absl::StrFormat("%-5s %s%s", each.dtype, ByteSize(each.weight_bytes),
                                   each.bytes_per_token > 0 ? absl::StrFormat(", and %s for each token of a sequence",
                                                                              ByteSize(each.bytes_per_token))
                                                            : std::string()));
  }
  return report->problem.empty() ? kDone : kFailed;
}

}  // namespace

void AddModels(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "models", "List the models, say what a checkpoint is, fetch one, or write it in another format");
  command->footer(R"(Examples:
  blazon models
  blazon models --json --server 127.0.0.1:50051
  blazon models inspect ~/models/gemma-2-2b-it
  blazon models pull HuggingFaceTB/SmolLM2-360M-Instruct
  blazon models export ~/models/gpt2 --gguf gpt2.gguf)");
  command->require_subcommand(0, 1);
  CLI::App* inspect = command->add_subcommand(
      "inspect", "Say what a checkpoint is, whether it runs here, and what memory it takes; reads no weights");
  auto path = std::make_shared<std::filesystem::path>();
  inspect->add_option("path", *path, "A Hugging Face folder, a GGUF file, or a model that was pulled")
      ->required()
      ->type_name("PATH|REPO");
  inspect->callback([&context, path] { context.run = [&context, path] { return RunInspect(context, *path); }; });
  AddModelsAdapters(*command, context);
  AddModelsExport(*command, context);
  AddModelsPull(*command, context);
  command->callback([&context, command] {
    if (command->get_subcommands().empty()) context.run = [&context] { return RunModels(context); };
  });
}

}  // namespace blazon::service::cli
