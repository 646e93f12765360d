// blazon train sft: fine-tunes the language model on prompts and what shall follow them.
#include "service/training/train_sft.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/language_training_flags.h"
#include "service/cli/training_processes.h"

namespace blazon::service::cli {
namespace {

struct SftFlags {
  TrainSftOptions options;
  LanguageTrainingFlags training = {.takes_adapter = true};
  bool resume = false;
};

int RunTrainSft(const SftFlags& flags, Context& context) {
  TrainSftOptions options = flags.options;
  options.common.trainer.restore = flags.resume ? "latest" : "fresh";
  options.common.trainer.overwrite = true;
  return RunLanguageTraining(context, flags.training, options.common, [&] { return TrainSft(options); });
}

}  // namespace

void AddTrainSft(CLI::App& train, Context& context) {
  auto flags = std::make_shared<SftFlags>();
  TrainSftOptions& options = flags->options;
  options.common.trainer.steps = 0;
  CLI::App* command = train.add_subcommand("sft", "Fine-tune the language model on prompts and what shall follow them");
  command->add_option("--data", options.data, "Records to learn, as JSON Lines; may be given more than once")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--out", options.common.trainer.folder,
                   "The folder for the adapter in PEFT's layout (with --full: the model), checkpoints and curves")
      ->type_name("DIR")
      ->required();
  command->add_flag("--full", options.common.all_weights, "Train all weights instead of an adapter");
  command->add_flag("--resume", flags->resume, "Go on from the newest checkpoint in --out, if there is one");
  command->add_option("--eval", options.evaluation, "Held-out records, measured and never learned")->type_name("FILE");
  command
      ->add_option("--eval-texts", options.evaluate_texts,
                   "Of the held-out texts the model also writes so many itself (greedy), and exact matches are counted")
      ->capture_default_str();
  command->add_option("--eval-tokens", options.evaluate_tokens, "Tokens of such a text at most")->capture_default_str();
  command->add_option("--eval-print", options.print_evaluated, "Of such texts so many are shown")
      ->capture_default_str();
  command->add_option("--epochs", options.epochs, "Passes over the records")->capture_default_str();
  command->add_option("--steps", options.common.trainer.steps, "Steps, instead of passes");
  command->add_option("--batch", options.common.batch, "Records in a step")->capture_default_str();
  command->add_flag("!--no-end-token", options.end_token, "Completions do not end with the end of text");
  command->add_flag("--skip-long", options.skip_long, "Leave out records over --row-tokens, and say how many");
  AddProcessesOption(*command, flags->training.processes);
  AddLanguageTrainingOptions(*command, options.common, flags->training);
  command->footer(
      R"(A line of the data is one of
  {"prompt": "The capital of France is", "completion": " Paris."}
  {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
  {"prompt": "A passage ...", "branches": [{"prompt": "Q: ...\nA:", "completion": " ..."}, ...]}
  {"messages": [...], "branches": [{"messages": [...]}, ...]}
Only completions and the assistant's turns are learned. A prompt's text is followed by its completion's as they stand:
give the space between them to one of the two. Messages are laid out by the model's chat template. Branches are several
questions about one text: each is learned as a record of its own would be, but what they begin with is computed once,
which is as many times faster as the text is longer than the questions.

Records of a step are computed together without padding; each sees itself alone. A step's loss is the sum over its
learned tokens divided by their number. The model computes in --dtype fp32 or bf16; what is trained is kept, moved and
written in fp32 all the same. With --adapter training goes on from that one, whose rank and layers stay. Ctrl-C ends training and
keeps what there is. --seed decides what is drawn. log.csv and loss.svg in the folder show how it went. A run that was
killed goes on with --resume as if it had not been.

Examples:
  blazon train sft --data train.jsonl --eval held_out.jsonl --eval-texts 100 --out my-adapter
  blazon train sft --adapter my-adapter --data more.jsonl --out my-second-adapter
  blazon generate --adapter my-adapter --temperature 0 "The capital of France is")");
  command->callback([flags, &context] {
    context.takes_processes = true;
    context.run = [flags, &context] { return RunTrainSft(*flags, context); };
  });
}

}  // namespace blazon::service::cli
