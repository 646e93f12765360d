#include "language/training/lora.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {

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
