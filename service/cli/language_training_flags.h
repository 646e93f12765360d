// The options that 'train sft' and 'train finetune' share.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "service/training/language_training.h"

namespace CLI {
class App;
}

namespace blazon::service::cli {

struct Context;

struct LanguageTrainingFlags {
  std::string optimizer = "adamw", schedule = "cosine";
};

// Adds them to `command`; what they set must outlive the parsing.
void AddLanguageTrainingOptions(CLI::App& command, LanguageTrainingOptions& options, LanguageTrainingFlags& flags);

// Fills in what the program's common options and the flags decide: the model, the seed, where progress goes.
absl::Status FinishLanguageTraining(Context& context, const LanguageTrainingFlags& flags,
                                    LanguageTrainingOptions& options);

}  // namespace blazon::service::cli
