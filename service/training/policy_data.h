// Prompts for policy optimisation, from JSON Lines, and how what the policy writes is scored. A line has
//   "prompt": "..."  or  "messages": [...]   what is given, as in preference_data.h
// and where no reward model judges one of
//   "answer": "..."    the answer, which the completion has to equal, but for white space at its ends
//   "pattern": "..."   a regular expression (language/tokenizer/regex.h) that has to match somewhere in it
// Reasoning in front of the answer (language/reasoning.h) is not part of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/regex.h"
#include "language/tokenizer/tokenizer.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {

struct PolicyPrompt {
  std::vector<language::TokenId> tokens;
  std::optional<std::string> answer;
  std::shared_ptr<const language::Regex> pattern;  // null: none
};

struct PolicyDataOptions {
  int64_t max_new_tokens = 64;  // room for them has to be in the context, behind the prompt
  bool judged = false;          // by a reward model; then neither "answer" nor "pattern" is asked for
};

// All lines of all files, in order; empty lines are passed over. kInvalidArgument: a line is none of the above, has an
// unknown member, or is too long; no line; the message begins with "FILE:LINE: ". kNotFound: a file cannot be read.
// kUnimplemented: a regular expression that is not run here.
absl::StatusOr<std::vector<PolicyPrompt>> ReadPolicyData(const std::vector<std::filesystem::path>& files,
                                                         const LoadedLanguageModel& model,
                                                         const PolicyDataOptions& options);

struct ScorerOptions {
  // What of the completion is compared with "answer": the last match of this regular expression; null: all of it.
  std::shared_ptr<const language::Regex> answer_pattern = nullptr;
  double reasoning_score = 0.0;     // added where the completion has reasoning with an end
  double unfinished_penalty = 0.0;  // taken off where the completion was cut off
};

// 1 where the completion is right, else 0, and what the options add. A completion that was cut off is never right.
double ScoreCompletion(const PolicyPrompt& prompt, std::string_view completion, bool finished,
                       const ScorerOptions& options);

}  // namespace blazon::service
