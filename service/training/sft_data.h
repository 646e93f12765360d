// Records for supervised fine-tuning, from JSON Lines. A line is one of
//   {"prompt": "...", "completion": "..."}        a text to write on from; the completion is learned
//   {"messages": [{"role": ..., "content": ...}]}  a conversation, by the model's chat template; the assistant's turns
//                                                  are learned, with the token that ends each
// Both completions and the assistant's messages may have "reasoning", which they then begin with, between <think> and
// </think> (language/reasoning.h).
//   {"prompt": "...", "branches": [{"prompt": "...", "completion": "..."}, ...]}
//   {"messages": [...], "branches": [{"messages": [...]}, ...]}
// A branch goes on from what the record begins with. The texts of a record are what they would be as lines of their
// own; their common first tokens are computed once (language::JoinTexts).
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

struct SftRecord {
  std::vector<language::TrainingExample> texts;  // one, or each branch with what precedes it; without branches
  language::TrainingExample joined;              // what is computed
};

struct SftDataOptions {
  // A completion ends with the token that ends texts, so that the model learns to stop.
  bool end_token = true;
  int64_t max_tokens = 1024;  // of a joined record; a longer one is an error, or left out and counted
  bool skip_long = false;
};

struct SftData {
  std::vector<SftRecord> records;
  int64_t texts = 0;     // of all records
  int64_t tokens = 0;    // computed: of the joined records
  int64_t separate = 0;  // that the texts would have by themselves
  int64_t learned = 0;   // tokens
  int64_t skipped = 0;   // records over max_tokens
};

// One line. kInvalidArgument: it is none of the above, has an unknown member, nothing to learn, or too many tokens
// (also with skip_long). kFailedPrecondition: messages, and the model has no chat template.
absl::StatusOr<SftRecord> ParseSftRecord(std::string_view line, const LoadedLanguageModel& model,
                                         const SftDataOptions& options);

// All lines of all files, in order; empty lines are passed over. Errors as above, the message beginning with
// "FILE:LINE: "; kNotFound: a file cannot be read; kInvalidArgument: no record.
absl::StatusOr<SftData> ReadSftData(const std::vector<std::filesystem::path>& files, const LoadedLanguageModel& model,
                                    const SftDataOptions& options);

// What people wrote in the records of these files, a text a branch: prompts, completions and messages but the system's,
// as words alone, without a template. For reports on the data (ngram_overlap.h). Lines that are no JSON give nothing.
std::vector<std::string> SftWords(const std::vector<std::filesystem::path>& files);

}  // namespace blazon::service
