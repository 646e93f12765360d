#include "language/training/gpt2_network.h"

#include <ATen/Functions.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "language/ops/recomputed_layers.h"

namespace blazon::language {

Gpt2Network::Gpt2Network(const NetworkConfig& config, uint64_t seed) : DecoderNetwork(config) {
  WeightMaker make(seed, &weights_);
  const bool post_norm = config.blocks == Blocks::kPostNorm;
  const int64_t width = config.width, mlp_width = config.mlp_width > 0 ? config.mlp_width : 4 * width;
  const double deviation = 0.02, at_sum = deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
  const auto linear = [&](const std::string& module, int64_t inputs, int64_t outputs, double spread) {
    at::Tensor weight = make.Normal(module + ".weight", {inputs, outputs}, spread);
    return TrainedLinear{weight, make.Constant(module + ".bias", {outputs}, 0), /*inputs_first=*/true};
  };
  const auto norm = [&](const std::string& module) {
    at::Tensor weight = make.Constant(module + ".weight", {width}, 1);
    return TrainedLayerNorm{weight, make.Constant(module + ".bias", {width}, 0)};
  };
  wte_ = make.Normal(post_norm ? "transformer.tokens_embed.weight" : "transformer.wte.weight",
                     {config.vocabulary_size, width}, deviation);
  wpe_ = make.Normal(post_norm ? "transformer.positions_embed.weight" : "transformer.wpe.weight",
                     {config.context, width}, deviation);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("transformer.h.", i, ".");
    Block block;
    block.ln_1 = norm(prefix + "ln_1");
    block.c_attn = linear(prefix + "attn.c_attn", width, 3 * width, deviation);
    block.attn_c_proj = linear(prefix + "attn.c_proj", width, width, at_sum);
    block.ln_2 = norm(prefix + "ln_2");
    block.c_fc = linear(prefix + "mlp.c_fc", width, mlp_width, deviation);
    block.mlp_c_proj = linear(prefix + "mlp.c_proj", mlp_width, width, at_sum);
    h_.push_back(block);
  }
  if (!post_norm) ln_f_ = norm("transformer.ln_f");
  lm_head_.weight =
      config.tie_embeddings ? wte_ : make.Normal("lm_head.weight", {config.vocabulary_size, width}, deviation);
}

// x: [B*T, D]. Returns the same shape.
at::Tensor Gpt2Network::Attend(const Block& block, const at::Tensor& x, int64_t rows, double dropout) const {
  const at::Tensor qkv = block.c_attn.Forward(x, config_.bf16).view({rows, -1, 3 * config_.width});  // [B, T, 3D]
  const std::vector<at::Tensor> parts = qkv.split(config_.width, -1);
  const at::Tensor y = AttentionOfHeads(parts[0], parts[1], parts[2], config_.heads, {}, /*causal=*/true, dropout);
  return Drop(block.attn_c_proj.Forward(y, config_.bf16), dropout);
}

at::Tensor Gpt2Network::Mlp(const Block& block, const at::Tensor& x, double dropout) const {
  const at::Tensor y = at::gelu(block.c_fc.Forward(x, config_.bf16), "tanh");  // [B*T, F]
  return Drop(block.mlp_c_proj.Forward(y, config_.bf16), dropout);
}

at::Tensor Gpt2Network::Forward(const at::Tensor& tokens, bool training) const {
  const int64_t rows = tokens.size(0), length = tokens.size(1);
  const double dropout = training ? config_.dropout : 0;
  at::Tensor x = at::embedding(wte_, tokens) + wpe_.narrow(0, 0, length);  // [B, T, D]
  x = Drop(x, dropout).view({rows * length, config_.width});
  x = RunLayers(config_.layers, x, [=, this](int64_t i, at::Tensor y) {
    const Block& block = h_[static_cast<size_t>(i)];
    if (config_.blocks == Blocks::kPostNorm) {
      y = block.ln_1.Forward(y + Attend(block, y, rows, dropout));
      return block.ln_2.Forward(y + Mlp(block, y, dropout));
    }
    y = y + Attend(block, block.ln_1.Forward(y), rows, dropout);
    return y + Mlp(block, block.ln_2.Forward(y), dropout);
  });
  return config_.blocks == Blocks::kPostNorm ? x : ln_f_.Forward(x);
}

at::Tensor Gpt2Network::Logits(const at::Tensor& rows) const {
  return lm_head_.Forward(rows, config_.bf16).to(at::kFloat);
}

}  // namespace blazon::language
