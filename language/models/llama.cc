#include "language/models/llama.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <c10/util/Exception.h>

#include <set>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/ops/attention.h"
#include "language/ops/rms_norm.h"
#include "language/ops/swiglu.h"

namespace blazon::language {
namespace {

std::string ShapeOf(const Weight& weight) {
  if (const auto* quantised = std::get_if<QuantizedTensor>(&weight)) {
    return absl::StrCat("[", quantised->rows, ", ", quantised->columns, "]");
  }
  return absl::StrCat("[", absl::StrJoin(std::get<at::Tensor>(weight).sizes(), ", "), "]");
}

// Takes tensors out of a state dict by name, checks their shapes, and remembers the first error.
class WeightTaker {
 public:
  WeightTaker(const StateDict& weights, Dtype dtype) : weights_(weights), dtype_(dtype) {}

  // `module`.weight, [outputs, inputs]
  Linear Matrix(const std::string& module, int64_t outputs, int64_t inputs) {
    Weight weight = Take(module + ".weight", {outputs, inputs}, /*keep_quantised=*/dtype_ == Dtype::kAuto);
    return ok() ? Linear(module, std::move(weight)) : Linear();
  }

  // `module`.weight, [width]
  at::Tensor Vector(const std::string& module, int64_t width) {
    return std::get<at::Tensor>(Take(module + ".weight", {width}, /*keep_quantised=*/false));
  }

  bool ok() const { return status_.ok(); }

  // The first tensor that was missing or mis-shaped, or else one that nobody took.
  absl::Status Finish() const {
    if (!status_.ok()) return status_;
    for (const auto& [name, weight] : weights_) {
      if (!taken_.contains(name)) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor ", name, " ", ShapeOf(weight), " is unknown to the Llama architecture"));
      }
    }
    return absl::OkStatus();
  }

 private:
  Weight Take(const std::string& name, const std::vector<int64_t>& shape, bool keep_quantised) {
    const at::ScalarType type = dtype_ == Dtype::kBf16 ? at::kBFloat16 : at::kFloat;
    const auto found = weights_.find(name);
    if (found == weights_.end()) return Fail(absl::StrCat("tensor ", name, " is missing"));
    taken_.insert(name);
    const std::string wanted = absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
    if (ShapeOf(found->second) != wanted) {
      return Fail(absl::StrCat("tensor ", name, " has shape ", ShapeOf(found->second), " and not ", wanted));
    }
    if (const auto* quantised = std::get_if<QuantizedTensor>(&found->second)) {
      if (keep_quantised) return *quantised;
      return Dequantize(*quantised).reshape(shape).to(type);
    }
    return std::get<at::Tensor>(found->second).detach().to(type).contiguous();
  }

  Weight Fail(const std::string& message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(message);
    return at::Tensor();
  }

