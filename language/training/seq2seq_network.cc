#include "language/training/seq2seq_network.h"

#include <ATen/Functions.h>

#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {

absl::StatusOr<std::unique_ptr<Seq2SeqNetwork>> Seq2SeqNetwork::Create(const Seq2SeqConfig& config, double dropout,
                                                                       uint64_t seed) {
  const NetworkConfig shape = {.blocks = Blocks::kGpt2,
                               .layers = config.layers,
                               .heads = config.heads,
                               .width = config.width,
                               .mlp_width = config.mlp_width,
                               .context = config.context_length,
                               .vocabulary_size = config.vocabulary_size,
                               .dropout = dropout};
  if (absl::Status status = CheckNetwork(shape); !status.ok()) return status;
  if (config.width % 2 != 0) return absl::InvalidArgumentError(absl::StrCat("width ", config.width, " is odd"));
  std::unique_ptr<Seq2SeqNetwork> network(new Seq2SeqNetwork);
  network->config_ = config;
  network->dropout_ = dropout;
  at::manual_seed(seed);
  WeightMaker make(seed, &network->weights_);
  const int64_t width = config.width;
  const auto glorot = [](int64_t inputs, int64_t outputs) {
    return std::sqrt(6.0 / static_cast<double>(inputs + outputs));
  };
  const auto linear = [&](const std::string& module, int64_t outputs, int64_t inputs) {
    at::Tensor weight = make.Uniform(module + ".weight", {outputs, inputs}, glorot(inputs, outputs));
    return TrainedLinear{weight, make.Constant(module + ".bias", {outputs}, 0)};
  };
  const auto norm = [&](const std::string& module) {
    at::Tensor weight = make.Constant(module + ".weight", {width}, 1);
    return TrainedLayerNorm{weight, make.Constant(module + ".bias", {width}, 0)};
  };
  const auto attention = [&](const std::string& module) {
    at::Tensor weight = make.Uniform(module + ".in_proj_weight", {3 * width, width}, glorot(width, 3 * width));
    at::Tensor bias = make.Constant(module + ".in_proj_bias", {3 * width}, 0);
    return Attention{weight, bias, linear(module + ".out_proj", width, width)};
  };
  network->embedding_ =
      make.Normal("embedding.weight", {config.vocabulary_size, width}, 1 / std::sqrt(static_cast<double>(width)));
  for (const bool decoder : {false, true}) {
    for (int64_t i = 0; i < config.layers; ++i) {
      const std::string prefix = absl::StrCat(decoder ? "decoder" : "encoder", ".layers.", i, ".");
      Layer layer;
      layer.self_attn = attention(prefix + "self_attn");
      if (decoder) layer.multihead_attn = attention(prefix + "multihead_attn");
      layer.linear1 = linear(prefix + "linear1", config.mlp_width, width);
      layer.linear2 = linear(prefix + "linear2", width, config.mlp_width);
      layer.norm1 = norm(prefix + "norm1");
      layer.norm2 = norm(prefix + "norm2");
      if (decoder) layer.norm3 = norm(prefix + "norm3");
      (decoder ? network->decoder_ : network->encoder_).push_back(std::move(layer));
    }
    if (config.pre_norm) {
      (decoder ? network->decoder_norm_ : network->encoder_norm_) = norm(decoder ? "decoder.norm" : "encoder.norm");
    }
  }
  network->positions_ = SinusoidalPositions(config.context_length, width);
  return network;
}

// tokens: int64 [B, T]. Returns [B*T, D].
at::Tensor Seq2SeqNetwork::Embed(const at::Tensor& tokens, double dropout) const {
  const at::Tensor x = at::embedding(embedding_, tokens) * std::sqrt(static_cast<double>(config_.width)) +
                       positions_.narrow(0, 0, tokens.size(1));
  return Drop(x, dropout).view({-1, config_.width});
}

// x: [B, T, D]; seen: [B, S, D], what is looked at, x itself where it looks at itself. mask: bool [B, 1, 1, S].
// Returns [B*T, D].
at::Tensor Seq2SeqNetwork::Attend(const Attention& attention, const at::Tensor& x, const at::Tensor& seen,
                                  const at::Tensor& mask, bool causal, double dropout) const {
  const int64_t width = config_.width;
  std::vector<at::Tensor> qkv;
  if (x.is_same(seen)) {
    qkv = at::linear(x, attention.in_proj_weight, attention.in_proj_bias).split(width, -1);
  } else {
    const std::vector<at::Tensor> weights = attention.in_proj_weight.split_with_sizes({width, 2 * width});
    const std::vector<at::Tensor> biases = attention.in_proj_bias.split_with_sizes({width, 2 * width});
    qkv = {at::linear(x, weights[0], biases[0])};
    for (at::Tensor& part : at::linear(seen, weights[1], biases[1]).split(width, -1)) qkv.push_back(std::move(part));
  }
  const at::Tensor y = AttentionOfHeads(qkv[0], qkv[1], qkv[2], config_.heads, mask, causal, dropout);
  return Drop(attention.out_proj.Forward(y, false), dropout);
}

at::Tensor Seq2SeqNetwork::Forward(const at::Tensor& sources, const at::Tensor& present, const at::Tensor& targets,
                                   bool training) const {
  const int64_t rows = sources.size(0), width = config_.width;
  const double dropout = training ? dropout_ : 0;
  const at::Tensor mask = present.view({rows, 1, 1, -1});
  const auto per_row = [&](const at::Tensor& x) { return x.view({rows, -1, width}); };
  const auto mlp = [&](const Layer& layer, const at::Tensor& x) {
    return Drop(layer.linear2.Forward(Drop(at::relu(layer.linear1.Forward(x, false)), dropout), false), dropout);
  };
  // x and what `part` adds to it, with the norm on the side that the config says.
  const auto add = [&](const at::Tensor& x, const TrainedLayerNorm& norm, const auto& part) {
    return config_.pre_norm ? x + part(norm.Forward(x)) : norm.Forward(x + part(x));
  };
  const auto self = [&](const Layer& layer, const at::Tensor& seen_mask, bool causal) {
    return [&, seen_mask, causal](const at::Tensor& x) {
      const at::Tensor y = per_row(x);
      return Attend(layer.self_attn, y, y, seen_mask, causal, dropout);
    };
  };

  at::Tensor memory = Embed(sources, dropout);  // [B*S, D]
  for (const Layer& layer : encoder_) {
    memory = add(memory, layer.norm1, self(layer, mask, false));
    memory = add(memory, layer.norm2, [&](const at::Tensor& x) { return mlp(layer, x); });
  }
  if (config_.pre_norm) memory = encoder_norm_.Forward(memory);
  const at::Tensor seen = per_row(memory);

  at::Tensor x = Embed(targets, dropout);  // [B*T, D]
  for (const Layer& layer : decoder_) {
    x = add(x, layer.norm1, self(layer, {}, true));
    x = add(x, layer.norm2,
            [&](const at::Tensor& y) { return Attend(layer.multihead_attn, per_row(y), seen, mask, false, dropout); });
    x = add(x, layer.norm3, [&](const at::Tensor& y) { return mlp(layer, y); });
  }
  if (config_.pre_norm) x = decoder_norm_.Forward(x);
  return at::linear(x, embedding_);
}

}  // namespace blazon::language
