#include "language/models/llama.h"

#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/models/decoder_config.h"
#include "language/ops/attention.h"
#include "language/ops/ragged_batch.h"
#include "language/ops/recomputed_layers.h"
#include "language/ops/rms_norm.h"
#include "language/ops/swiglu.h"
#include "language/weight_taker.h"

namespace blazon::language {
absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Create(const LlamaConfig& given, StateDict weights,
                                                               const Placement& placement) {
  LlamaConfig config = given;
  if (config.head_width == 0 && config.heads > 0) config.head_width = config.width / config.heads;
  if (absl::Status status = CheckDecoderConfig(config); !status.ok()) return status;

  std::unique_ptr<LlamaModel> model(new LlamaModel);
  model->config_ = config;
  model->public_config_ = {config.width, config.vocabulary_size, config.layers, config.context_length,
                           2 * config.layers * config.key_heads * config.head_width};
  model->options_ = ComputeOptions(placement);

  try {
    // Checkpoints of older transformers keep the rotary frequencies of each layer; some keep a tied output matrix.
    const auto ignorable = [&](std::string_view name) {
      return name.ends_with(".rotary_emb.inv_freq") || (config.tie_embeddings && name == "lm_head.weight");
    };
    WeightTaker take(std::move(weights), placement, {.architecture = "Llama", .prefixes = {}, .ignorable = ignorable});
    const Bias query_bias = config.query_bias ? Bias::kYes : Bias::kNone;
    const Bias output_bias = config.output_bias ? Bias::kYes : Bias::kNone;
    const Bias mlp_bias = config.mlp_bias ? Bias::kYes : Bias::kNone;
    const int64_t query_width = config.heads * config.head_width, key_width = config.key_heads * config.head_width;
    model->embed_tokens_ = take.Table("model.embed_tokens", config.vocabulary_size, config.width);
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("model.layers.", i, ".");
      LlamaLayer layer;
      layer.input_layernorm = take.Vector(prefix + "input_layernorm", config.width);
      layer.self_attn.q_proj = take.Matrix(prefix + "self_attn.q_proj", query_width, config.width, query_bias);
      layer.self_attn.k_proj = take.Matrix(prefix + "self_attn.k_proj", key_width, config.width, query_bias);
      layer.self_attn.v_proj = take.Matrix(prefix + "self_attn.v_proj", key_width, config.width, query_bias);
      layer.self_attn.o_proj = take.Matrix(prefix + "self_attn.o_proj", config.width, query_width, output_bias);
      if (config.query_key_norm) {
        layer.self_attn.q_norm = take.Vector(prefix + "self_attn.q_norm", config.head_width);
        layer.self_attn.k_norm = take.Vector(prefix + "self_attn.k_norm", config.head_width);
      }
      layer.post_attention_layernorm = take.Vector(prefix + "post_attention_layernorm", config.width);
      layer.mlp.gate_proj = take.Matrix(prefix + "mlp.gate_proj", config.mlp_width, config.width, mlp_bias);
      layer.mlp.up_proj = take.Matrix(prefix + "mlp.up_proj", config.mlp_width, config.width, mlp_bias);
      layer.mlp.down_proj = take.Matrix(prefix + "mlp.down_proj", config.width, config.mlp_width, mlp_bias);
      model->layers_.push_back(std::move(layer));
    }
    model->norm_ = take.Vector("model.norm", config.width);
    model->lm_head_ = config.tie_embeddings ? model->embed_tokens_.Named("lm_head")
                                            : take.Matrix("lm_head", config.vocabulary_size, config.width);
    RopeScaling scaling = config.rope_scaling;
    const bool divided = take.Has("rope_freqs.weight");
    const at::Tensor divisors = divided ? take.Dense("rope_freqs.weight", {config.head_width / 2}) : at::Tensor();
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
    std::erase_if(model->parameters_, [](const Parameter& each) { return each.name == "rope_freqs.weight"; });
    if (divided) scaling = {.kind = RopeScaling::Kind::kDivisors, .divisors = divisors.to(at::kFloat)};
    model->rope_ = Rope(config.head_width, config.rope_theta, scaling, placement.device);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> LlamaModel::NewState() const {
  return std::make_unique<KvCache>(config_.layers, config_.key_heads, config_.head_width, config_.context_length,
                                   options_);
}

at::Tensor LlamaModel::Embed(const at::Tensor& tokens) const { return embed_tokens_.Rows(tokens); }

at::Tensor LlamaModel::Forward(absl::Span<const ModelInput> inputs) const {
  const RaggedBatch batch = GatherRows(inputs, *this, options_);
  const RopeRows turn = rope_.At(batch.positions, options_);
  const int64_t rows = batch.x.size(0);
  const auto heads = [=, this](const at::Tensor& y) { return y.view({rows, -1, config_.head_width}); };
  // Each head by itself. x: [N, H, C]
  const auto normalise = [this](const at::Tensor& y, const at::Tensor& weight) {
    if (!weight.defined()) return y;
    return RmsNorm(y.reshape({-1, config_.head_width}), weight, config_.norm_epsilon).view_as(y);
  };

  const auto run_layer = [=, this](int64_t i, at::Tensor x) {
    const LlamaLayer& layer = layers_[i];
    const LlamaAttention& attention = layer.self_attn;
    at::Tensor h = RmsNorm(x, layer.input_layernorm, config_.norm_epsilon);  // [N, D]
    const at::Tensor q =
        ApplyRope(normalise(heads(attention.q_proj.Forward(h, batch.adapters)), attention.q_norm), turn);  // [N, H, C]
    const at::Tensor k =
        ApplyRope(normalise(heads(attention.k_proj.Forward(h, batch.adapters)), attention.k_norm), turn);  // [N, K, C]
    const at::Tensor v = heads(attention.v_proj.Forward(h, batch.adapters));                               // [N, K, C]
    const AttentionRules rules = {.window = config_.windows.empty() ? 0 : config_.windows[i]};
    h = CausalAttention(q, k, v, batch.sequences, i, rules);  // [N, H*C]
    x = x + attention.o_proj.Forward(h, batch.adapters);      // [N, D]

    h = RmsNorm(x, layer.post_attention_layernorm, config_.norm_epsilon);                                      // [N, D]
    h = SwiGlu(layer.mlp.gate_proj.Forward(h, batch.adapters), layer.mlp.up_proj.Forward(h, batch.adapters));  // [N, F]
    return x + layer.mlp.down_proj.Forward(h, batch.adapters);                                                 // [N, D]
  };
  const at::Tensor x = RunLayers(config_.layers, batch.x, run_layer);  // [N, D]
  AdvanceCaches(batch);
  return RmsNorm(x, norm_, config_.norm_epsilon);  // [N, D]
}

at::Tensor LlamaModel::Logits(const at::Tensor& rows) const { return lm_head_.Forward(rows).to(at::kFloat); }

}  // namespace blazon::language
