#include "vision/transformer_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace blazon::vision {

at::Tensor Activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kQuickGelu:
      return x * at::sigmoid(x * 1.702);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kGelu:
      break;
  }
  return at::gelu(x);
}

absl::Status CheckTowerConfig(const TowerConfig& config) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"hidden_size", config.width},         {"num_hidden_layers", config.layers},
      {"num_attention_heads", config.heads}, {"intermediate_size", config.mlp_width},
      {"image_size", config.image_size},     {"patch_size", config.patch_size}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.width % config.heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hidden_size ", config.width, " is not a multiple of num_attention_heads ", config.heads));
  }
  if (config.image_size < config.patch_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("image_size ", config.image_size, " is less than patch_size ", config.patch_size));
  }
  if (!(config.norm_epsilon > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("layer_norm_eps is ", config.norm_epsilon, "; it must be above 0"));
  }
  return absl::OkStatus();
}

void TransformerEncoder::Take(WeightTaker& take, const TowerConfig& config, const EncoderNames& names) {
  heads_ = config.heads;
  activation_ = config.activation;
  const int64_t width = config.width;
  for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
    const std::string prefix = absl::StrCat(names.layer, i, ".");
    std::vector<std::string> query_key_value;
    for (const std::string& name : names.query_key_value) query_key_value.push_back(prefix + name);
    Layer layer;
    layer.norm1 = take.Norm(prefix + names.norm1, width, config.norm_epsilon);
    layer.query_key_value = take.Stacked(query_key_value, 3 * width / static_cast<int64_t>(query_key_value.size()),
                                         width, config.query_bias);
    layer.output = take.Dense(prefix + names.output, width, width);
    layer.norm2 = take.Norm(prefix + names.norm2, width, config.norm_epsilon);
    layer.fc1 = take.Dense(prefix + names.fc1, config.mlp_width, width);
    layer.fc2 = take.Dense(prefix + names.fc2, width, config.mlp_width);
    layers_.push_back(std::move(layer));
  }
}

at::Tensor TransformerEncoder::Forward(const at::Tensor& given, int64_t layers, const at::Tensor& seen) const {
  const int64_t pictures = given.size(0), tokens = given.size(1), width = given.size(2);
  std::optional<at::Tensor> mask;
  if (seen.defined()) mask = seen.view({pictures, 1, 1, tokens});
  at::Tensor x = given;  // [B, T, D]
  for (int64_t i = 0; i < layers; ++i) {
    const Layer& layer = layers_[i];
    const at::Tensor qkv = layer.query_key_value.Forward(layer.norm1.Forward(x))
                               .view({pictures, tokens, 3, heads_, width / heads_})
                               .permute({2, 0, 3, 1, 4});                                       // [3, B, H, T, C]
    const at::Tensor attended = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], mask)  // [B, H, T, C]
                                    .transpose(1, 2)
                                    .reshape({pictures, tokens, width});
    x = x + layer.output.Forward(attended);                                                       // [B, T, D]
    x = x + layer.fc2.Forward(Activate(layer.fc1.Forward(layer.norm2.Forward(x)), activation_));  // [B, T, D]
  }
  return x;
}

}  // namespace blazon::vision
