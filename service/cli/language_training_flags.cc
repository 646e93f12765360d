#include "service/cli/language_training_flags.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "service/cli/context.h"
#include "service/cli/interrupt.h"
#include "service/cli/training_processes.h"

namespace blazon::service::cli {

void AddLanguageTrainingOptions(CLI::App& command, LanguageTrainingOptions& options, LanguageTrainingFlags& flags) {
  TrainerOptions& trainer = options.trainer;
  command.add_option("--rank", options.lora.rank, "Rank of the adapter")->capture_default_str();
  command.add_option("--alpha", options.lora.alpha, "The update is scaled by alpha / rank")->capture_default_str();
  command.add_flag("--half", options.half, "Write the adapter in fp16: half the size, and nearly the same");
  command.add_flag("--rslora", options.lora.rank_stabilised, "Scale by alpha / sqrt(rank) instead");
  command.add_option("--lora-dropout", options.lora.dropout, "Share of an update's inputs dropped in training")
      ->capture_default_str();
  command
      .add_option("--targets", options.lora.targets,
                  "Linear layers that get an update, by name (q_proj,v_proj); default: all but the output matrix")
      ->delimiter(',')
      ->type_name("NAME,...");
  command
      .add_option("--row-tokens", options.row_tokens,
                  "Tokens computed at once; bounds the memory and changes nothing else; a record may not be longer")
      ->capture_default_str();
  command.add_flag("--recompute", options.recompute,
                   "Compute layers again for their gradients instead of keeping what they computed: less memory");
  command.add_option("--learning-rate", trainer.learning_rate, "At the peak")->capture_default_str();
  command.add_option("--optimizer", flags.optimizer, "adamw, sgd or muon")->capture_default_str();
  command
      .add_option("--schedule", flags.schedule,
                  "How the rate falls after the warm-up: cosine, linear, constant, or wsd (the last fifth)")
      ->capture_default_str();
  command.add_option("--warm-up", trainer.schedule.warm_up, "Share of the steps over which the rate rises")
      ->capture_default_str();
  command.add_option("--floor", trainer.schedule.floor, "Share of the peak rate that the schedule ends at")
      ->capture_default_str();
  command.add_option("--weight-decay", options.weight_decay, "Of matrices, decoupled")->capture_default_str();
  command.add_option("--clip", trainer.optimizer.clip_norm, "Gradients' norm at most; 0: any")->capture_default_str();
  command.add_option("--save-every", trainer.save_every, "Steps between checkpoints; 0: at the end and when stopped")
      ->capture_default_str();
  command.add_option("--keep", trainer.keep, "Checkpoints that stay, beside the one with the lowest held-out loss")
      ->capture_default_str();
  command.add_option("--eval-every", trainer.evaluate_every, "Steps between measurements; 0: at the start and the end")
      ->capture_default_str();
  command.add_flag("--best", trainer.finish_with_best, "The result is what had the lowest held-out loss");
  command.add_option("--print-every", trainer.print_every, "Steps between lines of progress; 0: every 5 seconds")
      ->capture_default_str();
  command.add_option("--sample-every", trainer.sample_every, "Steps between texts that the model writes; 0: never")
      ->capture_default_str();
  command.add_option("--sample-prompt", options.sample_prompt, "What it writes on from")->type_name("TEXT");
  command.add_option("--sample-tokens", options.sample_tokens, "Tokens of such a text at most")->capture_default_str();
  command.add_flag("--dry-run", trainer.dry_run, "Read the data, say what would be done, and stop");
  command.add_flag("--overfit", trainer.overfit,
                   "A check: every step is the first one's data; fails unless the loss falls below 0.1");
}

void AddPreferenceOptions(CLI::App& command, LanguageTrainingOptions& options, std::vector<std::filesystem::path>& data,
                          std::vector<std::filesystem::path>& evaluation) {
  TrainerOptions& trainer = options.trainer;
  trainer.steps = 0;
  command.add_option("--data", data, "What to learn from, as JSON Lines; may be given more than once")
      ->type_name("FILE")
      ->required();
  command.add_option("--eval", evaluation, "Held-out lines of the same kind, measured and never learned")
      ->type_name("FILE");
  command.add_option("--out", trainer.folder, "The run's folder: the result, checkpoints and curves")
      ->type_name("DIR")
      ->required();
  command.add_option("--steps", trainer.steps, "Steps, instead of passes; when a finished run goes on, so many more");
  command.add_option("--restore", trainer.restore, "Where to begin: fresh, latest, or a checkpoint's folder")
      ->type_name("fresh|latest|DIR")
      ->capture_default_str();
  command.add_flag("--overwrite", trainer.overwrite,
                   "With --restore fresh: let the run that the folder holds go, once a new checkpoint is written");
  command.add_option("--batch", options.batch, "Lines in a step")->capture_default_str();
}

absl::Status FinishLanguageTraining(Context& context, const LanguageTrainingFlags& flags,
                                    LanguageTrainingOptions& options) {
  if (!context.server.empty()) return absl::InvalidArgumentError("training runs in this process; leave out --server");
  if (!context.models.adapter.empty() && !flags.takes_adapter)
    return absl::InvalidArgumentError("training starts from the model itself; leave out --adapter");
  options.start_adapter = context.models.adapter;
  const auto optimizer = language::ParseOptimizer(flags.optimizer);
  if (!optimizer.ok()) return optimizer.status();
  const auto schedule = language::ParseSchedule(flags.schedule);
  if (!schedule.ok()) return schedule.status();
  options.trainer.optimizer.kind = *optimizer;
  options.trainer.schedule.kind = *schedule;
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return models.status();
  absl::StatusOr<std::filesystem::path> language = (*models)->LanguageModelFile();
  if (!language.ok()) return language.status();
  options.model = *language;
  options.tokenizer = context.models.tokenizer;
  options.base_name = (*models)->Info(ModelRole::kLanguage).name;
  if (context.models.dtype != "auto") options.dtype = context.models.dtype;
  if (context.seed) options.trainer.seed = options.lora.seed = *context.seed;
  options.command = context.command_line;
  options.trainer.log = [](const std::string& line) { std::cerr << line << std::endl; };
  options.trainer.stop = [] { return Interrupted(); };
  return absl::OkStatus();
}

int RunLanguageTraining(Context& context, const LanguageTrainingFlags& flags, LanguageTrainingOptions& options,
                        const std::function<absl::Status()>& train) {
  const auto usage = [](const absl::Status& status) { return absl::IsInvalidArgument(status) ? kWrongUsage : kFailed; };
  const auto processes = TrainingProcesses::Start(context, flags.processes);
  if (!processes.ok()) return Fail(processes.status(), usage(processes.status()));
  if (absl::Status status = FinishLanguageTraining(context, flags, options); !status.ok())
    return Fail((*processes)->Finish(status), usage(status));
  options.trainer.group = (*processes)->group();
  options.trainer.log = (*processes)->Log();
  if (absl::Status status = (*processes)->Finish(train()); !status.ok()) return Fail(status);
  if ((*processes)->first()) std::cout << options.trainer.folder.string() << std::endl;
  return kDone;
}

}  // namespace blazon::service::cli
