// blazon train seq2seq: trains an encoder-decoder transformer from nothing on pairs of texts.
#include "service/training/train_seq2seq.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"

namespace blazon::service::cli {
namespace {

int RunTrainSeq2Seq(TrainSeq2SeqOptions options, const Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("training runs in this process; leave out --server"), kWrongUsage);
  if (!context.models.language_model.empty() || !context.models.adapter.empty())
    return Fail(absl::InvalidArgumentError("this trains from nothing; leave out --model and --adapter"), kWrongUsage);
  if (!context.models.tokenizer.empty()) options.tokenizer = context.models.tokenizer;
  if (context.seed) options.seed = *context.seed;
  options.command = context.command_line;
  options.log = [](const std::string& line) { std::cerr << line << std::endl; };
  options.stop = [] { return Interrupted(); };
  const absl::StatusOr<Seq2SeqScore> score = TrainSeq2Seq(options);
  if (!score.ok()) return Fail(score.status());
  std::cout << absl::StrFormat("%s: held-out loss %.4f, %d of %d exactly", options.output.string(), score->loss,
                               score->exact, score->pairs)
            << std::endl;
  return kDone;
}

}  // namespace

void AddTrainSeq2Seq(CLI::App& train, Context& context) {
  auto options = std::make_shared<TrainSeq2SeqOptions>();
  CLI::App* command =
      train.add_subcommand("seq2seq", "Train an encoder-decoder transformer from nothing on pairs of texts");
  command->add_option("--data", options->data, "Pairs, as TSV or JSON Lines; may be given more than once")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", options->output, "The folder to write the model into")->type_name("DIR")->required();
  command->add_option("--eval", options->evaluation, "Held-out pairs, measured and never learned")->type_name("FILE");
  command->add_option("--validation", options->validation, "Without --eval: the share of the pairs that is held out")
      ->capture_default_str();
  command->add_option("--vocab-size", options->vocabulary_size, "Tokens at most, of word and bpe")
      ->capture_default_str();
  command->add_option("--layers", options->layers, "Of the encoder, and as many of the decoder")->capture_default_str();
  command->add_option("--heads", options->heads, "Attention heads of a layer")->capture_default_str();
  command->add_option("--width", options->width, "Values of a token")->capture_default_str();
  command->add_option("--mlp-width", options->mlp_width, "Values within a layer; 0: 4 * width")->capture_default_str();
  command->add_option("--context", options->context, "Tokens of source and target together at most")
      ->capture_default_str();
  command->add_flag("--post-norm", options->post_norm, "Norms behind the sums, as in the paper; else before each part");
  command->add_option("--dropout", options->dropout, "Share of values dropped in training")->capture_default_str();
  command->add_option("--label-smoothing", options->label_smoothing, "Share of the probability for all other tokens")
      ->capture_default_str();
  command->add_option("--batch", options->batch, "Pairs in a step")->capture_default_str();
  command->add_option("--steps", options->steps, "Steps at most")->capture_default_str();
  command->add_option("--minutes", options->minutes, "End after so long; the schedule fits itself to it. 0: by steps")
      ->capture_default_str();
  command->add_option("--learning-rate", options->learning_rate, "At the peak")->capture_default_str();
  command->add_option("--warm-up", options->warm_up, "Share of the steps over which the rate rises; then a cosine")
      ->capture_default_str();
  command->add_option("--weight-decay", options->weight_decay, "Of matrices")->capture_default_str();
  command->add_option("--clip", options->clip_norm, "Gradients' norm at most; 0: any")->capture_default_str();
  command->add_option("--eval-every", options->evaluate_every, "Steps between measurements; 0: at the end")
      ->capture_default_str();
  command->add_option("--eval-pairs", options->evaluate_pairs, "Held-out pairs that are measured, the first ones")
      ->capture_default_str();
  command->add_option("--eval-print", options->print_evaluated, "Of those so many are shown")->capture_default_str();
  command
      ->add_option("--stop-at-exact", options->stop_at_exact,
                   "End when so large a share of the held-out targets is written exactly; above 1: never")
      ->capture_default_str();
  command->add_flag("--overwrite", options->overwrite, "Replace a model that is there");
  command->footer(
      R"(A line of the data is SOURCE, a tab, TARGET; in a .jsonl file {"source": "...", "target": "..."}. --tokenizer says what a
token is: byte, character (the default), word or bpe, learned from both sides. The result serves as any model does: the
prompt is the source, and beams are 'generate's. Ctrl-C ends training and keeps what there is.

Examples:
  blazon train seq2seq --data dates.tsv --out my-dates --minutes 5
  blazon generate --model my-dates "March 5, 1987"
  blazon generate --model my-dates --num-beams 4 "the 5th of March 1987")");
  command->callback(
      [options, &context] { context.run = [options, &context] { return RunTrainSeq2Seq(*options, context); }; });
}

}  // namespace blazon::service::cli
