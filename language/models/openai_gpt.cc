#include "language/models/openai_gpt.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/ops/attention.h"
#include "language/ops/ragged_batch.h"
#include "language/ops/recomputed_layers.h"
#include "language/weight_taker.h"

namespace blazon::language {

absl::StatusOr<std::unique_ptr<LanguageModel>> OpenAiGptModel::Create(const Gpt2Config& given, StateDict weights,
                                                                      const Placement& placement) {
  Gpt2Config config = given;
  if (config.mlp_width == 0) config.mlp_width = 4 * config.width;
  if (absl::Status status = CheckGpt2Config(config); !status.ok()) return status;

  std::unique_ptr<OpenAiGptModel> model(new OpenAiGptModel);
  model->config_ = config;
  model->public_config_ = {config.width, config.vocabulary_size, config.layers, config.context_length,
                           2 * config.layers * config.width};
  model->options_ = ComputeOptions(placement);
  const int64_t width = config.width;
  const auto ignorable = [&](std::string_view name) {
    return name.ends_with(".attn.bias") || name == "position_ids" ||
           (config.tie_embeddings && name == "lm_head.weight");
  };
  try {
    WeightTaker take(std::move(weights), placement,
                     {.architecture = "GPT", .prefixes = {"transformer."}, .ignorable = ignorable});
    const auto norm = [&](const std::string& module) {
      return LayerNorm{take.Dense(module + ".weight", {width}), take.Dense(module + ".bias", {width}),
                       config.norm_epsilon};
    };
    const auto conv1d = [&](const std::string& module, int64_t outputs, int64_t inputs) {
      return take.Matrix(module, outputs, inputs, Bias::kYes, Layout::kInputsFirst);
    };
    model->tokens_embed_ = take.Table("tokens_embed", config.vocabulary_size, width);
    model->positions_embed_ = take.Dense("positions_embed.weight", {config.context_length, width});
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("h.", i, ".");
      Gpt2Layer layer;
      layer.attn.c_attn = conv1d(prefix + "attn.c_attn", 3 * width, width);
      layer.attn.c_proj = conv1d(prefix + "attn.c_proj", width, width);
      layer.ln_1 = norm(prefix + "ln_1");
      layer.mlp.c_fc = conv1d(prefix + "mlp.c_fc", config.mlp_width, width);
      layer.mlp.c_proj = conv1d(prefix + "mlp.c_proj", width, config.mlp_width);
      layer.ln_2 = norm(prefix + "ln_2");
      model->h_.push_back(std::move(layer));
    }
    model->lm_head_ = config.tie_embeddings ? model->tokens_embed_.Named("lm_head")
                                            : take.Matrix("lm_head", config.vocabulary_size, width);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> OpenAiGptModel::NewState() const {
  return std::make_unique<KvCache>(config_.layers, config_.heads, config_.width / config_.heads, config_.context_length,
                                   options_);
}

at::Tensor OpenAiGptModel::Embed(const at::Tensor& tokens) const { return tokens_embed_.Rows(tokens).to(options_); }

at::Tensor OpenAiGptModel::Forward(absl::Span<const ModelInput> inputs) const {
  const RaggedBatch batch = GatherRows(inputs, *this, options_);
  const int64_t rows = batch.x.size(0), width = config_.width;
  const auto heads = [=, this](const at::Tensor& y) { return y.reshape({rows, config_.heads, width / config_.heads}); };

  const auto run_layer = [=, this](int64_t i, at::Tensor x) {
    const Gpt2Layer& layer = h_[i];
    const at::Tensor qkv = layer.attn.c_attn.Forward(x, batch.adapters);       // [N, 3D]
    const at::Tensor q = heads(qkv.narrow(1, 0, width));                       // [N, H, C]
    const at::Tensor k = heads(qkv.narrow(1, width, width));                   // [N, H, C]
    const at::Tensor v = heads(qkv.narrow(1, 2 * width, width));               // [N, H, C]
    at::Tensor h = CausalAttention(q, k, v, batch.sequences, i, {});           // [N, D]
    x = layer.ln_1.Forward(x + layer.attn.c_proj.Forward(h, batch.adapters));  // [N, D]

    h = at::gelu(layer.mlp.c_fc.Forward(x, batch.adapters), "tanh");             // [N, F]
    return layer.ln_2.Forward(x + layer.mlp.c_proj.Forward(h, batch.adapters));  // [N, D]
  };
  at::Tensor x = batch.x + positions_embed_.index_select(0, batch.positions);  // [N, D]
  x = RunLayers(config_.layers, x, run_layer);
  AdvanceCaches(batch);
  return x;
}

at::Tensor OpenAiGptModel::Logits(const at::Tensor& rows) const { return lm_head_.Forward(rows).to(at::kFloat); }

}  // namespace blazon::language
