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

// What is trained of it. Errors: as TrainedModel::Create.
absl::StatusOr<TrainedModel> MakeTrained(const LanguageTrainingOptions& options, const LoadedLanguageModel& loaded);

// Trains and, unless it was a dry run, writes the result and run.json. task: trains `trained`.
absl::Status RunAndWrite(const LanguageTrainingOptions& options, TrainingTask& task, const TrainedModel& trained);

}  // namespace blazon::service
