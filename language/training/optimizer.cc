#include "language/training/optimizer.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/ops/parallel_for.h"

namespace blazon::language {
namespace {

constexpr int64_t kValuesPerTask = 1 << 15;
constexpr double kMuonMomentum = 0.95;

// The orthogonal matrix next to x, roughly: five steps of Newton and Schulz with the coefficients of the post that
// optimizer_options.h cites. x: [O, I].
at::Tensor Orthogonal(const at::Tensor& x) {
  const bool tall = x.size(0) > x.size(1);
  at::Tensor y = tall ? x.t().contiguous() : x;
  y = y / (y.norm() + 1e-7);
  for (int i = 0; i < 5; ++i) {
    const at::Tensor a = at::matmul(y, y.t());
    const at::Tensor b = a * -4.7750 + at::matmul(a, a) * 2.0315;
    y = y * 3.4445 + at::matmul(b, y);
  }
  return tall ? y.t().contiguous() : y;
}

}  // namespace

absl::StatusOr<OptimizerKind> ParseOptimizer(std::string_view name) {
  if (name == "adamw") return OptimizerKind::kAdamW;
  if (name == "sgd") return OptimizerKind::kSgd;
  if (name == "muon") return OptimizerKind::kMuon;
  return absl::InvalidArgumentError(
      absl::StrCat("the optimiser \"", std::string(name), "\" is unknown; there are adamw, sgd and muon"));
}

absl::StatusOr<ScheduleKind> ParseSchedule(std::string_view name) {
  if (name == "cosine") return ScheduleKind::kCosine;
  if (name == "linear") return ScheduleKind::kLinear;
  if (name == "constant") return ScheduleKind::kConstant;
  if (name == "wsd") return ScheduleKind::kWsd;
  return absl::InvalidArgumentError(
      absl::StrCat("the schedule \"", std::string(name), "\" is unknown; there are cosine, linear, constant and wsd"));
}

double RateFactor(const Schedule& schedule, int64_t step, int64_t steps) {
  const double at = static_cast<double>(step), all = static_cast<double>(steps);
  const double rising = std::floor(schedule.warm_up * all);
  if (at <= rising) return at / rising;
  const double floor = schedule.floor, rest = std::max(all - rising, 1.0);
  const double progress = std::clamp((at - rising) / rest, 0.0, 1.0);
  switch (schedule.kind) {
    case ScheduleKind::kConstant:
      return 1.0;
    case ScheduleKind::kLinear:
      return floor + (1 - floor) * (1 - progress);
    case ScheduleKind::kWsd:
      return progress <= 0.8 ? 1.0 : floor + (1 - floor) * (1 - progress) / 0.2;
    case ScheduleKind::kCosine:
      break;
  }
  return floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

void SetValues(const TrainedTensor& trained, const at::Tensor& values) {
  const at::NoGradGuard no_grad;
  trained.tensor.copy_(values);
  if (trained.rounded.defined()) trained.rounded.copy_(trained.tensor);
}

Optimizer::Optimizer(std::vector<TrainedTensor> tensors, const OptimizerOptions& options)
    : tensors_(std::move(tensors)), options_(options) {
  for (const TrainedTensor& trained : tensors_) {
    const bool has_square = options_.kind != OptimizerKind::kSgd && !ByMuon(trained);
    means_.push_back(at::zeros_like(trained.tensor, at::kFloat));
    squares_.push_back(has_square ? at::zeros_like(trained.tensor, at::kFloat) : at::Tensor());
  }
}

bool Optimizer::ByMuon(const TrainedTensor& trained) const {
  return options_.kind == OptimizerKind::kMuon && trained.linear && trained.tensor.dim() == 2;
}

double Optimizer::Step(double learning_rate) {
  const at::NoGradGuard no_grad;
  double square = 0;
  for (const TrainedTensor& trained : tensors_) {
    const at::Tensor& gradient = trained.tensor.grad();
    if (gradient.defined()) square += at::dot(gradient.flatten(), gradient.flatten()).item<double>();
  }
  const double norm = std::sqrt(square);
  const bool finite = std::isfinite(norm);
  if (finite) ++steps_;
  const double scale = options_.clip_norm > 0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!tensors_[i].tensor.grad().defined()) continue;
    if (finite) {
      if (ByMuon(tensors_[i])) {
        Muon(i, learning_rate, scale);
      } else if (options_.kind == OptimizerKind::kSgd) {
        Sgd(i, learning_rate, scale);
      } else {
        AdamW(i, learning_rate, scale);
      }
      if (tensors_[i].rounded.defined()) tensors_[i].rounded.copy_(tensors_[i].tensor);
    }
    tensors_[i].tensor.mutable_grad().reset();
  }
  return norm;
}

