// blazon train reward: a reward model from pairs of completions; blazon eval reward: what one says of texts.
#include "service/training/train_reward.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "service/cli/context.h"
#include "service/cli/language_training_flags.h"
#include "service/cli/preference_commands.h"
#include "service/cli/training_processes.h"

namespace blazon::service::cli {
namespace {

struct RewardFlags {
  TrainRewardOptions options;
  LanguageTrainingFlags training = {.takes_adapter = true};
};

int RunTrainReward(const RewardFlags& flags, Context& context) {
  TrainRewardOptions options = flags.options;
  return RunLanguageTraining(context, flags.training, options.common, [&] { return TrainReward(options); });
}

int RunEvalReward(const ScoreTextsOptions& given, Context& context) {
  ScoreTextsOptions options = given;
  if (absl::Status status = FinishLanguageTraining(context, {}, options.common); !status.ok())
    return Fail(status, absl::IsInvalidArgument(status) ? kWrongUsage : kFailed);
  const absl::StatusOr<std::vector<ScoredLine>> lines = ScoreTexts(options);
  if (!lines.ok()) return Fail(lines.status());
  int64_t pairs = 0, right = 0;
  double margin = 0;
  for (const ScoredLine& line : *lines) {
    if (line.pair) {
      ++pairs;
      right += line.reward > line.rejected ? 1 : 0;
      margin += line.reward - line.rejected;
    }
    if (context.json) {
      std::cout << (line.pair ? nlohmann::ordered_json{{"chosen", line.reward}, {"rejected", line.rejected}}
                              : nlohmann::ordered_json{{"reward", line.reward}})
                       .dump()
                << "\n";
    } else if (!line.pair) {
      std::cout << absl::StrFormat("%10.4f\n", line.reward);
    }
  }
  if (context.json || pairs == 0) return kDone;
  std::cout << absl::StrFormat("%-9s %8d\n%-9s %8.4f\n%-9s %8.4f\n", "pairs", pairs, "accuracy",
                               static_cast<double>(right) / static_cast<double>(pairs), "margin",
                               margin / static_cast<double>(pairs));
  return kDone;
}

}  // namespace

void AddTrainReward(CLI::App& train, Context& context) {
  auto flags = std::make_shared<RewardFlags>();
  TrainRewardOptions& options = flags->options;
  options.common.trainer.learning_rate = 1e-4;
  CLI::App* command = train.add_subcommand("reward", "Train a reward model on pairs of completions");
  AddPreferenceOptions(*command, options.common, options.data, options.evaluation);
  command->add_option("--epochs", options.epochs, "Passes over the pairs")->capture_default_str();
  command->add_flag("--skip-long", options.skip_long, "Leave out pairs over --row-tokens, and say how many");
  AddProcessesOption(*command, flags->training.processes);
  AddLanguageTrainingOptions(*command, options.common, flags->training);
  command->footer(
      R"(The data are those of 'train dpo'. A reward model is the language model with an adapter, and a linear head on the last
token's state; its loss is -log sigmoid of how much more reward the chosen completion gets. --out receives the adapter
in PEFT's layout and reward_head.safetensors: "score.weight", one row, whose metadata name the base model.

Examples:
  blazon train reward --data pairs.jsonl --eval held_out.jsonl --out my-reward
  blazon eval reward --reward my-reward held_out.jsonl
  blazon train ppo --data prompts.jsonl --reward-model my-reward --out my-policy)");
  command->callback([flags, &context] {
    context.takes_processes = true;
    context.run = [flags, &context] { return RunTrainReward(*flags, context); };
  });
}

void AddEvalReward(CLI::App& eval, Context& context) {
  auto options = std::make_shared<ScoreTextsOptions>();
  CLI::App* command =
      eval.add_subcommand("reward", "Score texts by a reward model, and count the pairs that it gets right");
  command->add_option("data", options->data, "Pairs as of 'train dpo', or lines with \"prompt\" and \"completion\"")
      ->type_name("FILE")
      ->required();
  command->add_option("--reward", options->reward, "The folder of a reward model")->type_name("DIR")->required();
  command->add_option("--row-tokens", options->common.row_tokens, "Tokens computed at once; a line may not be longer")
      ->capture_default_str();
  command->footer(
      R"(Of pairs it prints how many there are, the share in which the chosen completion gets more reward, and the mean difference;
of other lines each reward. --json prints each line's rewards as an object.

Example:
  blazon eval reward --reward my-reward held_out.jsonl)");
  command->callback(
      [options, &context] { context.run = [options, &context] { return RunEvalReward(*options, context); }; });
}

}  // namespace blazon::service::cli
