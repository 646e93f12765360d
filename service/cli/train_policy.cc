// blazon train grpo, train ppo: the language model learns from scores of what it writes itself.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/cli/context.h"
#include "service/cli/language_training_flags.h"
#include "service/cli/preference_commands.h"
#include "service/training/policy_options.h"

namespace blazon::service::cli {
namespace {

struct PolicyFlags {
  TrainPolicyOptions options;
  LanguageTrainingFlags training = {.takes_adapter = true};
};

int RunTrainPolicy(const PolicyFlags& flags, Context& context) {
  TrainPolicyOptions options = flags.options;
  if (absl::Status status = FinishLanguageTraining(context, flags.training, options.common); !status.ok())
    return Fail(status, absl::IsInvalidArgument(status) ? kWrongUsage : kFailed);
  if (absl::Status status = TrainPolicy(options); !status.ok()) return Fail(status);
  std::cout << options.common.trainer.folder.string() << std::endl;
  return kDone;
}

int RunEvalAnswers(const PolicyFlags& flags, Context& context) {
  TrainPolicyOptions options = flags.options;
  if (absl::Status status = FinishLanguageTraining(context, flags.training, options.common); !status.ok())
    return Fail(status, absl::IsInvalidArgument(status) ? kWrongUsage : kFailed);
  options.common.trainer.log = [](const std::string&) {};
  const absl::StatusOr<double> score = ScorePolicy(options);
  if (!score.ok()) return Fail(score.status());
  if (context.json) {
    std::cout << nlohmann::json{{"score", *score}}.dump() << "\n";
  } else {
    std::cout << absl::StrFormat("score %.4f\n", *score);
  }
  return kDone;
}

// What a completion is, and what it scores.
void AddScoring(CLI::App& command, TrainPolicyOptions& options) {
  command.add_option("--reward-model", options.reward_model, "A folder of 'train reward', of the same base model")
      ->type_name("DIR");
  command.add_option("--answer-pattern", options.answer_pattern, "Where in a completion the answer is")
      ->type_name("REGEX");
  command
      .add_option("--reasoning-score", options.reasoning_score,
                  "Added to the score of a completion that has reasoning, <think>...</think>, before its answer")
      ->capture_default_str();
  command
      .add_option("--unfinished-penalty", options.unfinished_penalty,
                  "Taken off the score of a completion that was cut off")
      ->capture_default_str();
  command.add_option("--max-new-tokens", options.max_new_tokens, "Tokens of a completion at most")
      ->capture_default_str();
}

constexpr char kPolicyData[] =
    R"(A line of the data is {"prompt": ...} or {"messages": [...]}, with "answer", which the completion has to equal but for
white space at its ends, or "pattern", a regular expression that has to match somewhere in it. With --answer-pattern the
last match of that in the completion is its answer: "[0-9]+". What stands between <think> and </think> is not looked at.
A completion that is cut off at --max-new-tokens is wrong. With --reward-model neither is needed; what both give is added.)";

void AddPolicy(CLI::App& train, Context& context, const char* name, const char* about, PolicyAlgorithm algorithm,
               const char* footer) {
  auto flags = std::make_shared<PolicyFlags>();
  TrainPolicyOptions& options = flags->options;
  const bool ppo = algorithm == PolicyAlgorithm::kPpo;
  options.algorithm = algorithm;
  options.common.batch = 8;
  options.common.row_tokens = 4096;
  options.common.trainer.learning_rate = 1e-4;
  flags->training.schedule = "constant";
  if (ppo) {
    options.group = 1;
    options.common.batch = 32;
    options.updates = 2;
    options.minibatches = 2;
    options.kl = 0.1;
  }
  CLI::App* command = train.add_subcommand(name, about);
  AddPreferenceOptions(*command, options.common, options.data, options.evaluation);
  options.common.trainer.steps = 200;
  AddScoring(*command, options);
  command->add_option("--group", options.group, "Completions of each prompt in a round")->capture_default_str();
  command->add_option("--temperature", options.temperature, "That completions are drawn at")->capture_default_str();
  command->add_option("--updates", options.updates, "Times that a round's completions are learned")
      ->capture_default_str();
  command->add_option("--minibatches", options.minibatches, "Steps that they are divided into, each time")
      ->capture_default_str();
  command->add_option("--clip-ratio", options.clip, "How far the ratio to the policy that wrote may go from 1")
      ->capture_default_str();
  command->add_option("--kl", options.kl, "Weight of the divergence from the model as training finds it")
      ->capture_default_str();
  if (ppo) {
    command
        ->add_option("--kl-target", options.kl_target,
                     "Nats a completion at which the weight is held by adapting it; 0: it is fixed")
        ->capture_default_str();
    command->add_option("--gamma", options.gamma, "Discount of later rewards")->capture_default_str();
    command->add_option("--lambda", options.lambda, "Of the generalised advantage estimates")->capture_default_str();
    command->add_option("--value-weight", options.value_weight, "Weight of the value head's loss")
        ->capture_default_str();
    command->add_option("--value-clip", options.value_clip, "How far a value may move in a round")
        ->capture_default_str();
  }
  command->add_flag("--full", options.common.all_weights, "Train all weights instead of an adapter");
  AddLanguageTrainingOptions(*command, options.common, flags->training);
  command->footer(footer);
  command->callback([flags, &context] { context.run = [flags, &context] { return RunTrainPolicy(*flags, context); }; });
}

}  // namespace

void AddTrainPolicies(CLI::App& train, Context& context) {
  static const std::string grpo = absl::StrCat(kPolicyData, R"(

A round draws --group completions of each of --batch prompts; a completion is pushed by how much its score lies above or
below its group's, in standard deviations (GRPO). A step is one update. The log has the round's mean score (reward), the
mean length, the divergence (k3) and the share of tokens that the ratio's bound cut off. --eval writes greedily.

Example:
  blazon train grpo --data sums.jsonl --eval held_out.jsonl --max-new-tokens 8 --out my-policy)");
  static const std::string ppo = absl::StrCat(kPolicyData, R"(

A round draws --group completions of each of --batch prompts. Each token's reward is what the divergence costs, the last
one's the score besides; advantages are generalised estimates with a value head, which only checkpoints keep. A step is
one update of --updates times --minibatches in a round.

Example:
  blazon train ppo --data prompts.jsonl --reward-model my-reward --kl-target 6 --out my-policy)");
  AddPolicy(train, context, "grpo", "Teach the language model by scores, relative to a group of completions",
            PolicyAlgorithm::kGrpo, grpo.c_str());
  AddPolicy(train, context, "ppo", "Teach the language model by scores, with a value head", PolicyAlgorithm::kPpo,
            ppo.c_str());
}

void AddEvalAnswers(CLI::App& eval, Context& context) {
  auto flags = std::make_shared<PolicyFlags>();
  TrainPolicyOptions& options = flags->options;
  options.common.row_tokens = 4096;
  CLI::App* command = eval.add_subcommand("answers", "Score what a model answers to prompts with known answers");
  command->add_option("data", options.data, "Lines as of 'train grpo'")->type_name("FILE")->required();
  AddScoring(*command, options);
  static const std::string footer = absl::StrCat(kPolicyData, R"(

Each prompt is answered greedily; the mean score is printed: of plain answers, the share that is right.

Example:
  blazon eval answers --adapter my-policy --max-new-tokens 8 held_out.jsonl)");
  command->footer(footer);
  command->callback([flags, &context] { context.run = [flags, &context] { return RunEvalAnswers(*flags, context); }; });
}

}  // namespace blazon::service::cli
