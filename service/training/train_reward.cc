#include "service/training/train_reward.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/training/preference_loss.h"
#include "service/checkpoint/reward_model_folder.h"
#include "service/training/example_texts.h"
#include "service/training/language_run.h"
#include "service/training/preference_data.h"

namespace blazon::service {
namespace {

using language::TrainingExample;

// Sums over pairs.
struct RewardSums {
  double loss = 0, accuracy = 0, margin = 0;

  // chosen, rejected: [P].
  at::Tensor Add(const at::Tensor& chosen, const at::Tensor& rejected) {
    const at::Tensor losses = language::BradleyTerryLoss(chosen, rejected);
    loss += losses.detach().sum().item<double>();
    accuracy += chosen.gt(rejected).sum().item<double>();
    margin += (chosen - rejected).detach().sum().item<double>();
    return losses;
  }
};

class RewardTask : public TrainingTask {
 public:
  RewardTask(const TrainedModel& trained, const std::vector<TrainingExample>& pairs,
             const std::vector<TrainingExample>& held_out, const LanguageTrainingOptions& options)
      : trained_(trained),
        pairs_(pairs),
        held_out_(held_out),
        options_(options),
        order_(pairs.size(), options.trainer.seed),
        head_(at::zeros({1, trained.model().config().width}).requires_grad_(true)),
        share_(0, options.batch) {}

  const at::Tensor& head() const { return head_; }

  std::vector<language::TrainedTensor> Tensors() override {
    std::vector<language::TrainedTensor> tensors = trained_.Tensors();
    tensors.push_back({.name = "score.weight", .tensor = head_});
    return tensors;
  }
  std::vector<std::string> Figures() const override { return {"accuracy", "margin"}; }

  absl::Status SetShare(int rank, int size) override {
    const auto share = ShareOf("--batch", options_.batch, rank, size);
    if (share.ok()) share_ = *share;
    return share.status();
  }

  absl::StatusOr<StepLoss> AddGradients(bool repeat) override {
    if (!repeat) {
      last_.clear();
      for (int64_t i = 0; i < options_.batch; ++i) last_.push_back(&pairs_[order_.Next()]);
    }
    const auto count = static_cast<double>(last_.size());
    const std::vector<const TrainingExample*> own(last_.begin() + share_.first, last_.begin() + share_.second);
    StepLoss step{.part = static_cast<double>(own.size()) / count};
    RewardSums sums;
    for (const auto& row : PackRows(own, options_.row_tokens)) {
      for (const TrainingExample* pair : row) step.tokens += std::ssize(pair->tokens);
      const at::Tensor rewards = RowRewards(row);
      (sums.Add(rewards.select(1, 0), rewards.select(1, 1)).sum() / count).backward();
    }
    step.loss = sums.loss / count;
    step.figures = {sums.accuracy / count, sums.margin / count};
    return step;
  }

  nlohmann::json Position() const override { return order_.Position(); }
  absl::Status SetPosition(const nlohmann::json& position) override { return order_.SetPosition(position); }

  absl::StatusOr<std::optional<double>> Evaluate(int64_t step) override {
    if (held_out_.empty()) return std::nullopt;
    const at::NoGradGuard no_grad;
    RewardSums sums;
    for (const auto& row : PackRows(held_out_, options_.row_tokens)) {
      if (options_.trainer.stop()) return std::nullopt;
      const at::Tensor rewards = RowRewards(row);
      sums.Add(rewards.select(1, 0), rewards.select(1, 1));
    }
    const auto count = static_cast<double>(held_out_.size());
    options_.trainer.log(absl::StrFormat("step %d: held-out loss %.4f, accuracy %.4f, margin %.4f", step,
                                         sums.loss / count, sums.accuracy / count, sums.margin / count));
    return sums.loss / count;
  }

  std::string MemoryAdvice() const override {
    return TuningMemoryAdvice(options_.recompute, options_.row_tokens, /*adapter=*/true);
  }

 private:
  // Of chosen and rejected, [P, 2].
  at::Tensor RowRewards(const std::vector<const TrainingExample*>& row) const {
    const at::Tensor states = language::LastStates(trained_.model(), trained_.adapter(), row);  // [2P, D]
    return at::linear(states.to(at::kFloat), head_).view({-1, 2});
  }

