// blazon train reward: a reward model from pairs of completions (preference_data.h), by Bradley and Terry's model; and
// what such a model says of texts. Its layout: service/checkpoint/reward_model_folder.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/training/language_training.h"

namespace blazon::service {

struct TrainRewardOptions {
  LanguageTrainingOptions common = {};  // of an adapter; all_weights is refused
  std::vector<std::filesystem::path> data;
  std::vector<std::filesystem::path> evaluation;  // held-out pairs; may be empty
  double epochs = 1;                              // counts where TrainerOptions::steps is 0
  bool skip_long = false;                         // as of PreferenceDataOptions
};

// Trains, and writes the adapter and the head into the run's folder, also when it was stopped early. Errors: as
// TrainDpo.
absl::Status TrainReward(const TrainRewardOptions& options);

// What a reward model says of a line: a pair, as preference_data.h has it, or {"prompt": ..., "completion": ...}.
struct ScoredLine {
  bool pair = false;
  double reward = 0;    // of the completion, or of the chosen one
  double rejected = 0;  // of a pair
};

struct ScoreTextsOptions {
  LanguageTrainingOptions common = {};  // model, tokenizer, dtype, row_tokens, and the trainer's log and stop
  std::filesystem::path reward;         // the reward model's folder
  std::vector<std::filesystem::path> data;
};

// All lines of all files, in order. Errors: as ReadRewardModel and ReadPreferenceData; kCancelled: stopped.
absl::StatusOr<std::vector<ScoredLine>> ScoreTexts(const ScoreTextsOptions& options);

}  // namespace blazon::service
