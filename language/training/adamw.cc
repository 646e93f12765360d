#include "language/training/adamw.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace blazon::language {

AdamW::AdamW(std::vector<ParameterGroup> groups, AdamWOptions options) : options_(options) {
  for (ParameterGroup& group : groups) {
    for (at::Tensor& parameter : group.parameters) {
      states_.push_back(
          {parameter, at::zeros_like(parameter), at::zeros_like(parameter), group.learning_rate, group.weight_decay});
    }
  }
}

double AdamW::Step(double factor) {
  const at::NoGradGuard no_grad;
  double square = 0;
  for (const State& state : states_) {
    if (state.parameter.grad().defined()) square += state.parameter.grad().square().sum().item<double>();
  }
  const double norm = std::sqrt(square);
  const double scale = options_.clip_norm > 0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  if (std::isfinite(norm)) ++step_;
  const double correction1 = 1 - std::pow(options_.beta1, step_), correction2 = 1 - std::pow(options_.beta2, step_);
  for (State& state : states_) {
    at::Tensor& gradient = state.parameter.mutable_grad();
    if (!gradient.defined()) continue;
    if (std::isfinite(norm)) {
      gradient.mul_(scale);
      const double rate = state.learning_rate * factor;
      state.parameter.mul_(1 - rate * state.weight_decay);
      state.mean.lerp_(gradient, 1 - options_.beta1);
      state.square.mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
      const at::Tensor denominator = state.square.div(correction2).sqrt_().add_(options_.epsilon);
      state.parameter.addcdiv_(state.mean, denominator, -rate / correction1);
    }
    gradient.reset();
  }
  return norm;
}

double CosineFactor(double progress, double warm_up, double floor) {
  progress = std::clamp(progress, 0.0, 1.0);
  if (progress < warm_up) return std::max(progress, warm_up / 20) / warm_up;
  const double rest = (progress - warm_up) / (1 - warm_up);
  return floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * rest));
}

}  // namespace blazon::language
