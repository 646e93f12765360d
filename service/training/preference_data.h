// Pairs of completions of one prompt, of which one is preferred, from JSON Lines. A line is one of
//   {"prompt": "...", "chosen": "...", "rejected": "..."}
//   {"messages": [{"role": ..., "content": ...}, ...], "chosen": "...", "rejected": "..."}
// Messages end with what is answered. Completions end with the token that ends texts, or the assistant's turns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/training/training_example.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {

struct PreferenceDataOptions {
  int64_t max_tokens = 1024;  // of the prompt with both completions; a longer pair is an error, or left out and counted
  bool skip_long = false;
};

struct PreferenceData {
  // The prompt, which is not learned; then two branches, the chosen completion and the rejected one, which are.
  std::vector<language::TrainingExample> pairs;
  int64_t tokens = 0;
  int64_t skipped = 0;  // pairs over max_tokens
};

// One line. kInvalidArgument: it is none of the above, has an unknown member, its two completions are the same, or it
// is longer than the context or than max_tokens (also with skip_long). kFailedPrecondition: messages, and the model has
// no chat template.
absl::StatusOr<language::TrainingExample> ParsePreference(std::string_view line, const LoadedLanguageModel& model,
                                                          const PreferenceDataOptions& options);

// All lines of all files, in order; empty lines are passed over. Errors as above, the message beginning with
// "FILE:LINE: "; kNotFound: a file cannot be read; kInvalidArgument: no pair.
absl::StatusOr<PreferenceData> ReadPreferenceData(const std::vector<std::filesystem::path>& files,
                                                  const LoadedLanguageModel& model,
                                                  const PreferenceDataOptions& options);

// "train: 12 pairs, 840 tokens", for the log.
std::string DescribePairs(const char* name, const PreferenceData& data, int64_t row_tokens);

}  // namespace blazon::service
