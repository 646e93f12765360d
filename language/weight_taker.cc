#include "language/weight_taker.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/ops/parallel_for.h"

namespace blazon::language {
namespace {

constexpr uint16_t kHalfExponent = 0x7C00;
constexpr int64_t kBlock = 4096;  // values looked at together

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

std::string ShapeOf(const Weight& weight) {
  if (const auto* quantised = std::get_if<QuantizedTensor>(&weight)) {
    return ShapeText({quantised->rows, quantised->columns});
  }
  return ShapeText(std::get<at::Tensor>(weight).sizes().vec());
}

// Whether one of `count` floating-point numbers has all bits of the exponent set. Without a branch in the loop, so that
// it becomes vector code.
template <int64_t kCount, typename Bits>
bool AnyNotFinite(const Bits* bits, Bits exponent) {
  Bits any = 0;
  for (int64_t i = 0; i < kCount; ++i) any |= static_cast<Bits>((bits[i] & exponent) == exponent);
  return any != 0;
}

template <typename Bits>
bool AllFinite(const at::Tensor& values, Bits exponent) {
  const auto* bits = static_cast<const Bits*>(values.const_data_ptr());
  std::atomic<bool> finite = true;
  ParallelFor(values.numel(), /*per_task=*/1 << 18, [&](int64_t i, int64_t end) {
    for (; i + kBlock <= end && finite; i += kBlock) {
      if (AnyNotFinite<kBlock>(bits + i, exponent)) finite = false;
    }
    for (; i < end && finite; ++i) {
      if (AnyNotFinite<1>(bits + i, exponent)) finite = false;
    }
  });
  return finite;
}

// Reads the values once, where they lie.
bool IsFinite(const at::Tensor& given) {
  if (given.is_meta()) return true;  // shapes without values
  const at::Tensor values = given.contiguous();
  switch (values.scalar_type()) {
    case at::kFloat:
      return AllFinite<uint32_t>(values, 0x7F800000);
    case at::kHalf:
      return AllFinite<uint16_t>(values, kHalfExponent);
    case at::kBFloat16:
      return AllFinite<uint16_t>(values, 0x7F80);
    case at::kDouble:
      return AllFinite<uint64_t>(values, 0x7FF0000000000000);
    default:
      return values.isfinite().all().item<bool>();
  }
}

// Whether the fp16 numbers that each block of a quantised matrix begins with are finite.
bool ScalesAreFinite(const QuantizedTensor& weight) {
  const int64_t bytes = QuantBlockBytes(weight.format), count = weight.rows * weight.columns / kQuantBlockValues;
  const int64_t scales = weight.format == QuantFormat::kQ4_1 ? 2 : 1;
  const auto* block = static_cast<const char*>(weight.blocks.const_data_ptr());
  uint16_t numbers[2] = {};
  for (int64_t i = 0; i < count; ++i, block += bytes) {
    std::memcpy(numbers, block, static_cast<size_t>(scales) * sizeof(uint16_t));
    if (AnyNotFinite<2, uint16_t>(numbers, kHalfExponent)) return false;
  }
  return true;
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

at::TensorOptions ComputeOptions(const Placement& placement) {
  return at::TensorOptions().dtype(ComputeType(placement.dtype)).device(placement.device);
}

WeightTaker::WeightTaker(StateDict weights, const Placement& placement, const WeightNames& names)
    : architecture_(names.architecture),
      placement_(placement),
      prefix_(names.prefixes.empty() ? "" : names.prefixes[0]) {
  for (auto& [full_name, weight] : weights) {
    std::string_view name = full_name;
    for (const std::string& prefix : names.prefixes) {
      if (!full_name.starts_with(prefix)) continue;
      name.remove_prefix(prefix.size());
      break;
    }
    if (names.ignorable && names.ignorable(name)) continue;
    if (!weights_.emplace(name, std::move(weight)).second) {
      Fail(absl::StrCat("tensor ", std::string(name), " is there twice, with a prefix and without"));
    }
  }
}

void WeightTaker::Fail(const std::string& message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(message);
}

std::optional<Weight> WeightTaker::Take(const std::string& name, const std::vector<int64_t>& shape) {
  if (!ok()) return std::nullopt;
  auto found = weights_.extract(name);
  if (found.empty()) {
    Fail(absl::StrCat("tensor ", name, " is missing"));
    return std::nullopt;
  }
  if (ShapeOf(found.mapped()) != ShapeText(shape)) {
    Fail(absl::StrCat("tensor ", name, " has shape ", ShapeOf(found.mapped()), " and not ", ShapeText(shape)));
    return std::nullopt;
  }
  return std::move(found.mapped());
}

at::Tensor WeightTaker::ToDense(const std::string& name, const Weight& weight, const std::vector<int64_t>& shape) {
  const auto* quantised = std::get_if<QuantizedTensor>(&weight);
  const at::Tensor given = quantised != nullptr ? Dequantize(*quantised).reshape(shape) : std::get<at::Tensor>(weight);
  if (!given.is_floating_point()) {
    Fail(absl::StrCat("tensor ", name, " holds ", c10::toString(given.scalar_type()),
                      " and not floating-point numbers"));
    return given;
  }
  if (!IsFinite(given)) Fail(absl::StrCat("tensor ", name, " holds a value that is not finite (NaN or infinity)"));
  const at::Tensor dense = given.detach().to(ComputeType(placement_.dtype));
  const bool widened = dense.element_size() > given.element_size();
  if (ok() && !widened && dense.scalar_type() != given.scalar_type() && !IsFinite(dense)) {
    Fail(absl::StrCat("tensor ", name, " holds a value that is too large for ", c10::toString(dense.scalar_type()),
                      "; use dtype fp32"));
  }
  return Place(name, dense);
}

// Tensors without values stay so, whatever the device: a model of shapes is made of them.
at::Tensor WeightTaker::Place(const std::string& name, const at::Tensor& dense) {
  if (placement_.device.is_cpu() || dense.is_meta()) return dense;
  try {
    at::Tensor placed = dense.to(placement_.device);
    placed_bytes_ += static_cast<int64_t>(placed.nbytes());
    return placed;
  } catch (const c10::OutOfMemoryError&) {
    constexpr int64_t kMebibyte = 1 << 20;
    if (ok()) {
      status_ = absl::ResourceExhaustedError(absl::StrCat(
          "tensor ", name, " of ", static_cast<int64_t>(dense.nbytes()) / kMebibyte, " MiB does not fit on ",
          placement_.device.str(), ", which has ", placed_bytes_ / kMebibyte,
          " MiB of this model's weights already. Use dtype bf16 or fp16, a smaller model, another device, or the CPU"));
    }
    return dense;
  }
}

void WeightTaker::List(const std::string& name, Parameter parameter) {
  parameter.name = name;
  parameter.checkpoint_name = name.starts_with("lm_head.") ? name : prefix_ + name;
  parameters_.push_back(std::move(parameter));
}

Linear WeightTaker::Matrix(const std::string& module, int64_t outputs, int64_t inputs, Bias bias, Layout layout) {
  return Matrix(module, outputs, inputs, bias, layout, /*linear=*/true);
}

Linear WeightTaker::Table(const std::string& module, int64_t rows, int64_t width) {
  return Matrix(module, rows, width, Bias::kNone, Layout::kOutputsFirst, /*linear=*/false);
}

Linear WeightTaker::Matrix(const std::string& module, int64_t outputs, int64_t inputs, Bias bias, Layout layout,
                           bool linear) {
  const std::string name = module + ".weight";
  // Quantised blocks run along the inputs and cannot be turned.
  const auto listed = weights_.find(name);
  const bool quantised = listed != weights_.end() && std::holds_alternative<QuantizedTensor>(listed->second);
  const bool turned = layout == Layout::kInputsFirst && !quantised;
  const std::vector<int64_t> shape = turned ? std::vector{inputs, outputs} : std::vector{outputs, inputs};
  std::optional<Weight> found = Take(name, shape);
  at::Tensor bias_values;
  if (bias == Bias::kYes) bias_values = Dense(module + ".bias", {outputs});
  if (!found || !ok()) return Linear();
  Parameter parameter = {
      .linear = linear, .outputs = outputs, .inputs = inputs, .transposed = layout == Layout::kInputsFirst};
  if (quantised && placement_.dtype == Dtype::kAuto && placement_.device.is_cpu()) {
    if (!ScalesAreFinite(std::get<QuantizedTensor>(*found))) {
      Fail(absl::StrCat("tensor ", name, " has a scale that is not finite (NaN or infinity)"));
    }
    List(name, std::move(parameter));
    return Linear(module, *std::move(found), std::move(bias_values));
  }
  const at::Tensor dense = ToDense(name, *found, shape);
  parameter.tensor = (turned ? dense.t() : dense).contiguous();
  List(name, parameter);
  return Linear(module, std::move(parameter.tensor), std::move(bias_values));
}

at::Tensor WeightTaker::Dense(const std::string& name, const std::vector<int64_t>& shape, double offset) {
  const std::optional<Weight> found = Take(name, shape);
  if (!found) return at::Tensor();
  at::Tensor dense = ToDense(name, *found, shape).contiguous();
  if (offset != 0.0) dense = dense + offset;
  List(name, {.tensor = dense, .offset = offset});
  return dense;
}

absl::Status WeightTaker::Finish() const {
  if (!status_.ok() || weights_.empty()) return status_;
  const auto& [name, weight] = *weights_.begin();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", name, " ", ShapeOf(weight), " is unknown to the ", architecture_, " architecture"));
}

}  // namespace blazon::language
