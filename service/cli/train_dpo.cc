// blazon train dpo: the language model learns which of two completions people prefer.
#include "service/training/train_dpo.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/language_training_flags.h"
#include "service/cli/training_processes.h"

namespace blazon::service::cli {
namespace {

struct DpoFlags {
  TrainDpoOptions options;
  LanguageTrainingFlags training = {.takes_adapter = true};
};

int RunTrainDpo(const DpoFlags& flags, Context& context) {
  TrainDpoOptions options = flags.options;
  return RunLanguageTraining(context, flags.training, options.common, [&] { return TrainDpo(options); });
}

}  // namespace

void AddTrainDpo(CLI::App& train, Context& context) {
  auto flags = std::make_shared<DpoFlags>();
  TrainDpoOptions& options = flags->options;
  options.common.trainer.learning_rate = 5e-5;
  CLI::App* command = train.add_subcommand("dpo", "Teach the language model which of two completions is preferred");
  AddPreferenceOptions(*command, options.common, options.data, options.evaluation);
  command->add_option("--epochs", options.epochs, "Passes over the pairs")->capture_default_str();
  command->add_option("--beta", options.beta, "How dear it is to leave the reference")->capture_default_str();
  command
      ->add_option("--label-smoothing", options.label_smoothing,
                   "Share of the pairs that are taken to be the wrong way round, 0 to below 0.5")
      ->capture_default_str();
  command->add_flag("--skip-long", options.skip_long, "Leave out pairs over --row-tokens, and say how many");
  command->add_flag("--full", options.common.all_weights, "Train all weights instead of an adapter");
  AddProcessesOption(*command, flags->training.processes);
  AddLanguageTrainingOptions(*command, options.common, flags->training);
  command->footer(
      R"(A line of the data is one of
  {"prompt": "The sky is", "chosen": " blue.", "rejected": " a kind of cheese."}
  {"messages": [{"role": "user", "content": "..."}], "chosen": "...", "rejected": "..."}
The loss is that of direct preference optimisation: -log sigmoid of the margin, beta times how much more the chosen
completion has gained on the reference than the rejected one has. The reference is the model without the adapter, or
with the one that --adapter names, from which training then goes on. It is asked once; reference.safetensors in --out
keeps what it said. The log has the share of pairs with a margin above 0 (accuracy) and the mean margin. The same
command given again goes on with a run that was cut off, bit for bit.

Examples:
  blazon train dpo --data pairs.jsonl --eval held_out.jsonl --out my-preferences
  blazon generate --adapter my-preferences "The sky is"
  blazon train dpo --adapter my-sft --data pairs.jsonl --out my-preferences)");
  command->callback([flags, &context] {
    context.takes_processes = true;
    context.run = [flags, &context] { return RunTrainDpo(*flags, context); };
  });
}

}  // namespace blazon::service::cli
