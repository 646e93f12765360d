// How weights are moved along their gradients, and how fast. No tensors in here: the command line reads it too.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace blazon::language {

enum class OptimizerKind {
  kAdamW,  // Loshchilov and Hutter 2019, arXiv 1711.05101
  kSgd,    // with momentum
  // Jordan et al. 2024, https://kellerjordan.github.io/posts/muon: matrices move along the nearest orthogonal matrix to
  // their momentum, scaled to AdamW's usual step (Liu et al. 2025, arXiv 2502.16982), so that rates carry over; what is
  // no matrix of a linear layer goes by AdamW.
  kMuon,
};

enum class ScheduleKind {
  kCosine,    // half a cosine from the peak down to the floor
  kLinear,    // a straight line down to the floor
  kConstant,  // the peak
  kWsd,       // the peak, then over the last fifth a straight line down to the floor
};

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double momentum = 0.9;   // of SGD; Muon's is 0.95
  double clip_norm = 1.0;  // of all gradients together; 0: off
};

struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double warm_up = 0.05;  // share of the steps over which the rate rises in a straight line
  double floor = 0.0;     // share of the peak
};

// By name: "adamw", "sgd", "muon"; "cosine", "linear", "constant", "wsd". kInvalidArgument otherwise.
absl::StatusOr<OptimizerKind> ParseOptimizer(std::string_view name);
absl::StatusOr<ScheduleKind> ParseSchedule(std::string_view name);

// The share of the peak rate at `step`, from 1 to `steps`.
double RateFactor(const Schedule& schedule, int64_t step, int64_t steps);

}  // namespace blazon::language
