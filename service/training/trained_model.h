// The part of a language model that a training changes: an adapter, or all weights.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/training/lora.h"
#include "language/training/optimizer.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {

struct TrainedModelOptions {
  bool all_weights = false;         // else an adapter
  language::LoraOptions lora = {};  // of the adapter
  std::filesystem::path start =
      {};  // an adapter in PEFT's layout to begin with, which decides the rank; empty: a new one
  // For all weights of a model in bf16: the same model in fp32, whose weights are then what is trained and written,
  // and whose gradients the first one's become (language/training/master_weights.h). Null: the model is trained itself.
  std::shared_ptr<const language::LanguageModel> masters = {};
  bool half = false;          // the adapter is written in fp16
  double weight_decay = 0.0;  // of matrices
};

class TrainedModel {
 public:
  // loaded must outlive it; its weights are this one's alone. kInvalidArgument: as NewLoraAdapter and ReadAdapter, all
  // weights of a model that is not dense fp32 and has no masters, or `start` with all weights.
  static absl::StatusOr<TrainedModel> Create(const LoadedLanguageModel& loaded, const TrainedModelOptions& options);

  const language::LanguageModel& model() const { return *loaded_->model; }
  const language::Adapter* adapter() const { return adapter_.get(); }  // null: all weights
  // The adapter that training began with, which stays as it is; null where it began at the model itself.
  const language::Adapter* start() const { return start_.get(); }
  bool all_weights() const { return options_.all_weights; }

  std::vector<language::TrainedTensor> Tensors() const;

  // The adapter in PEFT's layout, or the model as a Hugging Face folder (model_folder.h). base: where the model came
  // from; base_name: what an adapter's config calls it.
  absl::Status Write(const std::filesystem::path& folder, const std::filesystem::path& base,
                     const std::string& base_name, const std::map<std::string, std::string>& notes) const;

 private:
  // The model with the values that are trained, where all weights are.
  const language::LanguageModel& written() const { return options_.masters ? *options_.masters : model(); }

  TrainedModel(const LoadedLanguageModel& loaded, const TrainedModelOptions& options)
      : loaded_(&loaded), options_(options) {}

  const LoadedLanguageModel* loaded_;
  TrainedModelOptions options_;
  std::shared_ptr<language::Adapter> adapter_, start_;
};

}  // namespace blazon::service
