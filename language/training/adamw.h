// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with linear warm-up, cosine decay and clipping by the global
// norm.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace blazon::language {

// Tensors that share a peak learning rate and a weight decay.
struct ParameterGroup {
  std::vector<at::Tensor> parameters;  // require gradients
  double learning_rate = 1e-3;         // at the peak
  double weight_decay = 0.0;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.99;
  double epsilon = 1e-8;
  double clip_norm = 1.0;  // of all gradients together; 0: off
};

class AdamW {
 public:
  AdamW(std::vector<ParameterGroup> groups, AdamWOptions options = {});

  // One update from the parameters' gradients, which are cleared. factor: of the peak learning rates, see CosineFactor.
  // Returns the gradients' norm before clipping; when it is not finite nothing is changed.
  double Step(double factor);

 private:
  struct State {
    at::Tensor parameter, mean, square;
    double learning_rate, weight_decay;
  };
  std::vector<State> states_;
  AdamWOptions options_;
  int64_t step_ = 0;
};

// The share of the peak learning rate at `progress` in [0, 1]: linear from 0 until `warm_up`, then half a cosine down
// to `floor`.
double CosineFactor(double progress, double warm_up = 0.03, double floor = 0.02);

}  // namespace blazon::language
