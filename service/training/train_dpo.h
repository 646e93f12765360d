// blazon train dpo: direct preference optimisation of a language model on pairs of completions (preference_data.h).
//
// The reference is the model as training finds it: without the adapter, or with the one that training starts from. Its
// log-probabilities are computed once, before the first step, and kept in the run's folder as reference.safetensors;
// a run that goes on reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/status.h"
#include "service/training/language_training.h"

namespace blazon::service {

struct TrainDpoOptions {
  LanguageTrainingOptions common = {};
  std::vector<std::filesystem::path> data;
  std::vector<std::filesystem::path> evaluation;  // held-out pairs; may be empty
  double epochs = 1;                              // counts where TrainerOptions::steps is 0
  double beta = 0.1;                              // how dear it is to leave the reference, above 0
  double label_smoothing = 0.0;                   // share of pairs taken to be the wrong way round, 0 to below 0.5
  bool skip_long = false;                         // as of PreferenceDataOptions
};

// Trains, and writes the result into the run's folder, also when it was stopped early. Errors: those of the model's and
// the data's files, of Trainer::Run, and kInvalidArgument for an option out of range; the message names it. kCancelled:
// stopped before the first step.
absl::Status TrainDpo(const TrainDpoOptions& options);

}  // namespace blazon::service