  const TrainedModel& trained_;
  const std::vector<TrainingExample>& pairs_;
  const std::vector<TrainingExample>& held_out_;
  const LanguageTrainingOptions& options_;
  ShuffledOrder order_;
  at::Tensor head_;
  std::pair<int64_t, int64_t> share_;         // of a step's pairs: first and behind last
  std::vector<const TrainingExample*> last_;  // of the last step, all of it
};

absl::Status CheckRewardOptions(const TrainRewardOptions& options) {
  const LanguageTrainingOptions& common = options.common;
  if (common.all_weights)
    return absl::InvalidArgumentError("a reward model is an adapter and a head; leave out --full");
  if (common.trainer.steps == 0 && (!(options.epochs > 0) || !std::isfinite(options.epochs)))
    return absl::InvalidArgumentError(absl::StrCat("--epochs is ", options.epochs, "; it must be above 0"));
  if (common.batch < 1 || common.row_tokens < 1)
    return absl::InvalidArgumentError("--batch and --row-tokens must be at least 1");
  if (options.evaluation.empty() && (common.trainer.evaluate_every > 0 || common.trainer.finish_with_best))
    return absl::InvalidArgumentError("--eval-every and --best need held-out pairs: --eval FILE");
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainReward(const TrainRewardOptions& given) {
  TrainRewardOptions options = given;
  LanguageTrainingOptions& common = options.common;
  TrainerOptions& trainer = common.trainer;
  if (absl::Status status = CheckRewardOptions(options); !status.ok()) return status;
  const absl::StatusOr<LoadedLanguageModel> loaded = LoadForTraining(common);
  if (!loaded.ok()) return loaded.status();
  const PreferenceDataOptions data_options = {.max_tokens = common.row_tokens, .skip_long = options.skip_long};
  const absl::StatusOr<PreferenceData> data = ReadPreferenceData(options.data, *loaded, data_options);
  if (!data.ok()) return data.status();
  trainer.log(DescribePairs("train", *data, common.row_tokens));
  PreferenceData held_out;
  if (!options.evaluation.empty()) {
    absl::StatusOr<PreferenceData> read = ReadPreferenceData(options.evaluation, *loaded, data_options);
    if (!read.ok()) return read.status();
    held_out = *std::move(read);
    trainer.log(DescribePairs("held out", held_out, common.row_tokens));
  }
  if (trainer.steps == 0) {
    const double pairs = options.epochs * static_cast<double>(data->pairs.size());
    trainer.steps = std::max<int64_t>(1, std::llround(pairs / static_cast<double>(common.batch)));
  }
  const absl::StatusOr<TrainedModel> trained = MakeTrained(common, *loaded);
  if (!trained.ok()) return trained.status();
  RewardTask task(*trained, data->pairs, held_out.pairs, common);
  if (absl::Status status = RunAndWrite(common, task, *trained); !status.ok() || trainer.dry_run) return status;
  if (!DataParallel(trainer.group).first()) return absl::OkStatus();
  return WriteRewardHead(trainer.folder, task.head(), *loaded, common.base_name, {{"command", common.command}});
}

absl::StatusOr<std::vector<ScoredLine>> ScoreTexts(const ScoreTextsOptions& options) {
  const absl::StatusOr<LoadedLanguageModel> loaded = LoadForTraining(options.common);
  if (!loaded.ok()) return loaded.status();
  const absl::StatusOr<RewardModel> reward = ReadRewardModel(options.reward, *loaded);
  if (!reward.ok()) return reward.status();
  std::vector<TrainingExample> texts;
  const absl::Status read = ForEachLine(options.data, [&](std::string_view line) -> absl::Status {
    const nlohmann::json value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    absl::StatusOr<TrainingExample> text;
    if (!value.is_object() || !value.contains("completion")) {
      text = ParsePreference(line, *loaded, {.max_tokens = options.common.row_tokens});
    } else {
      if (absl::Status status = CheckMembers(value, {"prompt", "completion", "reasoning"}); !status.ok()) return status;
      const absl::StatusOr<std::string> prompt = TextMember(value, "prompt"), completion = CompletionMember(value);
      if (!prompt.ok()) return prompt.status();
      if (!completion.ok()) return completion.status();
      text = CompletionExample(*prompt, *completion, *loaded, /*end_token=*/true);
      if (text.ok()) {
        if (absl::Status status = CheckRows(text->tokens, *loaded); !status.ok()) return status;
        const int64_t most = std::min(loaded->model->config().context_length, options.common.row_tokens);
        if (std::ssize(text->tokens) > most)
          return absl::InvalidArgumentError(absl::StrCat("the text has ", text->tokens.size(),
                                                         " tokens; the model's context and --row-tokens allow ", most));
      }
    }
    if (!text.ok()) return text.status();
    texts.push_back(*std::move(text));
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  if (texts.empty()) return absl::InvalidArgumentError("there is no text to score");
  std::vector<ScoredLine> lines(texts.size());
  for (const auto& row : PackRows(texts, options.common.row_tokens)) {
    if (options.common.trainer.stop()) return absl::CancelledError("stopped");
    const std::vector<double> rewards = Rewards(*loaded->model, *reward, row);
    auto next = rewards.begin();
    for (const TrainingExample* text : row) {
      ScoredLine& line = lines[static_cast<size_t>(text - texts.data())];
      line.pair = !text->branches.empty();
      line.reward = *next++;
      if (line.pair) line.rejected = *next++;
    }
  }
  return lines;
}

}  // namespace blazon::service
