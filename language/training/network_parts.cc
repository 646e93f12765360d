#include "language/training/network_parts.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace blazon::language {

WeightMaker::WeightMaker(uint64_t seed, std::vector<NetworkWeight>* weights)
    : generator_(at::detail::createCPUGenerator(seed)), weights_(weights) {}

at::Tensor WeightMaker::List(const std::string& name, at::Tensor tensor) {
  tensor.set_requires_grad(true);
  weights_->push_back({name, tensor, tensor.dim() > 1});
  return tensor;
}

at::Tensor WeightMaker::Normal(const std::string& name, at::IntArrayRef shape, double deviation) {
  const at::NoGradGuard no_grad;
  return List(name, at::empty(shape, at::kFloat).normal_(0, deviation, generator_));
}

at::Tensor WeightMaker::Uniform(const std::string& name, at::IntArrayRef shape, double bound) {
  const at::NoGradGuard no_grad;
  return List(name, at::empty(shape, at::kFloat).uniform_(-bound, bound, generator_));
}

at::Tensor WeightMaker::Constant(const std::string& name, at::IntArrayRef shape, double value) {
  const at::NoGradGuard no_grad;
  return List(name, at::full(shape, value, at::kFloat));
}

at::Tensor TrainedLinear::Forward(const at::Tensor& x, bool bf16) const {
  const at::ScalarType type = bf16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor w = weight.to(type);
  const at::Tensor b = bias.defined() ? bias.to(type) : at::Tensor();
  if (!inputs_first) return at::linear(x.to(type), w, b);
  return b.defined() ? at::addmm(b, x.to(type), w) : at::mm(x.to(type), w);
}

at::Tensor TrainedLayerNorm::Forward(const at::Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, 1e-5);
}

at::Tensor AttentionOfHeads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                            const at::Tensor& mask, bool causal, double dropout) {
  const auto apart = [&](const at::Tensor& x) {
    return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);  // [B, H, T, C]
  };
  const at::Tensor y = at::scaled_dot_product_attention(
      apart(q), apart(k), apart(v), mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt, dropout, causal);
  return y.transpose(1, 2).reshape({q.size(0) * q.size(1), q.size(2)});
}

at::Tensor Drop(const at::Tensor& x, double share) { return share > 0 ? at::dropout(x, share, true) : x; }

absl::Status CheckNetwork(const NetworkConfig& config) {
  const std::tuple<const char*, int64_t, int64_t> sizes[] = {
      {"layers", config.layers, 1},   {"heads", config.heads, 1},
      {"width", config.width, 1},     {"vocabulary", config.vocabulary_size, 2},
      {"context", config.context, 2}, {"mlp-width", config.mlp_width, 0},
  };
  for (const auto& [name, size, least] : sizes) {
    if (size < least || size > (1 << 24))
      return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be from ", least, " to 16777216"));
  }
  if (!(config.dropout >= 0 && config.dropout < 1))
    return absl::InvalidArgumentError(absl::StrCat("dropout is ", config.dropout, "; it must be from 0 to below 1"));
  if (config.blocks == Blocks::kLstm) return absl::OkStatus();
  const int64_t unit = config.heads * (config.blocks == Blocks::kModern ? 2 : 1);
  if (config.width % unit != 0) {
    return absl::InvalidArgumentError(absl::StrCat("width ", config.width, " is not a multiple of ",
                                                   config.blocks == Blocks::kModern ? "twice heads " : "heads ",
                                                   config.heads));
  }
  return absl::OkStatus();
}

}  // namespace blazon::language
