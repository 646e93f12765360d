#include "language/models/bloom.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>

#include <bit>
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
namespace {

absl::Status CheckConfig(const BloomConfig& config) {
  const std::pair<const char*, int64_t> sizes[] = {{"hidden_size", config.width},
                                                   {"n_layer", config.layers},
                                                   {"n_head", config.heads},
                                                   {"vocab_size", config.vocabulary_size},
                                                   {"seq_length", config.context_length}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.width % config.heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hidden_size ", config.width, " is not a multiple of n_head ", config.heads));
  }
  if (!(config.norm_epsilon > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer_norm_epsilon is ", config.norm_epsilon, "; it must be above 0"));
  }
  return absl::OkStatus();
}

// Slopes of the heads (arXiv 2108.12409, section 3): 2^(-8 i / n) for n heads, n a power of two; the heads beyond the
// largest power of two take every second slope of twice as many heads.
at::Tensor AlibiSlopes(int64_t heads) {
  const auto whole = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<float> slopes;
  for (int64_t i = 1; i <= whole; ++i) {
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(whole))));
  }
  for (int64_t i = 1; std::ssize(slopes) < heads; i += 2) {
    slopes.push_back(static_cast<float>(std::exp2(-4.0 * static_cast<double>(i) / static_cast<double>(whole))));
  }
  return at::tensor(slopes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LanguageModel>> BloomModel::Create(const BloomConfig& config, StateDict weights,
                                                                  const Placement& placement) {
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;
  std::unique_ptr<BloomModel> model(new BloomModel);
  model->config_ = config;
  model->public_config_ = {config.width, config.vocabulary_size, config.layers, config.context_length,
                           2 * config.layers * config.width};
  model->options_ = ComputeOptions(placement);
  model->alibi_slopes_ = AlibiSlopes(config.heads).to(placement.device);
  const int64_t width = config.width;
  const auto ignorable = [&](std::string_view name) { return config.tie_embeddings && name == "lm_head.weight"; };
  try {
    WeightTaker take(std::move(weights), placement,
                     {.architecture = "BLOOM", .prefixes = {"transformer."}, .ignorable = ignorable});
    const auto norm = [&](const std::string& module) {
      return LayerNorm{take.Dense(module + ".weight", {width}), take.Dense(module + ".bias", {width}),
                       config.norm_epsilon};
    };
    model->word_embeddings_ = take.Table("word_embeddings", config.vocabulary_size, width);
    model->word_embeddings_layernorm_ = norm("word_embeddings_layernorm");
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("h.", i, ".");
      BloomLayer layer;
      layer.input_layernorm = norm(prefix + "input_layernorm");
      layer.self_attention.query_key_value =
          take.Matrix(prefix + "self_attention.query_key_value", 3 * width, width, Bias::kYes);
      layer.self_attention.dense = take.Matrix(prefix + "self_attention.dense", width, width, Bias::kYes);
      layer.post_attention_layernorm = norm(prefix + "post_attention_layernorm");
      layer.mlp.dense_h_to_4h = take.Matrix(prefix + "mlp.dense_h_to_4h", 4 * width, width, Bias::kYes);
      layer.mlp.dense_4h_to_h = take.Matrix(prefix + "mlp.dense_4h_to_h", width, 4 * width, Bias::kYes);
      model->h_.push_back(std::move(layer));
    }
    model->ln_f_ = norm("ln_f");
    model->lm_head_ = config.tie_embeddings ? model->word_embeddings_.Named("lm_head")
                                            : take.Matrix("lm_head", config.vocabulary_size, width);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> BloomModel::NewState() const {
  return std::make_unique<KvCache>(config_.layers, config_.heads, config_.width / config_.heads, config_.context_length,
                                   options_);
}

at::Tensor BloomModel::Embed(const at::Tensor& tokens) const { return word_embeddings_.Rows(tokens).to(options_); }

at::Tensor BloomModel::Forward(absl::Span<const ModelInput> inputs) const {
  const RaggedBatch batch = GatherRows(inputs, *this, options_);
  const int64_t rows = batch.x.size(0), head_width = config_.width / config_.heads;

  const auto run_layer = [=, this](int64_t i, at::Tensor x) {
    const BloomLayer& layer = h_[i];
    at::Tensor h = layer.input_layernorm.Forward(x);  // [N, D]
    at::Tensor residual = config_.residual_from_norm ? h : x;
    const at::Tensor qkv = layer.self_attention.query_key_value.Forward(h, batch.adapters)
                               .view({rows, config_.heads, 3, head_width});  // [N, H, 3, C]
    const AttentionRules rules = {.alibi_slopes = alibi_slopes_};
    h = CausalAttention(qkv.select(2, 0), qkv.select(2, 1), qkv.select(2, 2), batch.sequences, i, rules);  // [N, D]
    x = residual + layer.self_attention.dense.Forward(h, batch.adapters);                                  // [N, D]

    h = layer.post_attention_layernorm.Forward(x);  // [N, D]
    residual = config_.residual_from_norm ? h : x;
    h = at::gelu(layer.mlp.dense_h_to_4h.Forward(h, batch.adapters), "tanh");  // [N, 4D]
    return residual + layer.mlp.dense_4h_to_h.Forward(h, batch.adapters);      // [N, D]
  };
  const at::Tensor x = RunLayers(config_.layers, word_embeddings_layernorm_.Forward(batch.x), run_layer);  // [N, D]
  AdvanceCaches(batch);
  return ln_f_.Forward(x);  // [N, D]
}

at::Tensor BloomModel::Logits(const at::Tensor& rows) const { return lm_head_.Forward(rows).to(at::kFloat); }

}  // namespace blazon::language
