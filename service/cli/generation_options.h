// The options of sampling and stopping that caption, ask and generate share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "blazon/v1/generation.pb.h"
#include "service/cli/context.h"

namespace blazon::service::cli {

struct GenerationFlags {
  std::optional<int32_t> max_new_tokens, top_k, no_repeat_ngram_size, num_sequences, num_beams, num_beam_groups,
      top_logprobs, prompt_logprobs, explain;
  std::optional<double> temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty,
      length_penalty, diversity_penalty;
  std::vector<std::string> logit_bias, stop;
  std::vector<int32_t> stop_token_ids;
  std::string early_stopping;
  std::string reasoning;  // "": as the command has it; else "show", "hide" or "only"
  bool ignore_eos = false, allow_repetition = false, logprobs = false, echo = false;
};

void AddGenerationOptions(CLI::App& command, GenerationFlags& flags);
// Those that only generate has.
void AddSequenceOptions(CLI::App& command, GenerationFlags& flags);
// For generate and chat.
void AddReasoningOption(CLI::App& command, GenerationFlags& flags);

// Prints reasoning and the answer behind it as they come, as --reasoning says: with "show" the reasoning stands between
// <think> and </think>, with "only" it is printed alone. What was cut off before its answer has no </think>.
class ReasoningPrinter {
 public:
  explicit ReasoningPrinter(std::string mode) : mode_(std::move(mode)) {}
  void Reasoning(std::string_view text);
  void Answer(std::string_view text);

 private:
  const std::string mode_;
  bool open_ = false;
};

// kInvalidArgument: a value out of range; the message names it and the range. No model is needed to know.
absl::StatusOr<v1::GenerationOptions> ToOptions(const GenerationFlags& flags, const Context& context);

}  // namespace blazon::service::cli
