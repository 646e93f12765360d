#include "language/training/llama_network.h"

#include <ATen/Functions.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "language/ops/recomputed_layers.h"

namespace blazon::language {
namespace {

// The first and the second half of a head's channels are turned as pairs. x: [B, T, H*C]; cos, sin: [T, 1, C/2].
at::Tensor Turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, int64_t heads) {
  const at::Tensor y = x.view({x.size(0), x.size(1), heads, -1});
  const std::vector<at::Tensor> halves = y.split(y.size(3) / 2, -1);  // [B, T, H, C/2]
  return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1).view(x.sizes());
}

}  // namespace

int64_t LlamaMlpWidth(const NetworkConfig& config) {
  return config.mlp_width > 0 ? config.mlp_width : (config.width * 8 / 3 + 31) / 32 * 32;
}

LlamaNetwork::LlamaNetwork(const NetworkConfig& config, uint64_t seed) : DecoderNetwork(config) {
  WeightMaker make(seed, &weights_);
  const int64_t width = config.width, mlp_width = LlamaMlpWidth(config);
  const double deviation = 0.02, at_sum = deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
  const auto linear = [&](const std::string& module, int64_t outputs, int64_t inputs, double spread) {
    return TrainedLinear{.weight = make.Normal(module + ".weight", {outputs, inputs}, spread), .bias = {}};
  };
  embed_tokens_ = make.Normal("model.embed_tokens.weight", {config.vocabulary_size, width}, deviation);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    Layer layer;
    layer.input_layernorm = make.Constant(prefix + "input_layernorm.weight", {width}, 1);
    layer.q_proj = linear(prefix + "self_attn.q_proj", width, width, deviation);
    layer.k_proj = linear(prefix + "self_attn.k_proj", width, width, deviation);
    layer.v_proj = linear(prefix + "self_attn.v_proj", width, width, deviation);
    layer.o_proj = linear(prefix + "self_attn.o_proj", width, width, at_sum);
    layer.post_attention_layernorm = make.Constant(prefix + "post_attention_layernorm.weight", {width}, 1);
    layer.gate_proj = linear(prefix + "mlp.gate_proj", mlp_width, width, deviation);
    layer.up_proj = linear(prefix + "mlp.up_proj", mlp_width, width, deviation);
    layer.down_proj = linear(prefix + "mlp.down_proj", width, mlp_width, at_sum);
    layers_.push_back(layer);
  }
  norm_ = make.Constant("model.norm.weight", {width}, 1);
  lm_head_.weight =
      config.tie_embeddings ? embed_tokens_ : make.Normal("lm_head.weight", {config.vocabulary_size, width}, deviation);
  const int64_t channels = width / config.heads;
  const at::Tensor frequencies = at::pow(10000.0, at::arange(0, channels, 2, at::kDouble) / -channels);  // [C/2]
  const at::Tensor angles =
      (at::arange(config.context, at::kDouble).unsqueeze(1) * frequencies).unsqueeze(1).to(at::kFloat);  // [P, 1, C/2]
  cos_ = angles.cos();
  sin_ = angles.sin();
}

at::Tensor LlamaNetwork::Forward(const at::Tensor& tokens, bool training) const {
  const int64_t rows = tokens.size(0), length = tokens.size(1), width = config_.width;
  const double dropout = training ? config_.dropout : 0;
  const bool bf16 = config_.bf16;
  const at::ScalarType type = bf16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor cos = cos_.narrow(0, 0, length).to(type), sin = sin_.narrow(0, 0, length).to(type);
  const auto norm = [=](const at::Tensor& y, const at::Tensor& weight) {
    return at::rms_norm(y, {width}, weight, 1e-5);
  };
  const auto per_row = [=](const at::Tensor& y) { return y.view({rows, length, width}); };  // [B, T, D]

  at::Tensor x = Drop(at::embedding(embed_tokens_, tokens), dropout).view({rows * length, width});
  x = RunLayers(config_.layers, x, [=, this](int64_t i, at::Tensor x) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    at::Tensor h = norm(x, layer.input_layernorm);  // [B*T, D]
    const at::Tensor q = Turn(per_row(layer.q_proj.Forward(h, bf16)), cos, sin, config_.heads);
    const at::Tensor k = Turn(per_row(layer.k_proj.Forward(h, bf16)), cos, sin, config_.heads);
    const at::Tensor v = per_row(layer.v_proj.Forward(h, bf16));
    h = AttentionOfHeads(q, k, v, config_.heads, {}, /*causal=*/true, dropout);
    x = x + Drop(layer.o_proj.Forward(h, bf16), dropout);
    h = norm(x, layer.post_attention_layernorm);
    h = at::silu(layer.gate_proj.Forward(h, bf16)) * layer.up_proj.Forward(h, bf16);  // [B*T, F]
    return x + Drop(layer.down_proj.Forward(h, bf16), dropout);
  });
  return norm(x, norm_);
}

at::Tensor LlamaNetwork::Logits(const at::Tensor& rows) const {
  return lm_head_.Forward(rows, config_.bf16).to(at::kFloat);
}

}  // namespace blazon::language
