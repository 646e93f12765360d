// The steps that every training of a language model takes around its own data.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/language_task.h"
#include "service/training/language_training.h"

namespace blazon::service {

// The model, dense. kInvalidArgument: another dtype than fp32 or bf16.
absl::StatusOr<LoadedLanguageModel> LoadForTraining(const LanguageTrainingOptions& options);

LanguageTaskOptions TaskOptions(const LanguageTrainingOptions& options);

// Trains and, unless it was a dry run, writes the result and run.json.
absl::Status RunAndWrite(const LanguageTrainingOptions& options, LanguageTask& task);

}  // namespace blazon::service
