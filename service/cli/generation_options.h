// The options of sampling and stopping that caption, ask and generate share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "blazon/v1/generation.pb.h"
#include "service/cli/context.h"

namespace blazon::service::cli {

struct GenerationFlags {
  std::optional<int32_t> max_new_tokens, top_k, no_repeat_ngram_size, top_logprobs;
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
};

void AddGenerationOptions(CLI::App& command, GenerationFlags& flags);

// kInvalidArgument: a value out of range; the message names it and the range. No model is needed to know.
absl::StatusOr<v1::GenerationOptions> ToOptions(const GenerationFlags& flags, const Context& context);

}  // namespace blazon::service::cli
