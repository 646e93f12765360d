// What policy optimisation can be told (policy_task.h). No tensors in here: the command line reads it too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/training/language_training.h"

namespace blazon::service {

enum class PolicyAlgorithm { kGrpo, kPpo };

struct TrainPolicyOptions {
  // LanguageTrainingOptions::batch: prompts in a round. A step of the trainer is one update; a round has
  // updates * minibatches of them.
  LanguageTrainingOptions common = {};
  PolicyAlgorithm algorithm = PolicyAlgorithm::kGrpo;
  std::vector<std::filesystem::path> data;        // policy_data.h
  std::vector<std::filesystem::path> evaluation;  // held-out prompts; may be empty

  std::filesystem::path reward_model;  // a folder of 'train reward'; empty: the lines' answers and patterns decide
  std::string answer_pattern;          // as of ScorerOptions; empty: all of the completion is the answer
  double reasoning_score = 0.0;        // as of ScorerOptions
  double unfinished_penalty = 0.0;     // as of ScorerOptions, and off a reward model's reward

  int64_t group = 8;            // completions of a prompt in a round; GRPO: at least 2
  int64_t max_new_tokens = 64;  // of a completion
  double temperature = 1.0;     // it is drawn at, 0.01 to 10
  int64_t updates = 1;          // times that a round's completions are learned
  int64_t minibatches = 1;      // steps that they are divided into, each time
  double clip = 0.2;            // how far the ratio to the policy that wrote may go from 1, above 0
  double kl = 0.04;             // weight of the divergence from the reference, 0 or more
  double kl_target = 0.0;  // PPO: nats a completion at which the weight is held (Ziegler et al. 2019); 0: it is fixed
  double gamma = 1.0;      // PPO: discount, above 0 to 1
  double lambda = 0.95;    // PPO: of the advantage estimates, 0 to 1
  double value_weight = 0.1;  // PPO: of the values' loss, above 0
  double value_clip = 0.2;    // PPO: how far a value may move, above 0
};

// Trains a policy and writes it into the run's folder, also when it was stopped early. Errors: those of the model's and
// the data's files, of Trainer::Run, and kInvalidArgument for an option out of range; the message names it.
absl::Status TrainPolicy(const TrainPolicyOptions& options);

// The mean score of greedy completions of the prompts in `data`, by the model with `start_adapter`; nothing is trained.
absl::StatusOr<double> ScorePolicy(const TrainPolicyOptions& options);

}  // namespace blazon::service
