#include "language/training/master_weights.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <utility>

namespace blazon::language {
namespace {

class AddToMaster final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit AddToMaster(at::Tensor master) : master_(std::move(master)) {}

  void operator()(const at::Tensor& weight) override {
    const at::NoGradGuard no_grad;
    at::Tensor& sum = master_.mutable_grad();
    if (sum.defined()) {
      sum.add_(weight.grad());
    } else {
      sum = weight.grad().to(at::kFloat);
    }
    weight.mutable_grad().reset();
  }

 private:
  at::Tensor master_;
};

}  // namespace

void TrainByMaster(const at::Tensor& weight, const at::Tensor& master) {
  weight.set_data(master.detach().to(weight.scalar_type(), /*non_blocking=*/false, /*copy=*/true));
  weight.set_requires_grad(true);
  torch::autograd::impl::set_post_acc_grad_hooks(weight, std::make_unique<AddToMaster>(master));
}

}  // namespace blazon::language
