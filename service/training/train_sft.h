// blazon train sft: supervised fine-tuning of a language model on prompts with completions (sft_data.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "language/training/lora_options.h"

namespace blazon::service {

struct TrainSftOptions {
  std::filesystem::path model;      // a Hugging Face folder, a GGUF file or a folder with one
  std::filesystem::path tokenizer;  // as of LanguageModelLoadOptions
  std::string base_name;            // what the adapter's config calls the model
  std::vector<std::filesystem::path> data;
  std::vector<std::filesystem::path> evaluation;  // held-out records; may be empty
  std::filesystem::path output;                   // the adapter's folder
  // How the frozen weights are computed with. The adapter's own are fp32 always.
  std::string dtype = "fp32";  // or "bf16"

  language::LoraOptions lora = {};

  double epochs = 3;
  int64_t steps = 0;          // instead of epochs when above 0
  int64_t batch = 16;         // records in a step
  int64_t row_tokens = 1024;  // tokens computed at once: bounds the memory, changes nothing else
  double learning_rate = 2e-4;
  double weight_decay = 0.0;
  double warm_up = 0.05;  // of the steps
  double clip_norm = 1.0;
  uint64_t seed = 1;

  bool end_token = true;   // as of SftDataOptions
  bool skip_long = false;  // as of SftDataOptions

  int64_t evaluate_every = 0;    // steps; 0: before the first and after the last
  int64_t evaluate_texts = 0;    // held-out texts that are also written by the model and compared
  int64_t evaluate_tokens = 64;  // at most, of each
  int64_t print_evaluated = 0;   // of them shown
  int64_t save_every = 0;        // steps; 0: after the last

  std::string command;                          // noted in the weights
  std::function<void(const std::string&)> log;  // a line of progress
  std::function<bool()> stop;                   // whether to end early and keep what there is
};

// Trains and writes `output`. Errors: those of the model's and the data's files; kInvalidArgument: an option out of
// range, the message names it; kOutOfRange: the loss is not finite any more.
absl::Status TrainSft(const TrainSftOptions& options);

}  // namespace blazon::service
