#include "service/training/train_finetune.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/training/language_run.h"
#include "service/training/text_data.h"

namespace blazon::service {
namespace {

std::string DescribeTexts(const char* name, const TextData& data) {
  return absl::StrFormat("%s: %d texts, %d bytes, %d tokens%s", name, data.texts, data.bytes, data.tokens.size(),
                         data.replaced > 0
                             ? absl::StrFormat("; %d texts have bytes that are no UTF-8, read as U+FFFD", data.replaced)
                             : "");
}

// Whole texts: an end token stands between two.
std::vector<std::string> TextsOf(const TextData& data, const LoadedLanguageModel& loaded) {
  std::vector<std::string> texts;
  std::vector<language::TokenId> ids;
  const auto add = [&] {
    if (!ids.empty()) texts.push_back(loaded.tokenizer->Decode(ids, /*skip_special=*/true));
    ids.clear();
  };
  for (const language::TokenId id : data.tokens) {
    ids.push_back(id);
    if (std::find(loaded.end_tokens.begin(), loaded.end_tokens.end(), id) != loaded.end_tokens.end()) add();
  }
  add();
  return texts;
}

}  // namespace

absl::Status TrainFinetune(const TrainFinetuneOptions& options) {
  const TrainerOptions& trainer = options.common.trainer;
  if (options.evaluation.empty() && (trainer.evaluate_every > 0 || trainer.finish_with_best))
    return absl::InvalidArgumentError("--eval-every and --best need held-out texts: --eval PATH");
  const absl::StatusOr<LoadedLanguageModel> loaded = LoadForTraining(options.common);
  if (!loaded.ok()) return loaded.status();
  const int64_t longest = loaded->model->config().context_length;
  if (options.context < 2 || options.context > longest) {
    return absl::InvalidArgumentError(
        absl::StrCat("--context is ", options.context, "; it must be 2 to ", longest, ", the model's context"));
  }
  const absl::StatusOr<TextData> data = ReadTextData(options.data, options.column, *loaded);
  if (!data.ok()) return data.status();
  trainer.log(DescribeTexts("train", *data));
  TextSource source(data->tokens, options.context, trainer.seed);
  const absl::StatusOr<TrainedModel> trained = MakeTrained(options.common, *loaded);
  if (!trained.ok()) return trained.status();
  const auto task =
      LanguageTask::Create(*loaded, *trained, source, TaskOptions(options.common), trainer.log, trainer.stop);
  if (!task.ok()) return task.status();
  std::optional<OverlapReport> overlap;
  if (!options.evaluation.empty()) {
    const absl::StatusOr<TextData> held_out = ReadTextData(options.evaluation, options.column, *loaded);
    if (!held_out.ok()) return held_out.status();
    trainer.log(DescribeTexts("held out", *held_out));
    (*task)->SetHeldOut(TextPieces(held_out->tokens, options.context), {});
    NgramOverlap runs;
    for (const std::string& text : TextsOf(*held_out, *loaded)) runs.AddHeldOut(text);
    for (const std::string& text : TextsOf(*data, *loaded)) runs.AddTraining(text);
    overlap = runs.Report();
  }
  return RunAndWrite(options.common, **task, *trained, overlap);
}

}  // namespace blazon::service
