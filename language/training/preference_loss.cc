#include "language/training/preference_loss.h"

#include <ATen/Functions.h>

namespace blazon::language {

DpoTerms DpoLoss(const at::Tensor& policy_chosen, const at::Tensor& policy_rejected, const at::Tensor& reference_chosen,
                 const at::Tensor& reference_rejected, double beta, double label_smoothing) {
  const at::Tensor chosen = beta * (policy_chosen - reference_chosen);
  const at::Tensor rejected = beta * (policy_rejected - reference_rejected);
  const at::Tensor margin = chosen - rejected;
  return {.losses = -(1 - label_smoothing) * at::log_sigmoid(margin) - label_smoothing * at::log_sigmoid(-margin),
          .chosen_reward = chosen.detach(),
          .rejected_reward = rejected.detach()};
}

at::Tensor BradleyTerryLoss(const at::Tensor& chosen, const at::Tensor& rejected) {
  return -at::log_sigmoid(chosen - rejected);
}

}  // namespace blazon::language
