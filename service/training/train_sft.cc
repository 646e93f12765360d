#include "service/training/train_sft.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/training/language_run.h"
#include "service/training/sft_data.h"

namespace blazon::service {
namespace {

class RecordSource : public ExampleSource {
 public:
  RecordSource(const SftData& data, uint64_t seed) : data_(data), order_(data.records.size(), seed) {}
  language::TrainingExample Next() override { return data_.records[order_.Next()].joined; }
  nlohmann::json Position() const override { return order_.Position(); }
  absl::Status SetPosition(const nlohmann::json& position) override { return order_.SetPosition(position); }

 private:
  const SftData& data_;
  ShuffledOrder order_;
};

std::string Describe(const char* name, const SftData& data, int64_t row_tokens) {
  return absl::StrFormat(
      "%s: %d records, %d texts, %d tokens computed (%d if each text stood alone), %d learned%s", name,
      data.records.size(), data.texts, data.tokens, data.separate, data.learned,
      data.skipped > 0 ? absl::StrFormat("; %d records left out, over %d tokens", data.skipped, row_tokens) : "");
}

}  // namespace

absl::Status TrainSft(const TrainSftOptions& given) {
  TrainSftOptions options = given;
  TrainerOptions& trainer = options.common.trainer;
  if (trainer.steps == 0 && (!(options.epochs > 0) || !std::isfinite(options.epochs)))
    return absl::InvalidArgumentError(absl::StrCat("--epochs is ", options.epochs, "; it must be above 0"));
  if (options.common.batch < 1) return absl::InvalidArgumentError("--batch must be at least 1");
  if (options.evaluation.empty() &&
      (trainer.evaluate_every > 0 || options.evaluate_texts > 0 || trainer.finish_with_best))
    return absl::InvalidArgumentError("--eval-every, --eval-texts and --best need held-out records: --eval FILE");
  const absl::StatusOr<LoadedLanguageModel> loaded = LoadForTraining(options.common);
  if (!loaded.ok()) return loaded.status();
  const SftDataOptions data_options = {
      .end_token = options.end_token, .max_tokens = options.common.row_tokens, .skip_long = options.skip_long};
  const absl::StatusOr<SftData> data = ReadSftData(options.data, *loaded, data_options);
  if (!data.ok()) return data.status();
  trainer.log(Describe("train", *data, options.common.row_tokens));
  if (trainer.steps == 0) {
    const double records = static_cast<double>(data->records.size());
    trainer.steps =
        std::max<int64_t>(1, std::llround(options.epochs * records / static_cast<double>(options.common.batch)));
  }
  RecordSource source(*data, trainer.seed);
  LanguageTaskOptions task_options = TaskOptions(options.common);
  task_options.evaluate_texts = options.evaluate_texts;
  task_options.evaluate_tokens = options.evaluate_tokens;
  task_options.print_evaluated = options.print_evaluated;
  const absl::StatusOr<TrainedModel> trained = MakeTrained(options.common, *loaded);
  if (!trained.ok()) return trained.status();
  const auto task = LanguageTask::Create(*loaded, *trained, source, task_options, trainer.log, trainer.stop);
  if (!task.ok()) return task.status();
  std::optional<OverlapReport> overlap;
  if (!options.evaluation.empty()) {
    const absl::StatusOr<SftData> held_out = ReadSftData(options.evaluation, *loaded, data_options);
    if (!held_out.ok()) return held_out.status();
    trainer.log(Describe("held out", *held_out, options.common.row_tokens));
    std::vector<language::TrainingExample> examples;
    std::vector<std::vector<HeldOutText>> texts;
    for (const SftRecord& record : held_out->records) {
      examples.push_back(record.joined);
      texts.emplace_back();
      for (const language::TrainingExample& text : record.texts)
        texts.back().push_back(LastAnswer(text, loaded->end_tokens));
    }
    (*task)->SetHeldOut(std::move(examples), std::move(texts));
    NgramOverlap runs;
    for (const std::string& text : SftWords(options.evaluation)) runs.AddHeldOut(text);
    for (const std::string& text : SftWords(options.data)) runs.AddTraining(text);
    overlap = runs.Report();
  }
  return RunAndWrite(options.common, **task, *trained, overlap);
}

}  // namespace blazon::service
