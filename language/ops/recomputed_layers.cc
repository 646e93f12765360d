#include "language/ops/recomputed_layers.h"

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <mutex>

namespace blazon::language {
namespace {

using torch::autograd::variable_list;

thread_local bool recompute = false;

at::Tensor RandomState(at::Device device) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

void SetRandomState(at::Device device, const at::Tensor& state) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

// The layer in the graph: its backward pass makes the layer's own graph and goes through it.
class RecomputedLayer final : public torch::autograd::Node {
 public:
  RecomputedLayer(std::function<at::Tensor(const at::Tensor&)> layer, const at::Tensor& x)
      : Node(torch::autograd::collect_next_edges(x)),
        layer_(std::move(layer)),
        x_(x.detach()),
        differentiates_x_(x.requires_grad()),
        random_(RandomState(x.device())) {}

  // With gradients recorded each time: a layer may take another path without.
  at::Tensor Run(const at::Tensor& x) const {
    const at::AutoGradMode recorded(true);
    return layer_(x);
  }

  // x as a leaf of its own.
  at::Tensor Leaf() const { return x_.detach().requires_grad_(differentiates_x_); }

  variable_list apply(variable_list&& gradients) override {
    TORCH_CHECK(x_.defined(), "the graph of a recomputed layer was let go by an earlier backward pass");
    TORCH_CHECK(!at::GradMode::is_enabled(), "the gradients of a recomputed layer are not differentiable");
    const at::Device device = x_.device();
    const at::Tensor x = Leaf(), now = RandomState(device);
    SetRandomState(device, random_);
    const at::Tensor y = Run(x);
    SetRandomState(device, now);
    if (gradients[0].defined() && y.requires_grad()) y.backward(gradients[0]);
    return {x.grad()};
  }

  void release_variables() override {
    layer_ = nullptr;
    x_.reset();
  }

 private:
  std::function<at::Tensor(const at::Tensor&)> layer_;
  at::Tensor x_;
  const bool differentiates_x_;
  const at::Tensor random_;  // before the layer
};

}  // namespace

RecomputeGuard::RecomputeGuard(bool on) : before_(std::exchange(recompute, on)) {}
RecomputeGuard::~RecomputeGuard() { recompute = before_; }

bool Recomputes() { return recompute && at::GradMode::is_enabled(); }

at::Tensor Recomputed(std::function<at::Tensor(const at::Tensor&)> layer, const at::Tensor& x) {
  const std::shared_ptr<RecomputedLayer> node(new RecomputedLayer(std::move(layer), x), torch::autograd::deleteNode);
  const at::Tensor first = node->Run(node->Leaf());
  if (!first.requires_grad()) return first;
  at::Tensor y = first.detach();
  torch::autograd::create_gradient_edge(y, node);
  return y;
}

}  // namespace blazon::language
