// blazon train: makes models from your data.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"
#include "service/cli/preference_commands.h"
#include "service/training/train_captioner.h"
#include "service/training/train_reader.h"

namespace blazon::service::cli {
namespace {

struct TrainFlags {
  TrainCaptionerOptions options;
  std::vector<std::string> libraries;  // NAME=DIR
};

int RunTrainCaptioner(const TrainFlags& flags, Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("training runs in this process; leave out --server"), kWrongUsage);
  TrainCaptionerOptions options = flags.options;
  for (const std::string& library : flags.libraries) {
    const size_t equals = library.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Fail(absl::InvalidArgumentError(absl::StrCat("--library is '", library, "'; it must be NAME=DIR")),
                  kWrongUsage);
    }
    options.libraries[library.substr(0, equals)] = library.substr(equals + 1);
  }
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return Fail(models.status());
  absl::StatusOr<std::filesystem::path> language = (*models)->LanguageModelFile();
  if (!language.ok()) return Fail(language.status());
  absl::StatusOr<std::filesystem::path> encoder = (*models)->ImageEncoderFolder();
  if (!encoder.ok()) return Fail(encoder.status());
  options.language_model = *language;
  options.image_encoder = *encoder;
  if (context.seed) options.seed = *context.seed;
  options.command = context.command_line;
  options.log = [](const std::string& line) { std::cerr << line << std::endl; };
  options.stop = [] { return Interrupted(); };
  if (absl::Status status = TrainCaptioner(options); !status.ok()) return Fail(status);
  std::cout << options.output.string() << std::endl;
  return kDone;
}

int RunTrainReader(TrainReaderOptions options, Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("training runs in this process; leave out --server"), kWrongUsage);
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return Fail(models.status());
  absl::StatusOr<std::filesystem::path> embedder = (*models)->EmbedderFolder();
  if (!embedder.ok()) return Fail(embedder.status());
  options.embedder = *embedder;
  if (context.seed) options.seed = *context.seed;
  options.command = context.command_line;
  options.log = [](const std::string& line) { std::cerr << line << std::endl; };
  options.stop = [] { return Interrupted(); };
  if (absl::Status status = TrainReader(options); !status.ok()) return Fail(status);
  std::cout << options.output.string() << std::endl;
  return kDone;
}

void AddTrainReader(CLI::App& train, Context& context) {
  auto options = std::make_shared<TrainReaderOptions>();
  CLI::App* command =
      train.add_subcommand("reader", "Train the reader, which chooses the sentence that answers, and refuses");
  command->add_option("--output", options->output, "The safetensors file to write")->type_name("FILE")->required();
  command
      ->add_option("--data", options->data,
                   "A reading set: JSON Lines of documents with questions; may be given more than once")
      ->type_name("FILE")
      ->required();
  command->add_option("--layers", options->layers, "Layers of the embedder that are copied and trained")
      ->capture_default_str();
  command->add_option("--epochs", options->epochs, "Passes over the answered questions")->capture_default_str();
  command->add_option("--batch", options->batch, "Questions in a step")->capture_default_str();
  command->add_option("--candidates", options->candidates, "Sentences of a question in a step")->capture_default_str();
  command->add_option("--learning-rate", options->learning_rate, "Peak learning rate of the copied layers")
      ->capture_default_str();
  command->add_option("--head-rate", options->head_rate, "Peak learning rate of what is new")->capture_default_str();
  command->add_option("--weight-decay", options->weight_decay, "Weight decay")->capture_default_str();
  command->add_option("--dropout", options->dropout, "Share of values dropped in training")->capture_default_str();
  command
      ->add_option("--refusal-weight", options->refusal_weight,
                   "Weight of the loss on whether a sentence answers, beside that on which one does")
      ->capture_default_str();
  command->add_option("--max-steps", options->max_steps, "Stop after so many steps; 0: when the epochs are over")
      ->capture_default_str();
  command->footer(
      R"(About 15 of 100 documents are held out, by a hash of their titles; they measure and are never trained on. Ctrl-C ends
training and keeps what there is. --seed decides what is drawn. The command is noted in the weights.

Example:
  blazon train reader --output reader.safetensors --data my_documents.jsonl --seed 1)");
  command->callback(
      [options, &context] { context.run = [options, &context] { return RunTrainReader(*options, context); }; });
}

}  // namespace

