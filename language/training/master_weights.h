// Weights that a model computes with in bf16 while an optimiser moves their fp32 values, the masters (Micikevicius et
// al. 2017, arXiv 1710.03740): steps that bf16 would round away add up, and so do gradients.
#pragma once

#include <ATen/core/Tensor.h>

namespace blazon::language {

// Makes `weight` a leaf with memory of its own and the values of `master`, rounded to its type. From now on its
// gradients are added to master.grad(), in fp32, as each backward pass makes them, and it keeps none. To round it anew
// when the master has moved is for whoever moves that: TrainedTensor::rounded.
// master: fp32, of weight's shape.
void TrainByMaster(const at::Tensor& weight, const at::Tensor& master);

}  // namespace blazon::language
