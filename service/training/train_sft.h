// blazon train sft: supervised fine-tuning of a language model on prompts with completions (sft_data.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/status.h"
#include "service/training/language_training.h"

namespace blazon::service {

struct TrainSftOptions {
  LanguageTrainingOptions common = {};
  std::vector<std::filesystem::path> data;
  std::vector<std::filesystem::path> evaluation;  // held-out records; may be empty
  double epochs = 3;                              // counts where TrainerOptions::steps is 0

  bool end_token = true;   // as of SftDataOptions
  bool skip_long = false;  // as of SftDataOptions

  int64_t evaluate_texts = 0;    // held-out texts that are also written by the model and compared
  int64_t evaluate_tokens = 64;  // at most, of each
  int64_t print_evaluated = 0;   // of them shown
};

// Trains, and writes the result into the run's folder, also when it was stopped early. Errors: those of the model's and
// the data's files, of Trainer::Run, and kInvalidArgument for an option out of range; the message names it.
absl::Status TrainSft(const TrainSftOptions& options);

}  // namespace blazon::service
