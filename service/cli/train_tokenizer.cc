// blazon train tokenizer: learns a tokenizer from texts.
#include "service/training/train_tokenizer.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "service/cli/commands.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

int RunTrainTokenizer(TrainTokenizerOptions options, const Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("training runs in this process; leave out --server"), kWrongUsage);
  options.log = [](const std::string& line) { std::cerr << line << std::endl; };
  if (absl::Status status = TrainTokenizer(options); !status.ok()) return Fail(status);
  std::cout << options.output.string() << std::endl;
  return kDone;
}

}  // namespace

void AddTrainTokenizer(CLI::App& train, Context& context) {
  auto options = std::make_shared<TrainTokenizerOptions>();
  CLI::App* command = train.add_subcommand("tokenizer", "Learn a tokenizer from texts");
  command->add_option("--data", options->data, "Text files, or folders of *.txt and *.md; may be given more than once")
      ->type_name("PATH")
      ->required();
  command->add_option("--out", options->output, "The folder to write tokenizer.json into")
      ->type_name("DIR")
      ->required();
  command->add_option("--kind", options->kind, "byte, character, word or bpe")->capture_default_str();
  command->add_option("--vocab-size", options->vocabulary_size, "Tokens at most, special ones included")
      ->capture_default_str();
  command->add_option("--min-frequency", options->min_frequency, "How often a merge or a word must occur")
      ->capture_default_str();
  command->add_option("--special-tokens", options->special_tokens, "Control tokens; they get the first ids")
      ->delimiter(',')
      ->type_name("TOKEN,...")
      ->capture_default_str();
  command->add_flag("--overwrite", options->overwrite, "Replace a tokenizer that is there");
  command->footer(
      R"(bpe is GPT-2's: bytes, and merges of neighbours that occur often; word knows whole words with the space before them, and
reads others as <unk>; character the same for characters; byte learns nothing. Every one gives a text back as it was,
but for what is <unk>. The same texts give the same tokenizer, and tokenizer.json is the `tokenizers` package's format.

Example:
  blazon train tokenizer --data books/ --kind bpe --vocab-size 4096 --out my-tokenizer)");
  command->callback(
      [options, &context] { context.run = [options, &context] { return RunTrainTokenizer(*options, context); }; });
}

}  // namespace blazon::service::cli
