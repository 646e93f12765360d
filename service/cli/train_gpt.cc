// blazon train gpt: trains a small language model from nothing on texts.
#include "service/training/train_gpt.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"
#include "service/cli/training_processes.h"

namespace blazon::service::cli {
namespace {

struct GptFlags {
  TrainGptOptions options;
  int processes = 1;
};

int RunTrainGpt(const GptFlags& flags, Context& context) {
  TrainGptOptions options = flags.options;
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("training runs in this process; leave out --server"), kWrongUsage);
  if (!context.models.language_model.empty() || !context.models.adapter.empty()) {
    return Fail(absl::InvalidArgumentError("this trains from nothing; leave out --model and --adapter, or tune a model "
                                           "that is there with 'train sft'"),
                kWrongUsage);
  }
  const auto processes = TrainingProcesses::Start(context, flags.processes);
  if (!processes.ok())
    return Fail(processes.status(), absl::IsInvalidArgument(processes.status()) ? kWrongUsage : kFailed);
  options.group = (*processes)->group();
  options.threads = context.models.threads;
  if (!context.models.tokenizer.empty()) options.tokenizer = context.models.tokenizer;
  options.dtype = context.models.dtype;
  if (context.seed) options.seed = *context.seed;
  options.command = context.command_line;
  options.log = (*processes)->Log();
  options.stop = [] { return Interrupted(); };
  if (absl::Status status = (*processes)->Finish(TrainGpt(options)); !status.ok()) return Fail(status);
  if ((*processes)->first()) std::cout << options.output.string() << std::endl;
  return kDone;
}

}  // namespace

void AddTrainGpt(CLI::App& train, Context& context) {
  auto flags = std::make_shared<GptFlags>();
  TrainGptOptions* const options = &flags->options;
  CLI::App* command = train.add_subcommand("gpt", "Train a small language model from nothing on texts");
  command->add_option("--data", options->data, "Text files, or folders of *.txt and *.md; may be given more than once")
      ->type_name("PATH")
      ->required();
  command->add_option("--out", options->output, "The folder to write the model into")->type_name("DIR")->required();
  command->add_option("--vocab-size", options->vocabulary_size, "Tokens at most, of word and bpe")
      ->capture_default_str();
  command->add_option("--blocks", options->blocks, "gpt2, modern (Llama's) or lstm")->capture_default_str();
  command->add_flag("--post-norm", options->post_norm,
                    "gpt2 with its norms behind the sums, as the first GPT had them");
  command
      ->add_option("--inputs", options->inputs,
                   "What a token is to the first block: learned, one-hot, or skip-gram (word2vec on the same text)")
      ->capture_default_str();
  command->add_flag("--freeze-inputs", options->freeze_inputs, "Skip-gram inputs stay as they are");
  command->add_option("--skip-gram-passes", options->skip_gram_passes, "Passes of skip-gram over the text")
      ->capture_default_str();
  command->add_option("--layers", options->network.layers, "Blocks")->capture_default_str();
  command->add_option("--heads", options->network.heads, "Attention heads of a block")->capture_default_str();
  command->add_option("--width", options->network.width, "Values of a token")->capture_default_str();
  command->add_option("--mlp-width", options->network.mlp_width, "Values within a block; 0: 4 * width, modern 8/3")
      ->capture_default_str();
  command->add_option("--context", options->network.context, "Tokens that the model sees")->capture_default_str();
  command->add_option("--dropout", options->network.dropout, "Share of values dropped in training")
      ->capture_default_str();
  command->add_flag("!--untied", options->network.tie_embeddings, "An output matrix apart from the embedding");
  command->add_option("--batch", options->batch, "Rows of --context tokens in a step")->capture_default_str();
  command->add_flag("--recompute", options->recompute,
                    "Compute blocks again for their gradients instead of keeping what they computed: less memory");
  AddProcessesOption(*command, flags->processes);
  command->add_option("--steps", options->steps, "Steps at most")->capture_default_str();
  command->add_option("--minutes", options->minutes, "End after so long; the schedule fits itself to it. 0: by steps")
      ->capture_default_str();
  command->add_option("--learning-rate", options->learning_rate, "At the peak")->capture_default_str();
  command->add_option("--warm-up", options->warm_up, "Share of the steps over which the rate rises; then a cosine")
      ->capture_default_str();
  command->add_option("--weight-decay", options->weight_decay, "Of matrices")->capture_default_str();
  command->add_option("--clip", options->clip_norm, "Gradients' norm at most; 0: any")->capture_default_str();
  command->add_option("--validation", options->validation, "Share of the tokens, at the end, that is held out")
      ->capture_default_str();
  command->add_option("--eval-every", options->evaluate_every, "Steps between measurements; 0: at the end")
      ->capture_default_str();
  command->add_option("--eval-windows", options->evaluate_windows, "Held-out rows that are measured; 0: all")
      ->capture_default_str();
  command->add_option("--sample-every", options->sample_every, "Steps between texts of the model's; 0: none")
      ->capture_default_str();
  command->add_option("--sample-tokens", options->sample_tokens, "Tokens of such a text")->capture_default_str();
  command->add_option("--sample-prompt", options->sample_prompt, "What such a text begins with");
  command->add_option("--sample-temperature", options->sample_temperature, "0: the most likely text")
      ->capture_default_str();
  command->add_flag("--overwrite", options->overwrite, "Replace a model that is there");
  command->footer(
      R"(--tokenizer says what a token is: byte, character (the default), word or bpe, learned from the texts; or it names a folder
that has a tokenizer. The result is a Hugging Face folder: 'generate --model DIR' serves it, and transformers loads it (as gpt2, llama, or with
--post-norm openai-gpt; an LSTM is Blazon's own). Kept are the weights of the measurement with the lowest held-out loss.
Inputs that stay as they are (one-hot, --freeze-inputs) have an output matrix of their own. The loss by step is in the folder
for TensorBoard too. --dtype bf16 multiplies matrices in bf16, where the processor can; weights, norms and sums stay fp32. Ctrl-C ends
training and keeps what there is. --seed decides what is drawn.

Examples:
  blazon train gpt --data bible.txt --out my-gpt --minutes 3
  blazon train gpt --data books/ --out my-llama --tokenizer bpe --vocab-size 4096 --blocks modern --steps 5000
  blazon train gpt --data bible.txt --out my-words --tokenizer word --vocab-size 2000 --inputs skip-gram
  blazon generate --model my-gpt --temperature 0.8 "In the beginning")");
  command->callback([flags, &context] {
    context.takes_processes = true;
    context.run = [flags, &context] { return RunTrainGpt(*flags, context); };
  });
}

}  // namespace blazon::service::cli
