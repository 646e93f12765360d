// Takes a model's tensors out of a state dict: by name, shapes checked, nothing left over.
//
// The first error is remembered and the takers then return undefined tensors, so a model file takes all that it needs
// in reading order and asks once, at the end.
//
// Shapes: I inputs, O outputs.
// Thread safety: none. The tensors taken share the state dict's memory where type and layout stay. A taker that owns
// the only copy of the dict lets each tensor go as it is taken, so that converting a mapped checkpoint needs memory for
// the result and one tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "language/language_model.h"
#include "language/ops/linear.h"
#include "language/state_dict.h"

namespace blazon::language {

// The type that a model of this Dtype computes in.
at::ScalarType ComputeType(Dtype dtype);

// That type, and the device.
at::TensorOptions ComputeOptions(const Placement& placement);

// How the names of a family's checkpoints vary.
struct WeightNames {
  std::string architecture;  // for messages: "Llama"
  // Left off a name that begins with one of them, the first that fits. The first is what transformers writes, before
  // all names but lm_head's.
  std::vector<std::string> prefixes;
  // Tensors that checkpoints carry and the model has no use for (masks, rotary frequencies). Name without the prefix.
  std::function<bool(std::string_view name)> ignorable;
};

// What a linear layer has beside its weight.
enum class Bias { kNone, kYes };
// How a dense matrix lies in the checkpoint: [O, I], or [I, O] as GPT-2's Conv1D keeps it. Quantised: always [O, I].
enum class Layout { kOutputsFirst, kInputsFirst };

class WeightTaker {
 public:
  WeightTaker(StateDict weights, const Placement& placement, const WeightNames& names);

  // `module`.weight, [O, I] and, with a bias, `module`.bias, [O]. Quantised weights stay so with Dtype::kAuto on
  // the CPU.
  Linear Matrix(const std::string& module, int64_t outputs, int64_t inputs, Bias bias = Bias::kNone,
                Layout layout = Layout::kOutputsFirst);
  // The same for a table of embeddings, which is no layer that an adapter updates.
  Linear Table(const std::string& module, int64_t rows, int64_t width);
  // Dense, in the compute type and on the device. offset: added to every value.
  at::Tensor Dense(const std::string& name, const std::vector<int64_t>& shape, double offset = 0.0);
  // `module`.weight, [width]
  at::Tensor Vector(const std::string& module, int64_t width, double offset = 0.0) {
    return Dense(module + ".weight", {width}, offset);
  }

  // Whether it is there and was not yet taken.
  bool Has(const std::string& name) const { return weights_.contains(name); }
  bool ok() const { return status_.ok(); }

  // kInvalidArgument: a tensor was missing or mis-shaped, holds a value that is not finite (or becomes infinite in the
  // type that was asked for), or one is left that nobody took; the message names it. kResourceExhausted: the device has
  // no room for a tensor; the message has what is there already, and what takes less.
  absl::Status Finish() const;

  // What was taken, for LanguageModel::parameters. Leaves none.
  std::vector<Parameter> TakeParameters() { return std::move(parameters_); }

 private:
  Linear Matrix(const std::string& module, int64_t outputs, int64_t inputs, Bias bias, Layout layout, bool linear);
  void List(const std::string& name, Parameter parameter);
  std::optional<Weight> Take(const std::string& name, const std::vector<int64_t>& shape);
  at::Tensor ToDense(const std::string& name, const Weight& weight, const std::vector<int64_t>& shape);
  at::Tensor Place(const std::string& name, const at::Tensor& dense);
  void Fail(const std::string& message);

  const std::string architecture_;
  const Placement placement_;
  int64_t placed_bytes_ = 0;  // on a device that is not the CPU
  const std::string prefix_;  // that transformers writes
  std::vector<Parameter> parameters_;
  std::map<std::string, Weight> weights_;  // those not yet taken, by name without the prefix
  absl::Status status_;
};

}  // namespace blazon::language
