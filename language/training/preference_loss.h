// Losses of pairs of completions of which a person prefers one.
//
// Shapes: P pairs. fp32 throughout.
#pragma once

#include <ATen/core/Tensor.h>

namespace blazon::language {

// Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7).
struct DpoTerms {
  at::Tensor losses;                          // [P]
  at::Tensor chosen_reward, rejected_reward;  // [P]: beta * log(policy / reference), without gradients
};

// Each argument: the log-probability of a whole completion, [P]. beta: above 0. label_smoothing: the share of pairs
// that are taken to be the wrong way round (Mitchell 2023, "A note on DPO with noisy preferences"); 0 to below 0.5.
// Where policy and reference are equal, each loss is ln 2.
DpoTerms DpoLoss(const at::Tensor& policy_chosen, const at::Tensor& policy_rejected, const at::Tensor& reference_chosen,
                 const at::Tensor& reference_rejected, double beta, double label_smoothing);

// Of rewards [P], by Bradley and Terry's model (Christiano et al. 2017, arXiv 1706.03741): [P].
at::Tensor BradleyTerryLoss(const at::Tensor& chosen, const at::Tensor& rejected);

}  // namespace blazon::language
