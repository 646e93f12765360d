// blazon models: which models there are, and whether they are loaded.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string_view>

#include "absl/strings/str_format.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"

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
    std::cout << absl::StrFormat("%-10s %-10s %-26s %s\n", KindName(model.kind()), StateName(model.state()),
                                 model.name(), model.source());
  }
  return kDone;
}

}  // namespace

void AddModels(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("models", "List the models");
  command->footer(R"(Examples:
  blazon models
  blazon models --json --server 127.0.0.1:50051)");
  command->callback([&context] { context.run = [&context] { return RunModels(context); }; });
}

}  // namespace blazon::service::cli
