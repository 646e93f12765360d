#include "language/training/lstm_network.h"

#include <ATen/Functions.h>

#include <cmath>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace blazon::language {

LstmNetwork::LstmNetwork(const NetworkConfig& config, uint64_t seed) : DecoderNetwork(config) {
  WeightMaker make(seed, &weights_);
  const int64_t width = config.width;
  const double bound = 1 / std::sqrt(static_cast<double>(width));
  embedding_ = make.Normal("embedding.weight", {config.vocabulary_size, width}, config.tie_embeddings ? 0.02 : 1.0);
  for (int64_t i = 0; i < config.layers; ++i) {
    lstm_.push_back(make.Uniform(absl::StrCat("lstm.weight_ih_l", i), {4 * width, width}, bound));
    lstm_.push_back(make.Uniform(absl::StrCat("lstm.weight_hh_l", i), {4 * width, width}, bound));
    lstm_.push_back(make.Uniform(absl::StrCat("lstm.bias_ih_l", i), {4 * width}, bound));
    lstm_.push_back(make.Uniform(absl::StrCat("lstm.bias_hh_l", i), {4 * width}, bound));
  }
  head_.weight =
      config.tie_embeddings ? embedding_ : make.Uniform("head.weight", {config.vocabulary_size, width}, bound);
}

at::Tensor LstmNetwork::Forward(const at::Tensor& tokens, bool training) const {
  const double dropout = training ? config_.dropout : 0;
  const at::Tensor x = Drop(at::embedding(embedding_, tokens), dropout);  // [B, T, D]
  const at::Tensor zeros = at::zeros({config_.layers, tokens.size(0), config_.width});
  const at::Tensor y = std::get<0>(at::lstm(x, {zeros, zeros}, lstm_, /*has_biases=*/true, config_.layers, dropout,
                                            training, /*bidirectional=*/false, /*batch_first=*/true));
  return Drop(y, dropout).reshape({-1, config_.width});
}

at::Tensor LstmNetwork::Logits(const at::Tensor& rows) const { return head_.Forward(rows, false); }

}  // namespace blazon::language
