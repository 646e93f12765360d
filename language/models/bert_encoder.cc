#include "language/models/bert_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/stack.h>
#include <c10/util/Exception.h>

#include <map>
#include <set>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::language {
namespace {

// Takes dense fp32 tensors out of a state dict, checks their shapes, and remembers the first error.
class BertWeights {
 public:
  BertWeights(const StateDict& weights, const BertEncoder::HeadShapes& head, at::Device device) : device_(device) {
    for (const auto& [name, weight] : weights) {
      const std::string plain = absl::StartsWith(name, "bert.") ? name.substr(5) : name;
      if (plain == "embeddings.position_ids") continue;
      if (absl::StartsWith(plain, "pooler.") && !head.contains(plain)) continue;
      weights_[plain] = &weight;
    }
  }

  at::Tensor Take(const std::string& name, const std::vector<int64_t>& shape) {
    const auto found = weights_.find(name);
    if (found == weights_.end()) return Fail(absl::StrCat("tensor ", name, " is missing"));
    const auto* dense = std::get_if<at::Tensor>(found->second);
    if (dense == nullptr) return Fail(absl::StrCat("tensor ", name, " is quantised; BERT weights must be dense"));
    taken_.insert(name);
    if (dense->sizes() != at::IntArrayRef(shape)) {
      return Fail(absl::StrCat("tensor ", name, " has shape [", absl::StrJoin(dense->sizes(), ", "), "] and not [",
                               absl::StrJoin(shape, ", "), "]"));
    }
    return dense->detach().to(at::kFloat).contiguous().to(device_);
  }

  bool ok() const { return status_.ok(); }

  absl::Status Finish() const {
    if (!status_.ok()) return status_;
    for (const auto& [name, weight] : weights_) {
      if (!taken_.contains(name))
        return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is unknown to the BERT architecture"));
    }
    return absl::OkStatus();
  }

 private:
  at::Tensor Fail(const std::string& message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(message);
    return at::Tensor();
  }

  const at::Device device_;
  std::map<std::string, const Weight*> weights_;
  std::set<std::string> taken_;
  absl::Status status_;
};

absl::Status CheckConfig(const BertConfig& config) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"hidden_size", config.width},          {"num_hidden_layers", config.layers},
      {"num_attention_heads", config.heads},  {"intermediate_size", config.mlp_width},
      {"vocab_size", config.vocabulary_size}, {"max_position_embeddings", config.max_positions}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.width % config.heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hidden_size ", config.width, " is not a multiple of num_attention_heads ", config.heads));
  }
  if (config.max_tokens < 3 || config.max_tokens > config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_seq_length is ", config.max_tokens, "; it must be 3 to ", config.max_positions));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BertControlTokens> FindControlTokens(const Tokenizer& tokenizer, const BertConfig& config) {
  const auto cls = tokenizer.FindToken("[CLS]"), sep = tokenizer.FindToken("[SEP]");
  if (!cls || !sep) return absl::InvalidArgumentError(absl::StrCat("the vocabulary has no ", cls ? "[SEP]" : "[CLS]"));
  if (tokenizer.vocabulary_size() > config.vocabulary_size) {
    return absl::InvalidArgumentError(absl::StrCat("the vocabulary has ", tokenizer.vocabulary_size(),
                                                   " tokens, the embedding ", config.vocabulary_size));
  }
  return BertControlTokens{*cls, *sep};
}

