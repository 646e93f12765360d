#include "language/training/lora.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

#include <cmath>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace blazon::language {
namespace {

std::string ModuleName(const Parameter& parameter) { return std::string(absl::StripSuffix(parameter.name, ".weight")); }

}  // namespace

std::shared_ptr<Adapter> NewLoraAdapter(std::string name, const std::vector<LoraTarget>& targets, int64_t rank,
                                        double alpha, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  auto adapter = std::make_shared<Adapter>();
  adapter->name = std::move(name);
  for (const LoraTarget& target : targets) {
    LoraWeights& weights = adapter->modules[target.module];
    weights.a = at::empty({rank, target.inputs}, at::kFloat)
                    .normal_(0, 1 / std::sqrt(static_cast<double>(target.inputs)), generator)
                    .requires_grad_(true);
    weights.b = at::zeros({target.outputs, rank}, at::kFloat).requires_grad_(true);
    weights.scale = alpha / static_cast<double>(rank);
  }
  return adapter;
}

double LoraScale(const LoraOptions& options) {
  const auto rank = static_cast<double>(options.rank);
  return options.alpha / (options.rank_stabilised ? std::sqrt(rank) : rank);
}

absl::StatusOr<std::shared_ptr<Adapter>> NewLoraAdapter(std::string name, const LanguageModel& model,
                                                        const LoraOptions& options) {
  if (options.rank < 1 || options.rank > 4096)
    return absl::InvalidArgumentError(absl::StrCat("rank is ", options.rank, "; it must be 1 to 4096"));
  if (!(options.alpha > 0) || !std::isfinite(options.alpha))
    return absl::InvalidArgumentError(absl::StrCat("alpha is ", options.alpha, "; it must be above 0"));
  if (!(options.dropout >= 0) || options.dropout >= 1)
    return absl::InvalidArgumentError(absl::StrCat("dropout is ", options.dropout, "; it must be 0 to below 1"));
  std::set<std::string> unused(options.targets.begin(), options.targets.end()), known;
  at::Generator generator = at::detail::createCPUGenerator(options.seed);
  auto adapter = std::make_shared<Adapter>();
  adapter->name = std::move(name);
  for (const Parameter& parameter : model.parameters()) {
    if (!parameter.linear) continue;
    const std::string module = ModuleName(parameter);
    known.insert(module.substr(module.rfind('.') + 1));
    bool wanted = options.targets.empty() && module != "lm_head";
    for (const std::string& target : options.targets) {
      if (module != target && !absl::EndsWith(module, absl::StrCat(".", target))) continue;
      wanted = true;
      unused.erase(target);
    }
    if (!wanted) continue;
    const double bound = 1 / std::sqrt(static_cast<double>(parameter.inputs));
    LoraWeights& weights = adapter->modules[module];
    weights.a =
        at::empty({options.rank, parameter.inputs}, at::kFloat).uniform_(-bound, bound, generator).requires_grad_(true);
    weights.b = at::zeros({parameter.outputs, options.rank}, at::kFloat).requires_grad_(true);
    weights.scale = LoraScale(options);
    weights.dropout = options.dropout;
  }
  if (known.empty()) {
    return absl::InvalidArgumentError(
        "the model has no linear layer that an adapter could update; train all of its weights instead");
  }
  if (!unused.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("the model has no linear layer \"", *unused.begin(),
                                                   "\"; there are ", absl::StrJoin(known, ", ")));
  }
  return adapter;
}

absl::Status CheckAdapter(const Adapter& adapter, const LanguageModel& model) {
  std::map<std::string, const Parameter*> layers;
  for (const Parameter& parameter : model.parameters()) {
    if (parameter.linear) layers[ModuleName(parameter)] = &parameter;
  }
  for (const auto& [module, weights] : adapter.modules) {
    const auto found = layers.find(module);
    if (found == layers.end())
      return absl::InvalidArgumentError(
          absl::StrCat("the adapter updates ", module, ", which the model does not have"));
    const Parameter& layer = *found->second;
    if (weights.a.size(1) != layer.inputs || weights.b.size(0) != layer.outputs) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the adapter's update of ", module, " is ", weights.b.size(0), " x ", weights.a.size(1),
          ", and the model's layer ", layer.outputs, " x ", layer.inputs, "; it was made for another model"));
    }
  }
  return absl::OkStatus();
}

void MoveAdapter(Adapter& adapter, at::Device device) {
  for (auto& [module, weights] : adapter.modules) {
    weights.a = weights.a.to(device);
    weights.b = weights.b.to(device);
  }
}

std::map<std::string, at::Tensor> LoraTensors(const Adapter& adapter) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [module, weights] : adapter.modules) {
    tensors[absl::StrCat(module, ".lora_a")] = weights.a;
    tensors[absl::StrCat(module, ".lora_b")] = weights.b;
  }
  return tensors;
}

absl::StatusOr<std::shared_ptr<Adapter>> AdapterFromTensors(std::string name,
                                                            const std::map<std::string, at::Tensor>& tensors,
                                                            double scale) {
  auto adapter = std::make_shared<Adapter>();
  adapter->name = std::move(name);
  for (const auto& [key, tensor] : tensors) {
    if (!absl::EndsWith(key, ".lora_a") && !absl::EndsWith(key, ".lora_b")) continue;
    LoraWeights& weights = adapter->modules[key.substr(0, key.size() - 7)];
    weights.scale = scale;
    (key.back() == 'a' ? weights.a : weights.b) = tensor.to(at::kFloat).contiguous().clone();
  }
  for (const auto& [module, weights] : adapter->modules) {
    if (!weights.a.defined() || !weights.b.defined() || weights.a.dim() != 2 || weights.b.dim() != 2 ||
        weights.a.size(0) != weights.b.size(1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the update of ", module, " lacks a matrix, or its two ranks differ"));
    }
  }
  return adapter;
}

}  // namespace blazon::language
