// Layers whose intermediate results are not kept for the backward pass but computed again in it (Chen et al. 2016,
// arXiv 1604.06174): of each its input alone is kept, and the forward pass is paid for twice. Values and gradients are
// the same, bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace blazon::language {

// While one that is `on` lives, transformers that this thread runs with gradients recorded compute their layers again,
// those of models/ and of training/. Only for inputs without a state, as a layer would extend its cache twice: with one
// GatherRows throws c10::Error.
class RecomputeGuard {
 public:
  explicit RecomputeGuard(bool on);
  ~RecomputeGuard();
  RecomputeGuard(const RecomputeGuard&) = delete;
  RecomputeGuard& operator=(const RecomputeGuard&) = delete;

 private:
  const bool before_;
};

// Whether this thread's innermost RecomputeGuard is on, and gradients are recorded.
bool Recomputes();

// layer(x), which is computed again in the backward pass. Until then, or until the graph is let go, the layer is kept,
// and all that it refers to must live and stay as it is. What it draws at random from the generator of x's device it
// draws the second time too; the generator is then as if it had drawn once. For backward(): the leaves that the layer
// refers to get their gradients whichever were asked for, and gradients are not differentiable.
at::Tensor Recomputed(std::function<at::Tensor(const at::Tensor& x)> layer, const at::Tensor& x);

// layer(i, x) for each i from 0 to below `count`, of what the one before gave. Where Recomputes(), a copy of `layer` is
// kept as above: it captures by value.
template <typename Layer>
at::Tensor RunLayers(int64_t count, at::Tensor x, const Layer& layer) {
  if (!Recomputes()) {
    for (int64_t i = 0; i < count; ++i) x = layer(i, x);
    return x;
  }
  const auto kept = std::make_shared<const Layer>(layer);
  for (int64_t i = 0; i < count; ++i) x = Recomputed([kept, i](const at::Tensor& y) { return (*kept)(i, y); }, x);
  return x;
}

}  // namespace blazon::language
