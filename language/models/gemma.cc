#include "language/models/gemma.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/models/decoder_config.h"
#include "language/ops/attention.h"
#include "language/ops/ragged_batch.h"
#include "language/ops/recomputed_layers.h"
#include "language/ops/rms_norm.h"
#include "language/weight_taker.h"

namespace blazon::language {
namespace {

absl::Status CheckConfig(const GemmaConfig& config) {
  if (absl::Status status = CheckDecoderConfig(config); !status.ok()) return status;
  if (config.local_rope_theta > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("rope_local_base_freq is ", config.local_rope_theta, "; it must be above 0"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LanguageModel>> GemmaModel::Create(const GemmaConfig& given, StateDict weights,
                                                                  const Placement& placement) {
  GemmaConfig config = given;
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;
  if (config.query_scalar == 0.0) config.query_scalar = static_cast<double>(config.head_width);

  std::unique_ptr<GemmaModel> model(new GemmaModel);
  model->config_ = config;
  model->public_config_ = {config.width, config.vocabulary_size, config.layers, config.context_length,
                           2 * config.layers * config.key_heads * config.head_width};
  model->options_ = ComputeOptions(placement);
  const int64_t query_width = config.heads * config.head_width, key_width = config.key_heads * config.head_width;
  const auto ignorable = [&](std::string_view name) {
    return name.ends_with(".rotary_emb.inv_freq") || (config.tie_embeddings && name == "lm_head.weight");
  };
  try {
    WeightTaker take(std::move(weights), placement, {.architecture = "Gemma", .prefixes = {}, .ignorable = ignorable});
    const auto norm = [&](const std::string& module, int64_t width) { return take.Vector(module, width, 1.0); };
    model->embed_tokens_ = take.Table("model.embed_tokens", config.vocabulary_size, config.width);
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("model.layers.", i, ".");
      GemmaLayer layer;
      layer.input_layernorm = norm(prefix + "input_layernorm", config.width);
      layer.self_attn.q_proj = take.Matrix(prefix + "self_attn.q_proj", query_width, config.width);
      layer.self_attn.k_proj = take.Matrix(prefix + "self_attn.k_proj", key_width, config.width);
      layer.self_attn.v_proj = take.Matrix(prefix + "self_attn.v_proj", key_width, config.width);
      layer.self_attn.o_proj = take.Matrix(prefix + "self_attn.o_proj", config.width, query_width);
      layer.post_attention_layernorm = norm(prefix + "post_attention_layernorm", config.width);
      if (config.generation >= 2) {
        layer.pre_feedforward_layernorm = norm(prefix + "pre_feedforward_layernorm", config.width);
        layer.post_feedforward_layernorm = norm(prefix + "post_feedforward_layernorm", config.width);
      }
      if (config.generation >= 3) {
        layer.self_attn.q_norm = norm(prefix + "self_attn.q_norm", config.head_width);
        layer.self_attn.k_norm = norm(prefix + "self_attn.k_norm", config.head_width);
      }
      layer.mlp.gate_proj = take.Matrix(prefix + "mlp.gate_proj", config.mlp_width, config.width);
      layer.mlp.up_proj = take.Matrix(prefix + "mlp.up_proj", config.mlp_width, config.width);
      layer.mlp.down_proj = take.Matrix(prefix + "mlp.down_proj", config.width, config.mlp_width);
      model->layers_.push_back(std::move(layer));
    }
    model->norm_ = norm("model.norm", config.width);
    model->lm_head_ = config.tie_embeddings ? model->embed_tokens_.Named("lm_head")
                                            : take.Matrix("lm_head", config.vocabulary_size, config.width);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
    model->rope_ = Rope(config.head_width, config.rope_theta, config.rope_scaling, placement.device);
    model->local_rope_ =
        config.generation >= 3 ? Rope(config.head_width, config.local_rope_theta, {}, placement.device) : model->rope_;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> GemmaModel::NewState() const {
  return std::make_unique<KvCache>(config_.layers, config_.key_heads, config_.head_width, config_.context_length,
                                   options_);
}

at::Tensor GemmaModel::Embed(const at::Tensor& tokens) const {
  // The factor is rounded to the compute type, as the reference does.
  const at::Tensor factor = at::scalar_tensor(std::sqrt(static_cast<double>(config_.width)), options_);
  return embed_tokens_.Rows(tokens).to(options_) * factor;
}

at::Tensor GemmaModel::Forward(absl::Span<const ModelInput> inputs) const {
  const RaggedBatch batch = GatherRows(inputs, *this, options_);
  const RopeRows turn = rope_.At(batch.positions, options_);
  const RopeRows local_turn = config_.generation >= 3 ? local_rope_.At(batch.positions, options_) : turn;
  const int64_t rows = batch.x.size(0);
  const auto heads = [=, this](const at::Tensor& y) { return y.view({rows, -1, config_.head_width}); };
  const auto norm = [this](const at::Tensor& y, const at::Tensor& weight) {
    return weight.defined() ? RmsNorm(y, weight, config_.norm_epsilon) : y;
  };
  // Each head by itself. y: [N, H, C]
  const auto head_norm = [=, this](const at::Tensor& y, const at::Tensor& weight) {
    return weight.defined() ? norm(y.reshape({-1, config_.head_width}), weight).view_as(y) : y;
  };

  const auto run_layer = [=, this](int64_t i, at::Tensor x) {
    const GemmaLayer& layer = layers_[i];
    const auto& attention = layer.self_attn;
    const AttentionRules rules = {.scale = 1.0 / std::sqrt(config_.query_scalar),
                                  .softcap = config_.score_softcap,
                                  .window = config_.windows.empty() ? 0 : config_.windows[i],
                                  .window_cuts_spans = config_.generation >= 3};
    const RopeRows& turn_here = rules.window > 0 ? local_turn : turn;
    at::Tensor h = norm(x, layer.input_layernorm);  // [N, D]
    const at::Tensor q = ApplyRope(head_norm(heads(attention.q_proj.Forward(h, batch.adapters)), attention.q_norm),
                                   turn_here);  // [N, H, C]
    const at::Tensor k = ApplyRope(head_norm(heads(attention.k_proj.Forward(h, batch.adapters)), attention.k_norm),
                                   turn_here);                                // [N, K, C]
    const at::Tensor v = heads(attention.v_proj.Forward(h, batch.adapters));  // [N, K, C]
    h = CausalAttention(q, k, v, batch.sequences, i, rules);                  // [N, H*C]
    h = attention.o_proj.Forward(h, batch.adapters);                          // [N, D]
    if (config_.generation >= 2) h = norm(h, layer.post_attention_layernorm);
    x = x + h;

    h = norm(x, config_.generation >= 2 ? layer.pre_feedforward_layernorm : layer.post_attention_layernorm);
    h = at::gelu(layer.mlp.gate_proj.Forward(h, batch.adapters), "tanh") *
        layer.mlp.up_proj.Forward(h, batch.adapters);      // [N, F]
    h = layer.mlp.down_proj.Forward(h, batch.adapters);    // [N, D]
    return x + norm(h, layer.post_feedforward_layernorm);  // [N, D]
  };
  const at::Tensor x = RunLayers(config_.layers, batch.x, run_layer);  // [N, D]
  AdvanceCaches(batch);
  return norm(x, norm_);  // [N, D]
}

at::Tensor GemmaModel::Logits(const at::Tensor& rows) const {
  const at::Tensor logits = lm_head_.Forward(rows).to(at::kFloat);
  return config_.logit_softcap != 0.0 ? (logits / config_.logit_softcap).tanh() * config_.logit_softcap : logits;
}

}  // namespace blazon::language
