#include "language/ops/layer_norm.h"

#include <ATen/ops/layer_norm.h>

namespace blazon::language {

at::Tensor LayerNorm::Forward(const at::Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, epsilon);
}

}  // namespace blazon::language
