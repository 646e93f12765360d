// The options that 'train sft' and 'train finetune' share.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "service/training/language_training.h"

namespace CLI {
class App;
}

namespace blazon::service::cli {

struct Context;

struct LanguageTrainingFlags {
  std::string optimizer = "adamw", schedule = "cosine";
  int processes = 1;
  bool takes_adapter = false;  // whether training may start from one
};

// Adds them to `command`; what they set must outlive the parsing.
void AddLanguageTrainingOptions(CLI::App& command, LanguageTrainingOptions& options, LanguageTrainingFlags& flags);

// The options of the kinds of training that learn preferences: --data, --eval, --out, --steps, --restore, --overwrite,
// --batch.
void AddPreferenceOptions(CLI::App& command, LanguageTrainingOptions& options, std::vector<std::filesystem::path>& data,
                          std::vector<std::filesystem::path>& evaluation);

// Fills in what the program's common options and the flags decide: the model, the seed, where progress goes.
absl::Status FinishLanguageTraining(Context& context, const LanguageTrainingFlags& flags,
                                    LanguageTrainingOptions& options);

// The whole of a command: starts the processes, fills in `options`, runs `train`, which reads them, and prints the
// run's folder. Returns the exit status.
int RunLanguageTraining(Context& context, const LanguageTrainingFlags& flags, LanguageTrainingOptions& options,
                        const std::function<absl::Status()>& train);

}  // namespace blazon::service::cli
