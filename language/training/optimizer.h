// One step of an optimiser over many tensors, with clipping by the global norm, and its state as tensors for a file.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "language/training/optimizer_options.h"

namespace blazon::language {

// A tensor that is trained.
struct TrainedTensor {
  std::string name;           // its own
  at::Tensor tensor;          // fp32, contiguous, requires gradients
  double weight_decay = 0.0;  // decoupled
  bool linear = false;        // the matrix of a linear layer: Muon's concern
  // What a model computes with in place of `tensor`: the same values in a smaller type. Undefined: `tensor` itself.
  at::Tensor rounded = {};
};

// Gives it the values, and rounds them anew. values: of its shape.
void SetValues(const TrainedTensor& trained, const at::Tensor& values);

// Thread safety: none.
class Optimizer {
 public:
  Optimizer(std::vector<TrainedTensor> tensors, const OptimizerOptions& options);

  // One update with the tensors' gradients, which are cleared; a tensor without one stays. What moved is rounded anew.
  // Returns the gradients' norm
  // before clipping; when that is not finite nothing is changed, and the step does not count.
  double Step(double learning_rate);

  const std::vector<TrainedTensor>& tensors() const { return tensors_; }
  int64_t steps() const { return steps_; }

  // "NAME.mean" and "NAME.square", in fp32; they share memory with the state.
  std::map<std::string, at::Tensor> State() const;
  // Takes the values of what State() gave. kInvalidArgument: a tensor is missing or mis-shaped; the message names it.
  absl::Status SetState(const std::map<std::string, at::Tensor>& state, int64_t steps);

 private:
  bool ByMuon(const TrainedTensor& trained) const;
  void AdamW(size_t i, double learning_rate, double scale);
  void Sgd(size_t i, double learning_rate, double scale);
  void Muon(size_t i, double learning_rate, double scale);

  std::vector<TrainedTensor> tensors_;
  std::vector<at::Tensor> means_, squares_;  // a square is undefined where the rule has none
  OptimizerOptions options_;
  int64_t steps_ = 0;
};

}  // namespace blazon::language