absl::StatusOr<std::unique_ptr<BertEncoder>> BertEncoder::Create(const BertConfig& config, const StateDict& weights,
                                                                 const HeadShapes& head_shapes,
                                                                 std::map<std::string, at::Tensor>* head,
                                                                 at::Device device) {
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;
  std::unique_ptr<BertEncoder> model(new BertEncoder);
  model->config_ = config;
  try {
    BertWeights take(weights, head_shapes, device);
    const int64_t width = config.width;
    model->embeddings_.words = take.Take("embeddings.word_embeddings.weight", {config.vocabulary_size, width});
    const at::Tensor positions = take.Take("embeddings.position_embeddings.weight", {config.max_positions, width});
    const at::Tensor types = take.Take("embeddings.token_type_embeddings.weight", {2, width});
    if (take.ok()) {
      model->embeddings_.positions = positions + types[0];
      model->embeddings_.types = types - types[0];
    }
    model->embeddings_.norm_weight = take.Take("embeddings.LayerNorm.weight", {width});
    model->embeddings_.norm_bias = take.Take("embeddings.LayerNorm.bias", {width});
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("encoder.layer.", i, ".");
      std::vector<at::Tensor> projections, biases;
      for (const char* name : {"query", "key", "value"}) {
        projections.push_back(take.Take(absl::StrCat(prefix, "attention.self.", name, ".weight"), {width, width}));
        biases.push_back(take.Take(absl::StrCat(prefix, "attention.self.", name, ".bias"), {width}));
      }
      BertLayer layer;
      layer.attention_output_weight = take.Take(prefix + "attention.output.dense.weight", {width, width});
      layer.attention_output_bias = take.Take(prefix + "attention.output.dense.bias", {width});
      layer.attention_norm_weight = take.Take(prefix + "attention.output.LayerNorm.weight", {width});
      layer.attention_norm_bias = take.Take(prefix + "attention.output.LayerNorm.bias", {width});
      layer.intermediate_weight = take.Take(prefix + "intermediate.dense.weight", {config.mlp_width, width});
      layer.intermediate_bias = take.Take(prefix + "intermediate.dense.bias", {config.mlp_width});
      layer.output_weight = take.Take(prefix + "output.dense.weight", {width, config.mlp_width});
      layer.output_bias = take.Take(prefix + "output.dense.bias", {width});
      layer.output_norm_weight = take.Take(prefix + "output.LayerNorm.weight", {width});
      layer.output_norm_bias = take.Take(prefix + "output.LayerNorm.bias", {width});
      if (!take.ok()) break;
      layer.query_key_value_weight = at::cat(projections);
      layer.query_key_value_bias = at::cat(biases);
      model->layers_.push_back(std::move(layer));
    }
    for (const auto& [name, shape] : head_shapes) {
      if (take.ok()) (*head)[name] = take.Take(name, shape);
    }
    if (absl::Status status = take.Finish(); !status.ok()) return status;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError("the encoder's weights could not be prepared; is there enough memory?");
  }
  return model;
}

at::Tensor BertEncoder::Encode(const at::Tensor& ids, absl::Span<const int64_t> lengths,
                               std::optional<int64_t> first_layer, const at::Tensor& types) const {
  const int64_t width = config_.width, head_width = width / config_.heads;
  std::vector<at::Tensor> positions;
  for (const int64_t length : lengths) positions.push_back(at::arange(length, at::kLong));
  const auto norm = [&](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    return at::layer_norm(x, {width}, weight, bias, config_.norm_epsilon);
  };

  const at::Device device = embeddings_.words.device();
  at::Tensor x = embeddings_.words.index_select(0, ids.to(device)) +
                 embeddings_.positions.index_select(0, at::cat(positions).to(device));  // [N, D]
  if (types.defined()) x = x + embeddings_.types.index_select(0, types.to(device));
  x = norm(x, embeddings_.norm_weight, embeddings_.norm_bias);
  std::vector<at::Tensor> kept;
  for (size_t index = 0; index < layers_.size(); ++index) {
    if (first_layer && static_cast<int64_t>(index) >= *first_layer) {
      kept.push_back(x);
      if (index + 1 == layers_.size()) return at::stack(kept, 1);
    }
    const BertLayer& layer = layers_[index];
    const at::Tensor qkv = at::linear(x, layer.query_key_value_weight, layer.query_key_value_bias);  // [N, 3D]
    std::vector<at::Tensor> attended;
    int64_t row = 0;
    for (size_t first = 0; first < lengths.size();) {  // the texts of one length at a time: no padding, no mask
      size_t last = first;
      while (last < lengths.size() && lengths[last] == lengths[first]) ++last;
      const int64_t texts = static_cast<int64_t>(last - first), length = lengths[first];
      const at::Tensor part = qkv.narrow(0, row, texts * length)
                                  .view({texts, length, 3, config_.heads, head_width})
                                  .permute({2, 0, 3, 1, 4});                          // [3, B, H, T, C]
      attended.push_back(at::scaled_dot_product_attention(part[0], part[1], part[2])  // [B, H, T, C]
                             .transpose(1, 2)
                             .reshape({texts * length, width}));
      row += texts * length;
      first = last;
    }
    const at::Tensor attention = attended.size() == 1 ? attended[0] : at::cat(attended);  // [N, D]
    x = norm(x + at::linear(attention, layer.attention_output_weight, layer.attention_output_bias),
             layer.attention_norm_weight, layer.attention_norm_bias);
    const at::Tensor h = at::gelu(at::linear(x, layer.intermediate_weight, layer.intermediate_bias));  // [N, F]
    x = norm(x + at::linear(h, layer.output_weight, layer.output_bias), layer.output_norm_weight,
             layer.output_norm_bias);
  }

  TORCH_CHECK(x.size(0) == ids.size(0), "lengths do not add up");
  return x;
}

}  // namespace blazon::language
