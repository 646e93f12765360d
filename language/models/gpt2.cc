#include "language/models/gpt2.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/ops/attention.h"
#include "language/ops/ragged_batch.h"
#include "language/ops/recomputed_layers.h"
#include "language/weight_taker.h"

namespace blazon::language {

absl::Status CheckGpt2Config(const Gpt2Config& config) {
  const std::pair<const char*, int64_t> sizes[] = {{"n_embd", config.width},
                                                   {"n_layer", config.layers},
                                                   {"n_head", config.heads},
                                                   {"n_inner", config.mlp_width},
                                                   {"vocab_size", config.vocabulary_size},
                                                   {"n_positions", config.context_length}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.width % config.heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("n_embd ", config.width, " is not a multiple of n_head ", config.heads));
  }
  if (!(config.norm_epsilon > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer_norm_epsilon is ", config.norm_epsilon, "; it must be above 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LanguageModel>> Gpt2Model::Create(const Gpt2Config& given, StateDict weights,
                                                                 const Placement& placement) {
  Gpt2Config config = given;
  if (config.mlp_width == 0) config.mlp_width = 4 * config.width;
  if (absl::Status status = CheckGpt2Config(config); !status.ok()) return status;

  std::unique_ptr<Gpt2Model> model(new Gpt2Model);
  model->config_ = config;
  model->public_config_ = {config.width, config.vocabulary_size, config.layers, config.context_length,
                           2 * config.layers * config.width};
  model->options_ = ComputeOptions(placement);
  const int64_t width = config.width;
  const auto ignorable = [&](std::string_view name) {
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
           (config.tie_embeddings && name == "lm_head.weight");
  };
  try {
    WeightTaker take(std::move(weights), placement,
                     {.architecture = "GPT-2", .prefixes = {"transformer."}, .ignorable = ignorable});
    const auto norm = [&](const std::string& module) {
      return LayerNorm{take.Dense(module + ".weight", {width}), take.Dense(module + ".bias", {width}),
                       config.norm_epsilon};
    };
    const auto conv1d = [&](const std::string& module, int64_t outputs, int64_t inputs) {
      return take.Matrix(module, outputs, inputs, Bias::kYes, Layout::kInputsFirst);
    };
    model->wte_ = take.Table("wte", config.vocabulary_size, width);
    model->wpe_ = take.Dense("wpe.weight", {config.context_length, width});
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("h.", i, ".");
      Gpt2Layer layer;
      layer.ln_1 = norm(prefix + "ln_1");
      layer.attn.c_attn = conv1d(prefix + "attn.c_attn", 3 * width, width);
      layer.attn.c_proj = conv1d(prefix + "attn.c_proj", width, width);
      layer.ln_2 = norm(prefix + "ln_2");
      layer.mlp.c_fc = conv1d(prefix + "mlp.c_fc", config.mlp_width, width);
      layer.mlp.c_proj = conv1d(prefix + "mlp.c_proj", width, config.mlp_width);
      model->h_.push_back(std::move(layer));
    }
    model->ln_f_ = norm("ln_f");
    model->lm_head_ =
        config.tie_embeddings ? model->wte_.Named("lm_head") : take.Matrix("lm_head", config.vocabulary_size, width);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> Gpt2Model::NewState() const {
  return std::make_unique<KvCache>(config_.layers, config_.heads, config_.width / config_.heads, config_.context_length,
                                   options_);
}

at::Tensor Gpt2Model::Embed(const at::Tensor& tokens) const { return wte_.Rows(tokens).to(options_); }

at::Tensor Gpt2Model::Forward(absl::Span<const ModelInput> inputs) const {
  const RaggedBatch batch = GatherRows(inputs, *this, options_);
  const int64_t rows = batch.x.size(0), head_width = config_.width / config_.heads;
  const auto heads = [=, this](const at::Tensor& y) { return y.reshape({rows, config_.heads, head_width}); };

  const auto run_layer = [=, this](int64_t i, at::Tensor x) {
    const Gpt2Layer& layer = h_[i];
    const at::Tensor qkv = layer.attn.c_attn.Forward(layer.ln_1.Forward(x), batch.adapters);  // [N, 3D]
    const at::Tensor q = heads(qkv.narrow(1, 0, config_.width));                              // [N, H, C]
    const at::Tensor k = heads(qkv.narrow(1, config_.width, config_.width));                  // [N, H, C]
    const at::Tensor v = heads(qkv.narrow(1, 2 * config_.width, config_.width));              // [N, H, C]
    AttentionRules rules;
    rules.scale = config_.scale_scores ? 1.0 / std::sqrt(static_cast<double>(head_width)) : 1.0;
    if (config_.scale_scores_by_layer) rules.scale /= static_cast<double>(i + 1);
    at::Tensor h = CausalAttention(q, k, v, batch.sequences, i, rules);  // [N, D]
    x = x + layer.attn.c_proj.Forward(h, batch.adapters);                // [N, D]

    h = at::gelu(layer.mlp.c_fc.Forward(layer.ln_2.Forward(x), batch.adapters), "tanh");  // [N, F]
    return x + layer.mlp.c_proj.Forward(h, batch.adapters);                               // [N, D]
  };
  at::Tensor x = batch.x + wpe_.index_select(0, batch.positions);  // [N, D]
  x = RunLayers(config_.layers, x, run_layer);
  AdvanceCaches(batch);
  return ln_f_.Forward(x);  // [N, D]
}

at::Tensor Gpt2Model::Logits(const at::Tensor& rows) const { return lm_head_.Forward(rows).to(at::kFloat); }

}  // namespace blazon::language
