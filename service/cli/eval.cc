// blazon eval: how good results are, by the field's measures.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_format.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/evaluation/caption_files.h"
#include "service/evaluation/caption_metrics.h"

namespace blazon::service::cli {
namespace {

struct EvalCaptionsFlags {
  std::filesystem::path candidates, references;
  CaptionFileOptions options;
};

int RunEvalCaptions(const EvalCaptionsFlags& flags, const Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("captions are scored in this process; leave out --server"), kWrongUsage);
  absl::StatusOr<CaptionSet> set = ReadCaptionSet(flags.candidates, flags.references, flags.options);
  if (!set.ok()) return Fail(set.status());
  absl::StatusOr<CaptionScores> scores = ScoreCaptions(set->pairs);
  if (!scores.ok()) return Fail(scores.status());
  const std::pair<const char*, double> figures[] = {{"BLEU-1", scores->bleu[0]},  {"BLEU-2", scores->bleu[1]},
                                                    {"BLEU-3", scores->bleu[2]},  {"BLEU-4", scores->bleu[3]},
                                                    {"METEOR", scores->meteor},   {"ROUGE-L", scores->rouge_l},
                                                    {"CIDEr-D", scores->cider_d}, {"exact match", scores->exact}};
  if (context.json) {
    nlohmann::ordered_json json = {
        {"pictures", scores->pictures}, {"empty", scores->empty}, {"left_out", set->left_out}};
    const char* const names[] = {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider_d", "exact_match"};
    for (size_t i = 0; i < std::size(names); ++i) json[names[i]] = figures[i].second;
    std::cout << json.dump() << "\n";
    return kDone;
  }
  for (const auto& [name, value] : figures) std::cout << absl::StrFormat("%-12s %8.4f\n", name, value);
  std::cout << absl::StrFormat("%-12s %8d\n", "pictures", scores->pictures);
  if (scores->empty > 0) std::cout << absl::StrFormat("%d captions are empty and count as 0\n", scores->empty);
  if (set->left_out > 0)
    std::cout << absl::StrFormat("%d pictures have no candidate and were left out\n", set->left_out);
  return kDone;
}

}  // namespace

void AddEval(CLI::App& app, Context& context) {
  CLI::App* eval = app.add_subcommand("eval", "Measure how good results are");
  eval->require_subcommand(1);
  AddEvalLm(*eval, context);
  auto flags = std::make_shared<EvalCaptionsFlags>();
  CLI::App* command = eval->add_subcommand("captions", "Compare captions with those that people wrote");
  command->add_option("--candidates", flags->candidates, "Captions to judge: JSON Lines, or COCO results")
      ->type_name("FILE")
      ->required();
  command->add_option("--references", flags->references, "Captions by people: JSON Lines, or COCO captions")
      ->type_name("FILE")
      ->required();
  command->add_flag("--partial", flags->options.partial, "Leave out pictures that have no candidate");
  command->add_flag("--pretokenized", flags->options.pretokenized,
                    "Words are what spaces separate; else they are lower-cased and lose their punctuation");
  command->footer(
      R"(BLEU, ROUGE-L and CIDEr-D are those of pycocoevalcap, METEOR is NLTK's without synonyms. CIDEr-D weighs words by how rare they
are in the references, so compare only figures of the same set.

A line of JSON Lines names its picture in "file", "id" or "image_id" and has "text", "caption", or several "captions".

Example:
  blazon caption --json *.jpg > said.jsonl
  blazon eval captions --candidates said.jsonl --references written.jsonl)");
  command->callback(
      [flags, &context] { context.run = [flags, &context] { return RunEvalCaptions(*flags, context); }; });
}

}  // namespace blazon::service::cli
