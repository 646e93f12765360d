#include "vision/weight_taker.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sum.h>
#include <c10/util/Exception.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::vision {
namespace {

// One NaN or infinity makes the sum so; a sum that overflows is looked at value by value.
bool IsFinite(const at::Tensor& values) {
  if (values.is_meta()) return true;  // shapes without values
  const double sum = values.sum(at::kDouble).item<double>();
  return sum - sum == 0 || values.isfinite().all().item<bool>();
}

std::string ShapeText(at::IntArrayRef shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

}  // namespace

at::Tensor DenseLayer::Forward(const at::Tensor& x) const {
  return at::linear(x, weight, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt);
}

at::Tensor NormLayer::Forward(const at::Tensor& x) const {
  return at::layer_norm(x, {weight.size(0)}, weight, bias, epsilon);
}

WeightTaker::WeightTaker(TensorMap weights, const at::TensorOptions& options, std::string architecture,
                         const std::vector<std::string>& prefixes,
                         const std::function<bool(std::string_view name)>& ignorable)
    : options_(options), architecture_(std::move(architecture)) {
  for (auto& [full_name, tensor] : weights) {
    std::string_view name = full_name;
    for (const std::string& prefix : prefixes) {
      if (!full_name.starts_with(prefix)) continue;
      name.remove_prefix(prefix.size());
      break;
    }
    if (ignorable && ignorable(name)) continue;
    if (!weights_.emplace(name, std::move(tensor)).second) {
      Fail(absl::StrCat("tensor ", std::string(name), " is there twice, with a prefix and without"));
    }
  }
}

void WeightTaker::Fail(const std::string& message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(message);
}

at::Tensor WeightTaker::Tensor(const std::string& name, const std::vector<int64_t>& shape) {
  if (!ok()) return {};
  const auto found = weights_.find(name);
  if (found == weights_.end()) {
    Fail(absl::StrCat("tensor ", name, " of the ", architecture_, " architecture is missing"));
    return {};
  }
  taken_.insert(name);
  const at::Tensor& tensor = found->second;
  if (tensor.sizes() != at::IntArrayRef(shape)) {
    Fail(absl::StrCat("tensor ", name, " has shape ", ShapeText(tensor.sizes()), " and not ", ShapeText(shape)));
    return {};
  }
  if (!tensor.is_floating_point()) {
    Fail(absl::StrCat("tensor ", name, " holds ", c10::toString(tensor.scalar_type()),
                      " and not floating-point numbers"));
    return {};
  }
  if (!IsFinite(tensor)) {
    Fail(absl::StrCat("tensor ", name, " holds a value that is not finite (NaN or infinity)"));
    return {};
  }
  const at::Tensor dense = tensor.detach().to(c10::typeMetaToScalarType(options_.dtype())).contiguous();
  if (options_.device().is_cpu() || dense.is_meta()) return dense;  // tensors without values stay so
  try {
    return dense.to(options_.device());
  } catch (const c10::OutOfMemoryError&) {
    if (ok()) {
      status_ = absl::ResourceExhaustedError(absl::StrCat(
          "tensor ", name, " of the ", architecture_, " architecture does not fit on ", options_.device().str(),
          ". Use dtype bf16 or fp16, a smaller model, another device, or the CPU"));
    }
    return dense;
  }
}

DenseLayer WeightTaker::Dense(const std::string& module, int64_t outputs, int64_t inputs, bool bias) {
  return {Tensor(module + ".weight", {outputs, inputs}), bias ? Tensor(module + ".bias", {outputs}) : at::Tensor()};
}

NormLayer WeightTaker::Norm(const std::string& module, int64_t width, double epsilon) {
  return {Tensor(module + ".weight", {width}), Tensor(module + ".bias", {width}), epsilon};
}

DenseLayer WeightTaker::Stacked(const std::vector<std::string>& modules, int64_t outputs, int64_t inputs, bool bias) {
  std::vector<at::Tensor> weights, biases;
  for (const std::string& module : modules) {
    const DenseLayer layer = Dense(module, outputs, inputs, bias);
    weights.push_back(layer.weight);
    biases.push_back(layer.bias);
  }
  if (!ok()) return {};
  return {at::cat(weights), bias ? at::cat(biases) : at::Tensor()};
}

absl::Status WeightTaker::Finish() const {
  if (!status_.ok()) return status_;
  for (const auto& [name, tensor] : weights_) {
    if (!taken_.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " ", ShapeText(tensor.sizes()),
                                                     " is unknown to the ", architecture_, " architecture"));
    }
  }
  return absl::OkStatus();
}

}  // namespace blazon::vision
