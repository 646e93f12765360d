// The steps that every training of a language model takes around its own data.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/language_task.h"
#include "service/training/language_training.h"
#include "service/training/ngram_overlap.h"

namespace blazon::service {

// The model, dense. kInvalidArgument: another dtype than fp32 or bf16.
absl::StatusOr<LoadedLanguageModel> LoadForTraining(const LanguageTrainingOptions& options);

LanguageTaskOptions TaskOptions(const LanguageTrainingOptions& options);

// What is trained of it. Errors: as TrainedModel::Create.
absl::StatusOr<TrainedModel> MakeTrained(const LanguageTrainingOptions& options, const LoadedLanguageModel& loaded);

// Trains and, unless it was a dry run, writes the result and run.json, the report on it: the command, the steps, what
// the result is of, and the overlap of held-out and training texts where there are held-out ones. task: trains
// `trained`.
absl::Status RunAndWrite(const LanguageTrainingOptions& options, TrainingTask& task, const TrainedModel& trained,
                         const std::optional<OverlapReport>& overlap = std::nullopt);

}  // namespace blazon::service
