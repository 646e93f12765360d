// blazon train sft: fine-tunes the language model on prompts and what shall follow them.
#include "service/training/train_sft.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"

namespace blazon::service::cli {
namespace {

int RunTrainSft(TrainSftOptions options, Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("training runs in this process; leave out --server"), kWrongUsage);
  if (!context.models.adapter.empty())
    return Fail(absl::InvalidArgumentError("training starts from the model itself; leave out --adapter"), kWrongUsage);
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return Fail(models.status());
  absl::StatusOr<std::filesystem::path> language = (*models)->LanguageModelFile();
  if (!language.ok()) return Fail(language.status());
  options.model = *language;
  options.tokenizer = context.models.tokenizer;
  options.base_name = (*models)->Info(ModelRole::kLanguage).name;
  if (context.models.dtype != "auto") options.dtype = context.models.dtype;
  if (context.seed) options.seed = options.lora.seed = *context.seed;
  options.command = context.command_line;
  options.log = [](const std::string& line) { std::cerr << line << std::endl; };
  options.stop = [] { return Interrupted(); };
  if (absl::Status status = TrainSft(options); !status.ok()) return Fail(status);
  std::cout << options.output.string() << std::endl;
  return kDone;
}

}  // namespace

void AddTrainSft(CLI::App& train, Context& context) {
  auto options = std::make_shared<TrainSftOptions>();
  CLI::App* command = train.add_subcommand("sft", "Fine-tune the language model on prompts and what shall follow them");
  command->add_option("--data", options->data, "Records to learn, as JSON Lines; may be given more than once")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", options->output, "The folder to write the adapter into, in PEFT's layout")
      ->type_name("DIR")
      ->required();
  command->add_option("--eval", options->evaluation, "Held-out records, measured and never learned")->type_name("FILE");
  command
      ->add_option("--eval-every", options->evaluate_every, "Steps between measurements; 0: at the start and the end")
      ->capture_default_str();
  command
      ->add_option("--eval-texts", options->evaluate_texts,
                   "Of the held-out texts the model also writes so many itself (greedy), and exact matches are counted")
      ->capture_default_str();
  command->add_option("--eval-tokens", options->evaluate_tokens, "Tokens of such a text at most")
      ->capture_default_str();
  command->add_option("--eval-print", options->print_evaluated, "Of such texts so many are shown")
      ->capture_default_str();
  command->add_option("--rank", options->lora.rank, "Rank of the adapter")->capture_default_str();
  command->add_option("--alpha", options->lora.alpha, "The update is scaled by alpha / rank")->capture_default_str();
  command->add_flag("--rslora", options->lora.rank_stabilised, "Scale by alpha / sqrt(rank) instead");
  command->add_option("--lora-dropout", options->lora.dropout, "Share of an update's inputs dropped in training")
      ->capture_default_str();
  command
      ->add_option("--targets", options->lora.targets,
                   "Linear layers that get an update, by name (q_proj,v_proj); default: all but the output matrix")
      ->delimiter(',')
      ->type_name("NAME,...");
  command->add_option("--epochs", options->epochs, "Passes over the records")->capture_default_str();
  command->add_option("--steps", options->steps, "Steps, instead of passes")->capture_default_str();
  command->add_option("--batch", options->batch, "Records in a step")->capture_default_str();
  command
      ->add_option("--row-tokens", options->row_tokens,
                   "Tokens computed at once; bounds the memory (about 1.5 MB a token for SmolLM2-135M) and the "
                   "longest record, and changes nothing else")
      ->capture_default_str();
  command->add_option("--learning-rate", options->learning_rate, "At the peak")->capture_default_str();
  command->add_option("--warm-up", options->warm_up, "Share of the steps over which the rate rises; then a cosine")
      ->capture_default_str();
  command->add_option("--weight-decay", options->weight_decay, "Of AdamW")->capture_default_str();
  command->add_option("--clip", options->clip_norm, "Gradients' norm at most; 0: any")->capture_default_str();
  command->add_flag("!--no-end-token", options->end_token, "Completions do not end with the end of text");
  command->add_flag("--skip-long", options->skip_long, "Leave out records over --row-tokens, and say how many");
  command->add_option("--save-every", options->save_every, "Steps between saves; 0: at the end")->capture_default_str();
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
learned tokens divided by their number. The model's own weights stay as they are (--dtype fp32 or bf16); the adapter's
are fp32. Ctrl-C ends training and keeps what there is. --seed decides what is drawn.

Examples:
  blazon train sft --data train.jsonl --eval held_out.jsonl --eval-texts 100 --out my-adapter
  blazon generate --adapter my-adapter --temperature 0 "The capital of France is")");
  command->callback(
      [options, &context] { context.run = [options, &context] { return RunTrainSft(*options, context); }; });
}

}  // namespace blazon::service::cli
