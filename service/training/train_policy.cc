#include <cmath>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/training/language_run.h"
#include "service/training/policy_data.h"
#include "service/training/policy_options.h"
#include "service/training/policy_task.h"

namespace blazon::service {
namespace {

absl::Status CheckPolicyOptions(const TrainPolicyOptions& options) {
  const auto wrong = [](const char* name, auto value, const char* bound) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be ", bound));
  };
  const bool ppo = options.algorithm == PolicyAlgorithm::kPpo;
  if (options.common.batch < 1 || options.common.row_tokens < 1)
    return absl::InvalidArgumentError("--batch and --row-tokens must be at least 1");
  if (options.group < (ppo ? 1 : 2)) {
    return wrong("--group", options.group,
                 ppo ? "at least 1" : "at least 2, since a completion is compared with the others of its group");
  }
  if (options.max_new_tokens < 1) return wrong("--max-new-tokens", options.max_new_tokens, "at least 1");
  if (!(options.temperature >= 0.01) || options.temperature > 10)
    return wrong("--temperature", options.temperature, "0.01 to 10");
  if (options.updates < 1) return wrong("--updates", options.updates, "at least 1");
  if (options.minibatches < 1 || options.minibatches > options.common.batch * options.group)
    return wrong("--minibatches", options.minibatches, "1 to the completions of a round, --batch times --group");
  if (!(options.clip > 0) || !std::isfinite(options.clip)) return wrong("--clip-ratio", options.clip, "above 0");
  if (!(options.kl >= 0) || !std::isfinite(options.kl)) return wrong("--kl", options.kl, "0 or more");
  if (!(options.unfinished_penalty >= 0) || !std::isfinite(options.unfinished_penalty))
    return wrong("--unfinished-penalty", options.unfinished_penalty, "0 or more");
  if (!std::isfinite(options.reasoning_score)) return wrong("--reasoning-score", options.reasoning_score, "finite");
  if (!(options.kl_target >= 0) || (options.kl_target > 0 && options.kl == 0))
    return wrong("--kl-target", options.kl_target, "0 or more, and --kl above 0 with it");
  if (!(options.gamma > 0) || options.gamma > 1) return wrong("--gamma", options.gamma, "above 0 to 1");
  if (!(options.lambda >= 0) || options.lambda > 1) return wrong("--lambda", options.lambda, "0 to 1");
  if (!(options.value_weight > 0)) return wrong("--value-weight", options.value_weight, "above 0");
  if (!(options.value_clip > 0)) return wrong("--value-clip", options.value_clip, "above 0");
  if (options.common.trainer.overfit)
    return absl::InvalidArgumentError(
        "a policy writes its own data, which cannot be learned by heart; leave out --overfit");
  if (options.evaluation.empty() &&
      (options.common.trainer.evaluate_every > 0 || options.common.trainer.finish_with_best))
    return absl::InvalidArgumentError("--eval-every and --best need held-out prompts: --eval FILE");
  return absl::OkStatus();
}

// What a run consists of. Its parts point at one another.
struct PolicyRun {
  LoadedLanguageModel loaded;
  std::optional<LoadedLanguageModel> copy = {};  // where all weights are trained: as they were
  std::vector<PolicyPrompt> prompts = {}, held_out = {};
  FrozenModels frozen = {};
  std::optional<TrainedModel> trained = {};
  std::unique_ptr<PolicyTask> task = nullptr;
};

absl::StatusOr<std::unique_ptr<PolicyRun>> PreparePolicy(const TrainPolicyOptions& options) {
  const LanguageTrainingOptions& common = options.common;
  if (absl::Status status = CheckPolicyOptions(options); !status.ok()) return status;
  absl::StatusOr<LoadedLanguageModel> loaded = LoadForTraining(common);
  if (!loaded.ok()) return loaded.status();
  if (loaded->end_tokens.empty())
    return absl::InvalidArgumentError("the model names no token that ends a text, so that no completion could end");
  std::unique_ptr<PolicyRun> run(new PolicyRun{.loaded = *std::move(loaded)});
  const PolicyDataOptions data_options = {.max_new_tokens = options.max_new_tokens,
                                          .judged = !options.reward_model.empty()};
  for (const auto& [files, name, prompts] : {std::tuple{&options.data, "train", &run->prompts},
                                             std::tuple{&options.evaluation, "held out", &run->held_out}}) {
    if (files->empty()) continue;
    auto read = ReadPolicyData(*files, run->loaded, data_options);
    if (!read.ok()) return read.status();
    *prompts = *std::move(read);
    common.trainer.log(absl::StrCat(name, ": ", prompts->size(), " prompts"));
  }
  FrozenModels& frozen = run->frozen;
  frozen.scorer = {.reasoning_score = options.reasoning_score, .unfinished_penalty = options.unfinished_penalty};
  if (!options.answer_pattern.empty()) {
    absl::StatusOr<language::Regex> regex = language::Regex::Create({.text = options.answer_pattern, .regex = true});
    if (!regex.ok()) return regex.status();
    frozen.scorer.answer_pattern = std::make_shared<const language::Regex>(*std::move(regex));
  }
  if (!options.reward_model.empty()) {
    absl::StatusOr<RewardModel> reward = ReadRewardModel(options.reward_model, run->loaded);
    if (!reward.ok()) return reward.status();
    frozen.reward = *std::move(reward);
  }
  absl::StatusOr<TrainedModel> trained = MakeTrained(common, run->loaded);
  if (!trained.ok()) return trained.status();
  run->trained = *std::move(trained);
  frozen.model = run->loaded.model.get();
  frozen.reference = run->trained->start();
  if (common.all_weights && (options.kl > 0 || frozen.reward)) {
    absl::StatusOr<LoadedLanguageModel> copy = LoadForTraining(common);
    if (!copy.ok()) return copy.status();
    run->copy = *std::move(copy);
    frozen.model = run->copy->model.get();
  }
  run->task = std::make_unique<PolicyTask>(run->loaded, *run->trained, frozen, run->prompts, run->held_out, options);
  return run;
}

}  // namespace

absl::Status TrainPolicy(const TrainPolicyOptions& options) {
  const auto run = PreparePolicy(options);
  if (!run.ok()) return run.status();
  return RunAndWrite(options.common, *(*run)->task, *(*run)->trained);
}

absl::StatusOr<double> ScorePolicy(const TrainPolicyOptions& given) {
  TrainPolicyOptions options = given;
  options.evaluation = std::exchange(options.data, {});
  options.kl = options.kl_target = 0;
  const auto run = PreparePolicy(options);
  if (!run.ok()) return run.status();
  const absl::StatusOr<std::optional<double>> score = (*run)->task->Evaluate(0);
  if (!score.ok()) return score.status();
  return -score->value_or(0);
}

}  // namespace blazon::service