  const StateDict& weights_;
  const Dtype dtype_;
  std::set<std::string> taken_;
  absl::Status status_;
};

absl::Status CheckConfig(const LlamaConfig& config) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"hidden_size", config.width},          {"num_hidden_layers", config.layers},
      {"num_attention_heads", config.heads},  {"num_key_value_heads", config.key_heads},
      {"head_dim", config.head_width},        {"intermediate_size", config.mlp_width},
      {"vocab_size", config.vocabulary_size}, {"max_position_embeddings", config.context_length}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.heads % config.key_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_attention_heads ", config.heads,
                                                   " is not a multiple of num_key_value_heads ", config.key_heads));
  }
  if (config.head_width % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim is ", config.head_width, "; rotary positions need an even one"));
  }
  if (!(config.rope_theta > 0) || !(config.norm_epsilon > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope_theta ", config.rope_theta, " and rms_norm_eps ", config.norm_epsilon, " must be above 0"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Create(const LlamaConfig& given, const StateDict& weights,
                                                               Dtype dtype) {
  LlamaConfig config = given;
  if (config.head_width == 0 && config.heads > 0) config.head_width = config.width / config.heads;
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;

  std::unique_ptr<LlamaModel> model(new LlamaModel);
  model->config_ = config;
  model->public_config_ = {config.width, config.vocabulary_size, config.layers, config.context_length};
  model->compute_type_ = dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat;

  try {
    WeightTaker take(weights, dtype);
    const int64_t query_width = config.heads * config.head_width, key_width = config.key_heads * config.head_width;
    model->embed_tokens_ = take.Matrix("model.embed_tokens", config.vocabulary_size, config.width);
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("model.layers.", i, ".");
      LlamaLayer layer;
      layer.input_layernorm = take.Vector(prefix + "input_layernorm", config.width);
      layer.self_attn.q_proj = take.Matrix(prefix + "self_attn.q_proj", query_width, config.width);
      layer.self_attn.k_proj = take.Matrix(prefix + "self_attn.k_proj", key_width, config.width);
      layer.self_attn.v_proj = take.Matrix(prefix + "self_attn.v_proj", key_width, config.width);
      layer.self_attn.o_proj = take.Matrix(prefix + "self_attn.o_proj", config.width, query_width);
      layer.post_attention_layernorm = take.Vector(prefix + "post_attention_layernorm", config.width);
      layer.mlp.gate_proj = take.Matrix(prefix + "mlp.gate_proj", config.mlp_width, config.width);
      layer.mlp.up_proj = take.Matrix(prefix + "mlp.up_proj", config.mlp_width, config.width);
      layer.mlp.down_proj = take.Matrix(prefix + "mlp.down_proj", config.width, config.mlp_width);
      model->layers_.push_back(std::move(layer));
    }
    model->norm_ = take.Vector("model.norm", config.width);
    model->lm_head_ = config.tie_embeddings ? model->embed_tokens_.Named("lm_head")
                                            : take.Matrix("lm_head", config.vocabulary_size, config.width);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->rope_ = MakeRopeTable(config.context_length, config.head_width, config.rope_theta);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> LlamaModel::NewState() const {
  return std::make_unique<KvCache>(config_.layers, config_.key_heads, config_.head_width, config_.context_length,
                                   compute_type_);
}

at::Tensor LlamaModel::Embed(const at::Tensor& tokens) const { return embed_tokens_.Rows(tokens); }

at::Tensor LlamaModel::Forward(absl::Span<const ModelInput> batch) const {
  TORCH_CHECK(!batch.empty(), "Forward needs at least one input");
  std::vector<at::Tensor> embeddings, positions;
  std::vector<SequenceRows> sequences;
  std::vector<AdapterRows> adapters;
  int64_t rows = 0;
  for (const ModelInput& input : batch) {
    embeddings.push_back(input.embeddings.defined() ? input.embeddings.to(compute_type_)
                                                    : Embed(input.tokens));  // [T, D]
    const int64_t count = embeddings.back().size(0);
    auto* cache = static_cast<KvCache*>(input.state);
    const int64_t past = cache != nullptr ? cache->length() : 0;
    TORCH_CHECK(count > 0, "an input has no tokens");
    TORCH_CHECK(past + count <= config_.context_length, past + count, " tokens are more than the context of ",
                config_.context_length);
    positions.push_back(at::arange(past, past + count, at::kLong));
    sequences.push_back({rows, count, cache});
    if (input.adapter != nullptr) {
      const bool continues =
          !adapters.empty() && adapters.back().adapter == input.adapter && adapters.back().end == rows;
      if (continues)
        adapters.back().end += count;
      else
        adapters.push_back({input.adapter, rows, rows + count});
    }
    rows += count;
  }

  const at::Tensor position = at::cat(positions);                                                   // [N]
  const at::Tensor cosine = rope_.cosine.index_select(0, position).unsqueeze(1).to(compute_type_);  // [N, 1, C]
  const at::Tensor sine = rope_.sine.index_select(0, position).unsqueeze(1).to(compute_type_);      // [N, 1, C]
  const auto heads = [&](const at::Tensor& y) { return y.view({rows, -1, config_.head_width}); };

  at::Tensor x = embeddings.size() == 1 ? embeddings[0].contiguous() : at::cat(embeddings);  // [N, D]
  for (int64_t i = 0; i < config_.layers; ++i) {
    const LlamaLayer& layer = layers_[i];
    at::Tensor h = RmsNorm(x, layer.input_layernorm, config_.norm_epsilon);                            // [N, D]
    const at::Tensor q = ApplyRope(heads(layer.self_attn.q_proj.Forward(h, adapters)), cosine, sine);  // [N, H, C]
    const at::Tensor k = ApplyRope(heads(layer.self_attn.k_proj.Forward(h, adapters)), cosine, sine);  // [N, K, C]
    const at::Tensor v = heads(layer.self_attn.v_proj.Forward(h, adapters));                           // [N, K, C]
    x = x + layer.self_attn.o_proj.Forward(CausalAttention(q, k, v, sequences, i), adapters);          // [N, D]

    h = RmsNorm(x, layer.post_attention_layernorm, config_.norm_epsilon);                          // [N, D]
    h = SwiGlu(layer.mlp.gate_proj.Forward(h, adapters), layer.mlp.up_proj.Forward(h, adapters));  // [N, F]
    x = x + layer.mlp.down_proj.Forward(h, adapters);                                              // [N, D]
  }
  for (const SequenceRows& sequence : sequences) {
    if (sequence.cache != nullptr) sequence.cache->Advance(sequence.count);
  }
  return RmsNorm(x, norm_, config_.norm_epsilon);  // [N, D]
}

at::Tensor LlamaModel::Logits(const at::Tensor& rows) const { return lm_head_.Forward(rows).to(at::kFloat); }

}  // namespace blazon::language
