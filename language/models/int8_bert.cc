#include "language/models/int8_bert.h"

#include <algorithm>

#include "language/ops/encoder_kernels.h"

namespace blazon::language {
namespace {

// Rows that go through all products between two attentions together: their intermediate states stay in the L2 cache.
constexpr int64_t kRowsTogether = 60;

std::vector<float> FloatsOf(const at::Tensor& tensor) {
  const float* data = tensor.const_data_ptr<float>();
  return std::vector<float>(data, data + tensor.numel());
}

Int8Matrix Int8Of(const at::Tensor& weight, const at::Tensor& bias) {
  return Int8Matrix(weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), weight.size(0), weight.size(1));
}

}  // namespace

std::unique_ptr<Int8Bert> Int8Bert::Create(const BertEncoder& encoder) {
  const BertConfig& config = encoder.config();
  if (!HasEncoderKernels() || !Int8Matrix::Fits(config.width, config.width) ||
      !Int8Matrix::Fits(config.mlp_width, config.width) || !CanAttendInBfloat16(config.width / config.heads))
    return nullptr;
  std::unique_ptr<Int8Bert> model(new Int8Bert);
  model->config_ = config;
  model->words_ = encoder.embeddings().words;
  model->positions_ = encoder.embeddings().positions;
  model->norm_ = {FloatsOf(encoder.embeddings().norm_weight), FloatsOf(encoder.embeddings().norm_bias)};
  for (const BertLayer& layer : encoder.layers()) {
    model->layers_.push_back({Int8Of(layer.query_key_value_weight, layer.query_key_value_bias),
                              Int8Of(layer.attention_output_weight, layer.attention_output_bias),
                              Int8Of(layer.intermediate_weight, layer.intermediate_bias),
                              Int8Of(layer.output_weight, layer.output_bias),
                              {FloatsOf(layer.attention_norm_weight), FloatsOf(layer.attention_norm_bias)},
                              {FloatsOf(layer.output_norm_weight), FloatsOf(layer.output_norm_bias)}});
  }
  return model;
}

void Int8Bert::Encode(absl::Span<const TokenId> ids, absl::Span<const int64_t> lengths, float* states) const {
  const int64_t width = config_.width, count = static_cast<int64_t>(ids.size());
  const float epsilon = static_cast<float>(config_.norm_epsilon);
  const auto normalize = [&](const float* x, const float* y, int64_t rows, const Norm& norm, float* result) {
    AddAndNormalize(x, y, rows, width, norm.weight.data(), norm.bias.data(), epsilon, result);
  };
  const float *words = words_.const_data_ptr<float>(), *positions = positions_.const_data_ptr<float>();
  int64_t row = 0;
  for (const int64_t length : lengths) {
    for (int64_t position = 0; position < length; ++position, ++row) {
      const int64_t id = ids[static_cast<size_t>(row)];
      normalize(words + id * width, positions + position * width, 1, norm_, states + row * width);
    }
  }

  Int8Rows rounded;
  std::vector<float> qkv(static_cast<size_t>(count * 3 * width));                  // [N, 3 D]
  std::vector<float> attention(static_cast<size_t>(count * width));                // [N, D]
  std::vector<float> added(static_cast<size_t>(kRowsTogether * width));            // what a half of a layer adds
  std::vector<float> mlp(static_cast<size_t>(kRowsTogether * config_.mlp_width));  // before the activation
  for (const Layer& layer : layers_) {
    for (int64_t first = 0; first < count; first += kRowsTogether) {
      rounded.Assign(states + first * width, std::min(kRowsTogether, count - first), width);
      layer.query_key_value.Multiply(rounded, qkv.data() + first * 3 * width);
    }
    row = 0;
    for (const int64_t length : lengths) {
      AttendInBfloat16(qkv.data() + row * 3 * width, length, config_.heads, width / config_.heads,
                       attention.data() + row * width);
      row += length;
    }
    for (int64_t first = 0; first < count; first += kRowsTogether) {
      const int64_t rows = std::min(kRowsTogether, count - first);
      float* x = states + first * width;
      rounded.Assign(attention.data() + first * width, rows, width);
      layer.attention_output.Multiply(rounded, added.data());
      normalize(x, added.data(), rows, layer.attention_norm, x);
      rounded.Assign(x, rows, width);
      layer.intermediate.Multiply(rounded, mlp.data());
      rounded.Assign(mlp.data(), rows, config_.mlp_width, /*gelu=*/true);
      layer.output.Multiply(rounded, added.data());
      normalize(x, added.data(), rows, layer.output_norm, x);
    }
  }
}

}  // namespace blazon::language
