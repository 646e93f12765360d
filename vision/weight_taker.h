// Takes a tower's tensors out of a checkpoint: by name, shapes checked, nothing left over.
//
// The first error is remembered and the takers then return undefined tensors, so a model file takes all that it needs
// in reading order and asks once, at the end.
//
// Shapes: I inputs, O outputs.
// Thread safety: none. The tensors taken share the checkpoint's memory where the type stays.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "vision/image_encoder.h"

namespace blazon::vision {

// y = W x + b. Differentiable in x.
struct DenseLayer {
  at::Tensor weight;  // [O, I]
  at::Tensor bias;    // [O], or undefined

  at::Tensor Forward(const at::Tensor& x) const;  // [..., I] to [..., O]
};

// Layer normalisation (Ba et al. 2016, arXiv 1607.06450).
struct NormLayer {
  at::Tensor weight, bias;  // [D]
  double epsilon = 0.0;

  at::Tensor Forward(const at::Tensor& x) const;  // [..., D] to [..., D]
};

class WeightTaker {
 public:
  // architecture: for messages ("SigLIP"). prefixes: left off a name that begins with one of them, the first that fits.
  // ignorable: tensors that checkpoints carry and the tower has no use for; null: none. Names without the prefix.
  // options: the type that the tower computes in, and the device. Weights are checked on the CPU and then moved.
  WeightTaker(TensorMap weights, const at::TensorOptions& options, std::string architecture,
              const std::vector<std::string>& prefixes = {},
              const std::function<bool(std::string_view name)>& ignorable = nullptr);

  at::Tensor Tensor(const std::string& name, const std::vector<int64_t>& shape);
  // `module`.weight and `module`.bias
  DenseLayer Dense(const std::string& module, int64_t outputs, int64_t inputs, bool bias = true);
  NormLayer Norm(const std::string& module, int64_t width, double epsilon);
  // Several layers of the same input as one: [O * n, I].
  DenseLayer Stacked(const std::vector<std::string>& modules, int64_t outputs, int64_t inputs, bool bias = true);

  bool Has(const std::string& name) const { return weights_.contains(name); }
  bool ok() const { return status_.ok(); }

  // kInvalidArgument: a tensor was missing or mis-shaped, holds a value that is not finite, or one is left that nobody
  // took; the message names it.
  absl::Status Finish() const;

 private:
  void Fail(const std::string& message);

  const at::TensorOptions options_;
  const std::string architecture_;
  TensorMap weights_;
  std::set<std::string> taken_;
  absl::Status status_;
};

}  // namespace blazon::vision