void AddTrain(CLI::App& app, Context& context) {
  auto flags = std::make_shared<TrainFlags>();
  TrainCaptionerOptions& options = flags->options;
  CLI::App* train = app.add_subcommand("train", "Train models on your data");
  train->require_subcommand(1);
  AddTrainReader(*train, context);
  AddTrainSft(*train, context);
  AddTrainDpo(*train, context);
  AddTrainReward(*train, context);
  AddTrainPolicies(*train, context);
  AddTrainRate(*train, context);
  AddTrainGpt(*train, context);
  AddTrainSeq2Seq(*train, context);
  AddTrainTokenizer(*train, context);
  AddTrainFinetune(*train, context);
  AddTrainAnswerRecords(*train, context);
  CLI::App* command = train->add_subcommand(
      "captioner", "Train the captioner: connector, tagger and adapter around the language model");
  command->add_option("--output", options.output, "The safetensors file to write")->type_name("FILE")->required();
  command->add_option("--pictures", options.pictures, "The table of cut-out pictures that scenes are composed of")
      ->type_name("FILE")
      ->capture_default_str();
  command->add_option("--library", flags->libraries, "Where a library of that table lies; may be given for each")
      ->type_name("NAME=DIR")
      ->allow_extra_args(false);
  command
      ->add_option("--held-out", options.held_out,
                   "A table whose first field names stamps never to be used; may be given more than once")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_option("--photos", options.photos, "Pictures for backgrounds")->type_name("DIR");
  command
      ->add_option(
          "--captioned", options.captioned,
          "Pictures with captions, or with questions and answers: a folder (photo.jpg beside photo.txt), a .csv or "
          ".jsonl file, COCO captions (.json), or VQA (QUESTIONS.json,ANNOTATIONS.json); may be given again")
      ->type_name("SOURCE")
      ->allow_extra_args(false);
  command
      ->add_option("--captioned-share", options.captioned_share, "Share of the caption stage's samples that these are")
      ->capture_default_str();
  command->add_option("--scenes", options.scenes, "Scenes to compose")->capture_default_str();
  command
      ->add_option("--tagger-scenes", options.tagger_scenes, "More scenes, mildly varied, for the tagger that is kept")
      ->capture_default_str();
  command->add_option("--crops", options.crops, "Crops of the photos")->capture_default_str();
  command->add_option("--edited", options.edited, "Features moved to a class of the encoder's")->capture_default_str();
  command->add_option("--cache", options.cache, "Keep the scenes' features here for another run")->type_name("PATH");
  command
      ->add_option("--tagger-steps", options.tagger_steps,
                   "Steps of the tagger stage; 0, with --start-from: keep its tagger")
      ->capture_default_str();
  command->add_option("--alignment-steps", options.alignment_steps, "Steps of the alignment stage")
      ->capture_default_str();
  command->add_option("--steps", options.steps, "Steps of the caption stage")->capture_default_str();
  command->add_option("--questions", options.questions, "Questions asked of each composed picture, beside its caption")
      ->capture_default_str();
  command
      ->add_option("--count-share", options.count_share,
                   "Weight of scenes of several like things, beside 0.87 of others")
      ->capture_default_str();
  command->add_option("--shape-share", options.shape_share, "Chance that an object is a drawn shape in a colour")
      ->capture_default_str();
  command->add_option("--batch", options.batch, "Samples in a step")->capture_default_str();
  command->add_option("--connector-rate", options.connector_rate, "Peak learning rate of the connector")
      ->capture_default_str();
  command->add_option("--adapter-rate", options.adapter_rate, "Peak learning rate of the adapter")
      ->capture_default_str();
  command->add_option("--weight-decay", options.weight_decay, "Weight decay")->capture_default_str();
  command->add_option("--hidden", options.hidden, "Width within the connector")->capture_default_str();
  command->add_option("--rank", options.rank, "Rank of the adapter")->capture_default_str();
  command->add_option("--evaluate-every", options.evaluate_every, "Steps between evaluations; each saves")
      ->capture_default_str();
  command
      ->add_option("--start-from", options.start_from,
                   "Go on from these weights; with --steps 0 only the tagger is trained anew")
      ->type_name("FILE");
  command->footer(
      R"(Ctrl-C ends training and keeps what there is. --seed decides what is drawn and told. The command is noted in the weights.

A .csv file has a header, and a .jsonl file an object a line, with "picture" (a path beside the file) and "caption", or
"question" and "answer". A question is what 'caption --prompt' asks with; 'eval vqa' measures the answers.

Examples:
  blazon train captioner --output captioner.safetensors --captioned ~/pictures --seed 1
  blazon train captioner --output mine.safetensors --start-from captioner.safetensors --captioned questions.csv)");
  command->callback(
      [flags, &context] { context.run = [flags, &context] { return RunTrainCaptioner(*flags, context); }; });
}

}  // namespace blazon::service::cli
