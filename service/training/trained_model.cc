#include "service/training/trained_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "language/training/master_weights.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/model_folder.h"

namespace blazon::service {

absl::StatusOr<TrainedModel> TrainedModel::Create(const LoadedLanguageModel& loaded,
                                                  const TrainedModelOptions& options) {
  TrainedModel trained(loaded, options);
  if (options.all_weights) {
    if (!options.start.empty())
      return absl::InvalidArgumentError("all weights are trained from the model itself; leave out --adapter or --full");
    for (const language::Parameter& parameter : trained.written().parameters()) {
      if (!parameter.tensor.defined() || parameter.tensor.scalar_type() != at::kFloat)
        return absl::InvalidArgumentError("what is trained is fp32, and this model's weights are not");
      // What was read may be a view of the checkpoint's file. All who hold this tensor see the new memory.
      at::Tensor tensor = parameter.tensor;
      tensor.set_data(tensor.clone(at::MemoryFormat::Contiguous));
      tensor.requires_grad_(true);
    }
    if (options.masters != nullptr) {
      for (const language::TrainedTensor& tensor : trained.Tensors())
        language::TrainByMaster(tensor.rounded, tensor.tensor);
    }
    return trained;
  }
  if (options.start.empty()) {
    auto adapter = language::NewLoraAdapter("trained", *loaded.model, options.lora);
    if (!adapter.ok()) return adapter.status();
    trained.adapter_ = *std::move(adapter);
    return trained;
  }
  auto start = ReadAdapter(options.start, *loaded.model);
  if (!start.ok()) return start.status();
  trained.start_ = *std::move(start);
  trained.adapter_ = std::make_shared<language::Adapter>(*trained.start_);
  const language::LoraWeights& first = trained.start_->modules.begin()->second;
  for (auto& [module, weights] : trained.adapter_->modules) {
    if (weights.a.size(0) != first.a.size(0) || weights.scale != first.scale) {
      return absl::UnimplementedError(absl::StrCat(options.start.string(), ": ", module,
                                                   " has another rank or scale than the other modules; such an adapter "
                                                   "cannot be trained on. Begin with a new one"));
    }
    weights.a = weights.a.clone().requires_grad_(true);
    weights.b = weights.b.clone().requires_grad_(true);
    weights.dropout = options.lora.dropout;
  }
  trained.options_.lora.rank = first.a.size(0);
  trained.options_.lora.alpha = first.scale * static_cast<double>(first.a.size(0));
  trained.options_.lora.rank_stabilised = false;
  trained.options_.lora.targets.clear();
  return trained;
}

std::vector<language::TrainedTensor> TrainedModel::Tensors() const {
  std::vector<language::TrainedTensor> tensors;
  if (adapter_ != nullptr) {
    for (const auto& [name, tensor] : language::LoraTensors(*adapter_))
      tensors.push_back({.name = name, .tensor = tensor, .weight_decay = options_.weight_decay, .linear = true});
    return tensors;
  }
  const std::vector<language::Parameter>& parameters = written().parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const language::Parameter& parameter = parameters[i];
    tensors.push_back({.name = parameter.name,
                       .tensor = parameter.tensor,
                       .weight_decay = parameter.tensor.dim() > 1 ? options_.weight_decay : 0.0,
                       .linear = parameter.linear && !parameter.name.starts_with("lm_head."),
                       .rounded = options_.masters ? model().parameters()[i].tensor : at::Tensor()});
  }
  return tensors;
}

absl::Status TrainedModel::Write(const std::filesystem::path& folder, const std::filesystem::path& base,
                                 const std::string& base_name, const std::map<std::string, std::string>& notes) const {
  if (adapter_ != nullptr)
    return WriteAdapter(folder, *adapter_, model(), options_.lora, base_name, notes, options_.half);
  return WriteModelFolder(folder, written(), base, notes);
}

}  // namespace blazon::service
