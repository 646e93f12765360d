// blazon models export: writes a model in another program's format.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include "service/checkpoint/gguf_export.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/hub/cache.h"

namespace blazon::service::cli {
namespace {

struct ExportFlags {
  std::filesystem::path model, gguf;
  GgufExportOptions options;
};

int RunExport(const ExportFlags& flags, Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("models are written by this process; leave out --server"), kWrongUsage);
  absl::StatusOr<std::filesystem::path> model = hub::FindModel(flags.model, hub::Cache::FromEnvironment(std::getenv));
  if (!model.ok()) return Fail(model.status());
  if (absl::Status status = ExportGguf(*model, flags.gguf, flags.options); !status.ok()) return Fail(status);
  std::cout << flags.gguf.string() << std::endl;
  return kDone;
}

}  // namespace

void AddModelsExport(CLI::App& models, Context& context) {
  auto flags = std::make_shared<ExportFlags>();
  CLI::App* command = models.add_subcommand("export", "Write a model as one GGUF file, for llama.cpp and its kin");
  command->add_option("path", flags->model, "A Hugging Face folder, a GGUF file, or a model that was pulled")
      ->required()
      ->type_name("PATH|REPO");
  command->add_option("--gguf", flags->gguf, "The file to write")->type_name("FILE")->required();
  command
      ->add_option("--encoding", flags->options.encoding,
                   "How matrices are kept: f32, f16, or q8_0: blocks of 32 bytes with a scale (default f16)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, GgufEncoding>{
              {"f32", GgufEncoding::kF32}, {"f16", GgufEncoding::kF16}, {"q8_0", GgufEncoding::kQ8_0}},
          CLI::ignore_case));
  command->add_option("--adapter", flags->options.adapter, "A LoRA adapter to add to the weights")->type_name("DIR");
  command->footer(
      R"(GPT-2, Llama (SmolLM2 is one), Mistral, Qwen2 and Qwen3 with byte-level BPE tokenizers can be written.

Examples:
  blazon models export runs/shakespeare --gguf shakespeare.gguf
  blazon models export models/smollm2-135m-instruct --adapter my_adapter --encoding q8_0 --gguf mine.gguf)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunExport(*flags, context); }; });
}

}  // namespace blazon::service::cli