// One pass over memory; the chain of plain operations would take a dozen.
void Optimizer::AdamW(size_t i, double learning_rate, double scale) {
  const double steps = static_cast<double>(steps_);
  const auto step_size = static_cast<float>(learning_rate / (1 - std::pow(options_.beta1, steps)));
  const auto root = static_cast<float>(std::sqrt(1 - std::pow(options_.beta2, steps)));
  const auto keep = static_cast<float>(1 - learning_rate * tensors_[i].weight_decay);
  const auto beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2);
  const auto epsilon = static_cast<float>(options_.epsilon), clip = static_cast<float>(scale);
  const at::Tensor gradient = tensors_[i].tensor.grad().contiguous();
  const float* gradients = gradient.const_data_ptr<float>();
  float* values = tensors_[i].tensor.data_ptr<float>();
  float* means = means_[i].data_ptr<float>();
  float* squares = squares_[i].data_ptr<float>();
  ParallelFor(gradient.numel(), kValuesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const float g = gradients[j] * clip;
      means[j] += (1.0F - beta1) * (g - means[j]);
      squares[j] = beta2 * squares[j] + (1.0F - beta2) * g * g;
      values[j] = values[j] * keep - step_size * means[j] / (std::sqrt(squares[j]) / root + epsilon);
    }
  });
}

void Optimizer::Sgd(size_t i, double learning_rate, double scale) {
  means_[i].mul_(options_.momentum).add_(tensors_[i].tensor.grad(), scale);
  tensors_[i].tensor.mul_(1 - learning_rate * tensors_[i].weight_decay).sub_(means_[i], learning_rate);
}

void Optimizer::Muon(size_t i, double learning_rate, double scale) {
  const at::Tensor gradient = tensors_[i].tensor.grad() * scale;
  means_[i].mul_(kMuonMomentum).add_(gradient);
  const at::Tensor update = Orthogonal(gradient + means_[i] * kMuonMomentum);  // Nesterov's
  const auto longer = static_cast<double>(std::max(update.size(0), update.size(1)));
  tensors_[i]
      .tensor.mul_(1 - learning_rate * tensors_[i].weight_decay)
      .sub_(update, learning_rate * 0.2 * std::sqrt(longer));
}

std::map<std::string, at::Tensor> Optimizer::State() const {
  std::map<std::string, at::Tensor> state;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    state[absl::StrCat(tensors_[i].name, ".mean")] = means_[i];
    if (squares_[i].defined()) state[absl::StrCat(tensors_[i].name, ".square")] = squares_[i];
  }
  return state;
}

absl::Status Optimizer::SetState(const std::map<std::string, at::Tensor>& state, int64_t steps) {
  const std::map<std::string, at::Tensor> own = State();
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end() || found->second.sizes() != tensor.sizes())
      return absl::InvalidArgumentError(absl::StrCat("the optimiser's ", name, " is missing or has another shape"));
  }
  for (const auto& [name, tensor] : own) at::Tensor(tensor).copy_(state.at(name));
  steps_ = steps;
  return absl::OkStatus();
}

}  // namespace blazon::language
