#include "language/weight_taker.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/sum.h>

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::language {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

std::string ShapeOf(const Weight& weight) {
  if (const auto* quantised = std::get_if<QuantizedTensor>(&weight)) {
    return ShapeText({quantised->rows, quantised->columns});
  }
  return ShapeText(std::get<at::Tensor>(weight).sizes().vec());
}

// One NaN or infinity makes the sum so; a sum that overflows is looked at value by value.
bool IsFinite(const at::Tensor& values) {
  if (values.is_meta()) return true;  // shapes without values
  const double sum = values.sum(at::kDouble).item<double>();
  return sum - sum == 0 || values.isfinite().all().item<bool>();
}

}  // namespace

at::ScalarType ComputeType(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBf16:
      return at::kBFloat16;
    case Dtype::kFp16:
      return at::kHalf;
    case Dtype::kAuto:
    case Dtype::kFp32:
      break;
  }
  return at::kFloat;
}

WeightTaker::WeightTaker(const StateDict& weights, Dtype dtype, const WeightNames& names)
    : architecture_(names.architecture), dtype_(dtype) {
  for (const auto& [full_name, weight] : weights) {
    std::string_view name = full_name;
    for (const std::string& prefix : names.prefixes) {
      if (!full_name.starts_with(prefix)) continue;
      name.remove_prefix(prefix.size());
      break;
    }
    if (names.ignorable && names.ignorable(name)) continue;
    if (!weights_.emplace(name, &weight).second) {
      Fail(absl::StrCat("tensor ", std::string(name), " is there twice, with a prefix and without"));
    }
  }
}

void WeightTaker::Fail(const std::string& message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(message);
}

const Weight* WeightTaker::Find(const std::string& name, const std::vector<int64_t>& shape) {
  if (!ok()) return nullptr;
  const auto found = weights_.find(name);
  if (found == weights_.end()) {
    Fail(absl::StrCat("tensor ", name, " is missing"));
    return nullptr;
  }
  taken_.insert(name);
  if (ShapeOf(*found->second) != ShapeText(shape)) {
    Fail(absl::StrCat("tensor ", name, " has shape ", ShapeOf(*found->second), " and not ", ShapeText(shape)));
    return nullptr;
  }
  return found->second;
}

at::Tensor WeightTaker::ToDense(const std::string& name, const Weight& weight, const std::vector<int64_t>& shape) {
  const auto* quantised = std::get_if<QuantizedTensor>(&weight);
  at::Tensor dense = quantised != nullptr ? Dequantize(*quantised).reshape(shape) : std::get<at::Tensor>(weight);
  if (!dense.is_floating_point()) {
    Fail(absl::StrCat("tensor ", name, " holds ", c10::toString(dense.scalar_type()),
                      " and not floating-point numbers"));
    return dense;
  }
  if (!IsFinite(dense)) Fail(absl::StrCat("tensor ", name, " holds a value that is not finite (NaN or infinity)"));
  return dense.detach().to(ComputeType(dtype_));
}

Linear WeightTaker::Matrix(const std::string& module, int64_t outputs, int64_t inputs, Bias bias, Layout layout) {
  const std::string name = module + ".weight";
  // Quantised blocks run along the inputs and cannot be turned.
  const auto listed = weights_.find(name);
  const bool quantised = listed != weights_.end() && std::holds_alternative<QuantizedTensor>(*listed->second);
  const bool turned = layout == Layout::kInputsFirst && !quantised;
  const std::vector<int64_t> shape = turned ? std::vector{inputs, outputs} : std::vector{outputs, inputs};
  const Weight* found = Find(name, shape);
  at::Tensor bias_values;
  if (bias == Bias::kYes) bias_values = Dense(module + ".bias", {outputs});
  if (found == nullptr || !ok()) return Linear();
  if (quantised && dtype_ == Dtype::kAuto) return Linear(module, *found, std::move(bias_values));
  const at::Tensor dense = ToDense(name, *found, shape);
  return Linear(module, (turned ? dense.t() : dense).contiguous(), std::move(bias_values));
}

at::Tensor WeightTaker::Dense(const std::string& name, const std::vector<int64_t>& shape) {
  const Weight* found = Find(name, shape);
  return found != nullptr ? ToDense(name, *found, shape).contiguous() : at::Tensor();
}

absl::Status WeightTaker::Finish() const {
  if (!status_.ok()) return status_;
  for (const auto& [name, weight] : weights_) {
    if (!taken_.contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, " ", ShapeOf(*weight), " is unknown to the ", architecture_, " architecture"));
    }
  }
  return absl::OkStatus();
}

}  // namespace blazon::language
