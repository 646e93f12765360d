// blazon train finetune: the language model goes on learning from plain texts.
#include "service/training/train_finetune.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/language_training_flags.h"
#include "service/cli/runs.h"
#include "service/cli/training_processes.h"

namespace blazon::service::cli {
namespace {

struct FinetuneFlags {
  TrainFinetuneOptions options;
  LanguageTrainingFlags training;
  bool adapter = false;
  RunName run;
};

int RunTrainFinetune(const FinetuneFlags& flags, Context& context) {
  TrainFinetuneOptions options = flags.options;
  options.common.all_weights = !flags.adapter;
  const absl::StatusOr<std::filesystem::path> folder = RunFolder(flags.run);
  if (!folder.ok()) return Fail(folder.status(), kWrongUsage);
  options.common.trainer.folder = *folder;
  return RunLanguageTraining(context, flags.training, options.common, [&] { return TrainFinetune(options); });
}

}  // namespace

void AddTrainFinetune(CLI::App& train, Context& context) {
  auto flags = std::make_shared<FinetuneFlags>();
  TrainFinetuneOptions& options = flags->options;
  TrainerOptions& trainer = options.common.trainer;
  options.common.batch = 4;
  trainer.learning_rate = 1e-4;
  trainer.schedule.kind = language::ScheduleKind::kConstant;
  flags->training.schedule = "constant";
  trainer.save_every = 100;
  trainer.keep = 1;
  CLI::App* command = train.add_subcommand("finetune", "Fine-tune the language model on plain texts");
  command->add_option("data", options.data, "A text file, a folder of .txt and .md files, or with --column a CSV file")
      ->type_name("PATH")
      ->required();
  AddRunName(*command, flags->run);
  command
      ->add_option("--column", options.column, "The files are CSV with a header; each field of this column is a text")
      ->type_name("NAME");
  command->add_option("--eval", options.evaluation, "Held-out texts of the same kind, measured and never learned")
      ->type_name("PATH");
  command->add_flag("--lora", flags->adapter, "Train an adapter instead of all weights");
  command->add_option("--steps", trainer.steps, "Steps; when a finished run goes on, so many more")
      ->capture_default_str();
  command->add_option("--restore", trainer.restore, "Where to begin: fresh, latest, or a checkpoint's folder")
      ->type_name("fresh|latest|DIR")
      ->capture_default_str();
  command->add_flag("--overwrite", trainer.overwrite,
                    "With --restore fresh: let the run that the folder holds go, once a new checkpoint is written");
  command->add_option("--batch", options.common.batch, "Pieces of text in a step")->capture_default_str();
  command->add_option("--context", options.context, "Tokens of a piece")->capture_default_str();
  AddProcessesOption(*command, flags->training.processes);
  AddLanguageTrainingOptions(*command, options.common, flags->training);
  command->footer(
      R"(The result lies in RUNS/RUN: a Hugging Face folder of the model, or with --lora an adapter in PEFT's layout;
'generate --run RUN' writes with it. A run that was cut off, by Ctrl-C or by a crash, goes on to its end when the command
is given again, bit for bit as if nothing had happened; one that had ended takes --steps more. Ctrl-C saves. All of a
step's pieces are computed in rows of --row-tokens, so --batch may be as large as you like. With --dtype bf16 the model
computes in bf16, where the processor can; what is trained is kept, moved and written in fp32 all the same.

Examples:
  blazon train finetune shakespeare.txt --run bard --steps 200 --sample-every 50 --sample-prompt "ROMEO:"
  blazon generate --run bard --temperature 0.7 "ROMEO:"
  blazon train finetune reviews.csv --column text --lora --run reviews --learning-rate 2e-4)");
  command->callback([flags, &context] {
    context.takes_processes = true;
    context.run = [flags, &context] { return RunTrainFinetune(*flags, context); };
  });
}

}  // namespace blazon::service::cli
