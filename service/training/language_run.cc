#include "service/training/language_run.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/models/lstm.h"
#include "language/ops/recomputed_layers.h"
#include "service/training/held_memory.h"
#include "service/training/training_checkpoints.h"

namespace blazon::service {

absl::StatusOr<LoadedLanguageModel> LoadForTraining(const LanguageTrainingOptions& options) {
  if (options.dtype != "fp32" && options.dtype != "bf16")
    return absl::InvalidArgumentError(absl::StrCat("--dtype is ", options.dtype, "; training takes fp32 or bf16"));
  absl::StatusOr<LoadedLanguageModel> loaded = LoadLanguageModel(
      options.model, {.dtype = options.dtype == "bf16" ? language::Dtype::kBf16 : language::Dtype::kFp32,
                      .tokenizer = options.tokenizer});
  if (!loaded.ok()) return loaded;
  if (options.recompute && dynamic_cast<const language::LstmModel*>(loaded->model.get()) != nullptr)
    return absl::InvalidArgumentError("--recompute is for transformers, and the model is an LSTM; leave it out");
  if (!loaded->warning.empty()) options.trainer.log(loaded->warning);
  return loaded;
}

LanguageTaskOptions TaskOptions(const LanguageTrainingOptions& options) {
  return {.batch = options.batch,
          .row_tokens = options.row_tokens,
          .recompute = options.recompute,
          .sample_prompt = options.sample_prompt,
          .sample_tokens = options.sample_tokens};
}

absl::StatusOr<TrainedModel> MakeTrained(const LanguageTrainingOptions& options, const LoadedLanguageModel& loaded) {
  if (!(options.weight_decay >= 0)) return absl::InvalidArgumentError("--weight-decay must be 0 or more");
  std::shared_ptr<const language::LanguageModel> masters;
  if (options.all_weights && options.dtype == "bf16") {
    absl::StatusOr<LoadedLanguageModel> exact =
        LoadLanguageModel(options.model, {.dtype = language::Dtype::kFp32, .tokenizer = options.tokenizer});
    if (!exact.ok()) return exact.status();
    masters = std::move(exact->model);
  }
  return TrainedModel::Create(loaded, {.all_weights = options.all_weights,
                                       .lora = options.lora,
                                       .start = options.start_adapter,
                                       .masters = std::move(masters),
                                       .half = options.half,
                                       .weight_decay = options.weight_decay});
}

absl::Status RunAndWrite(const LanguageTrainingOptions& options, TrainingTask& task, const TrainedModel& trained,
                         const std::optional<OverlapReport>& overlap) {
  if (overlap) options.trainer.log(DescribeOverlap(*overlap));
  const language::RecomputeGuard recompute(options.recompute);
  Trainer trainer(options.trainer, task);
  if (absl::Status status = trainer.Run(); !status.ok()) return status;
  if (options.trainer.dry_run || !DataParallel(options.trainer.group).first()) return absl::OkStatus();
  options.trainer.log(DescribeHeldMemory());
  const std::filesystem::path& folder = options.trainer.folder;
  absl::Status status = trained.Write(folder, options.model, options.base_name,
                                      {{"command", options.command}, {"step", absl::StrCat(trainer.step())}});
  if (!status.ok()) return status;
  std::error_code error;
  nlohmann::json run = {{"model", std::filesystem::absolute(options.model, error).string()},
                        {"trained", options.all_weights ? "model" : "adapter"},
                        {"steps", trainer.step()},
                        {"command", options.command}};
  if (overlap) {
    run["overlap"] = {{"words", overlap->n},
                      {"runs", overlap->grams},
                      {"shared_runs", overlap->shared},
                      {"texts", overlap->texts},
                      {"mostly_shared_texts", overlap->tainted}};
  }
  return WriteTextFile(folder / "run.json", run.dump(2) + "\n");
}

}  // namespace blazon::service
