// The trainable matrices of a low-rank adapter (Hu et al. 2021, arXiv 2106.09685).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/training/lora_options.h"

namespace blazon::language {

// A linear module that gets an update.
struct LoraTarget {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  int64_t inputs = 0;
  int64_t outputs = 0;
};

// An adapter whose matrices require gradients: a is drawn at random, b is zero, so that training starts at the base
// model. scale = alpha / rank.
std::shared_ptr<Adapter> NewLoraAdapter(std::string name, const std::vector<LoraTarget>& targets, int64_t rank,
                                        double alpha, uint64_t seed);

double LoraScale(const LoraOptions& options);

// An adapter for the linear layers of `model` that the options name; a is drawn as PEFT draws it (uniform, the bound
// 1 / sqrt(inputs)). kInvalidArgument: an option out of range, a target that names no layer, where the message names it
// and the layers that there are, or a model without any (an LSTM).
absl::StatusOr<std::shared_ptr<Adapter>> NewLoraAdapter(std::string name, const LanguageModel& model,
                                                        const LoraOptions& options);

// kInvalidArgument: a module of `adapter` is no linear layer of `model`, or has another shape; the message names it.
absl::Status CheckAdapter(const Adapter& adapter, const LanguageModel& model);

// Puts its matrices where a model is (LanguageModel::device).
void MoveAdapter(Adapter& adapter, at::Device device);

// The matrices of `adapter` for an optimiser or a file: "MODULE.lora_a" and "MODULE.lora_b". They share memory with it.
std::map<std::string, at::Tensor> LoraTensors(const Adapter& adapter);

// The adapter in `tensors` (names as above; others are ignored), in fp32.
// kInvalidArgument: half of a pair is missing, or ranks differ; the message names the module.
absl::StatusOr<std::shared_ptr<Adapter>> AdapterFromTensors(std::string name,
                                                            const std::map<std::string, at::Tensor>& tensors,
                                                            double scale);

}  // namespace blazon::language
