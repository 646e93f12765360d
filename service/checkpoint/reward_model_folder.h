// Reward models: a language model with a low-rank adapter, and a linear head on the state of a text's last token (after
// the last norm), which gives the text's reward. A folder holds
//   adapter_config.json, adapter_model.safetensors  the adapter, as adapter_folder.h has it
//   reward_head.safetensors                         "score.weight" [1, D] in fp32; its metadata name the base model:
//                                                   "base_model" (a name) and "base_digest" ("sha256:...")
// transformers computes the same as a ...ForSequenceClassification with one label, whose head is `score`.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/training/training_example.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {

struct RewardModel {
  std::shared_ptr<const language::Adapter> adapter;
  at::Tensor head;  // [1, D]
};

// kNotFound: a file is missing. kInvalidArgument: it was made for a base with other weights than `base`, or an option
// of its adapter's as ReadAdapter says. kDataLoss: a file is broken. The message names the file and what is wrong.
absl::StatusOr<RewardModel> ReadRewardModel(const std::filesystem::path& folder, const LoadedLanguageModel& base);

// The head beside the adapter, which WriteAdapter writes. notes: for the safetensors' metadata.
absl::Status WriteRewardHead(const std::filesystem::path& folder, const at::Tensor& head,
                             const LoadedLanguageModel& base, const std::string& base_name,
                             std::map<std::string, std::string> notes);

// The rewards of texts, in order. Those of a row are computed together; a row has the texts of each of its examples.
// Without gradients. Throws c10::Error.
std::vector<double> Rewards(const language::LanguageModel& base, const RewardModel& reward,
                            absl::Span<const language::TrainingExample* const> row);

}  // namespace blazon::service
