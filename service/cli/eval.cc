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
#include "service/cli/preference_commands.h"
#include "service/evaluation/caption_files.h"
#include "service/evaluation/caption_metrics.h"
#include "service/evaluation/vqa_accuracy.h"

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

int RunEvalVqa(const EvalCaptionsFlags& flags, const Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("answers are scored in this process; leave out --server"), kWrongUsage);
  const auto pairs = ReadAnswerPairs(flags.candidates, flags.references);
  if (!pairs.ok()) return Fail(pairs.status());
  const absl::StatusOr<VqaScores> scores = ScoreAnswers(*pairs);
  if (!scores.ok()) return Fail(scores.status());
  if (context.json) {
    nlohmann::ordered_json json = {{"questions", scores->questions}, {"exact_match", scores->exact}};
    json["vqa_accuracy"] = scores->ten > 0 ? nlohmann::ordered_json(scores->accuracy) : nlohmann::ordered_json(nullptr);
    json["with_ten_references"] = scores->ten;
    std::cout << json.dump() << "\n";
    return kDone;
  }
  std::cout << absl::StrFormat("%-12s %8.4f\n", "exact match", scores->exact);
  if (scores->ten > 0) std::cout << absl::StrFormat("%-12s %8.4f\n", "VQA accuracy", scores->accuracy);
  std::cout << absl::StrFormat("%-12s %8d\n", "questions", scores->questions);
  if (scores->ten < scores->questions) {
    std::cout << absl::StrFormat("VQA accuracy is of the %d questions that ten people answered\n", scores->ten);
  }
  return kDone;
}

void AddEvalVqa(CLI::App& eval, Context& context) {
  auto flags = std::make_shared<EvalCaptionsFlags>();
  CLI::App* command = eval.add_subcommand("vqa", "Compare answers to questions about pictures with those of people");
  command->add_option("--candidates", flags->candidates, "Answers to judge: JSON Lines, or VQA results")
      ->type_name("FILE")
      ->required();
  command->add_option("--references", flags->references, "Answers by people: JSON Lines, or VQA annotations")
      ->type_name("FILE")
      ->required();
  command->footer(
      R"(VQA accuracy is that of the VQA challenge (Antol et al. 2015): an answer that three of ten people gave is right. Exact match is
the share of answers that anyone gave. Both leave out punctuation, articles and capitals.

A line of JSON Lines has "question_id" or "id", and "answer" or "text"; references may have several "answers".

Example:
  blazon eval vqa --candidates said.jsonl --references v2_mscoco_val2014_annotations.json)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunEvalVqa(*flags, context); }; });
}

}  // namespace

void AddEval(CLI::App& app, Context& context) {
  CLI::App* eval = app.add_subcommand("eval", "Measure how good results are");
  eval->require_subcommand(1);
  AddEvalLm(*eval, context);
  AddEvalVqa(*eval, context);
  AddEvalReward(*eval, context);
  AddEvalAnswers(*eval, context);
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
