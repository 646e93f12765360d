#include "language/models/sentence_reader.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::language {
namespace {

constexpr int64_t kReaderHead = 64;  // width of the head

using Shapes = std::map<std::string, std::vector<int64_t>>;

// The tensors of one copied layer, without the prefix.
Shapes LayerShapes(int64_t width, int64_t mlp_width) {
  Shapes shapes;
  for (const char* name :
       {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"}) {
    shapes[absl::StrCat(name, ".weight")] = {width, width};
    shapes[absl::StrCat(name, ".bias")] = {width};
  }
  for (const char* name : {"attention.output.LayerNorm", "output.LayerNorm"}) {
    shapes[absl::StrCat(name, ".weight")] = {width};
    shapes[absl::StrCat(name, ".bias")] = {width};
  }
  shapes["intermediate.dense.weight"] = {mlp_width, width};
  shapes["intermediate.dense.bias"] = {mlp_width};
  shapes["output.dense.weight"] = {width, mlp_width};
  shapes["output.dense.bias"] = {width};
  return shapes;
}

}  // namespace

ReaderBatch PadPairs(absl::Span<const TextStates* const> questions, absl::Span<const TextStates* const> sentences,
                     const std::vector<std::vector<float>>& features) {
  const int64_t pairs = static_cast<int64_t>(questions.size());
  const auto pad = [&](absl::Span<const TextStates* const> texts, size_t layer, at::Tensor* mask) {
    int64_t longest = 0;
    for (const TextStates* text : texts) longest = std::max(longest, text->at(layer).size(0));
    at::Tensor padded = at::zeros({pairs, longest, texts[0]->at(layer).size(1)}, at::kFloat);
    if (mask != nullptr) *mask = at::zeros({pairs, longest}, at::kFloat);
    for (int64_t i = 0; i < pairs; ++i) {
      const at::Tensor& states = texts[static_cast<size_t>(i)]->at(layer);
      padded[i].narrow(0, 0, states.size(0)).copy_(states);
      if (mask != nullptr) (*mask)[i].narrow(0, 0, states.size(0)).fill_(1);
    }
    return padded;
  };
  ReaderBatch batch;
  batch.question = pad(questions, 0, &batch.question_mask);
  for (size_t layer = 0; layer < sentences[0]->size(); ++layer)
    batch.sentences.push_back(pad(sentences, layer, layer == 0 ? &batch.sentence_mask : nullptr));
  std::vector<float> flat;
  for (const std::vector<float>& row : features) flat.insert(flat.end(), row.begin(), row.end());
  batch.features = at::tensor(flat).view({pairs, -1});
  return batch;
}

absl::StatusOr<std::unique_ptr<SentenceReader>> SentenceReader::Create(const BertConfig& encoder,
                                                                       const Tensors& tensors) {
  std::unique_ptr<SentenceReader> reader(new SentenceReader);
  reader->width_ = encoder.width;
  reader->heads_ = encoder.heads;
  reader->norm_epsilon_ = encoder.norm_epsilon;
  const auto type = tensors.find("sentence_type");
  if (type == tensors.end() || type->second.dim() != 2 || type->second.size(0) < 1 ||
      type->second.size(0) > encoder.layers) {
    return absl::InvalidArgumentError(absl::StrCat("tensor sentence_type is missing, or its first size is not 1 to ",
                                                   encoder.layers, ", the encoder's layers"));
  }
  reader->layers_ = type->second.size(0);
  reader->first_layer_ = encoder.layers - reader->layers_;
  const auto mean = tensors.find("feature_mean");
  if (mean == tensors.end() || mean->second.dim() != 1)
    return absl::InvalidArgumentError("tensor feature_mean is missing or has not one dimension");
  const int64_t features = reader->features_ = mean->second.size(0);

  Shapes shapes = {{"sentence_type", {reader->layers_, encoder.width}},
                   {"head.first.weight", {kReaderHead, encoder.width}},
                   {"head.first.bias", {kReaderHead}},
                   {"head.mean.weight", {kReaderHead, encoder.width}},
                   {"head.mean.bias", {kReaderHead}},
                   {"head.out.weight", {2, kReaderHead}},
                   {"head.out.bias", {2}},
                   {"features.weight", {2, features}},
                   {"features.bias", {2}},
                   {"feature_mean", {features}},
                   {"feature_scale", {features}}};
  for (int64_t layer = reader->first_layer_; layer < encoder.layers; ++layer) {
    for (const auto& [name, shape] : LayerShapes(encoder.width, encoder.mlp_width))
      shapes[absl::StrCat("encoder.layer.", layer, ".", name)] = shape;
  }
  for (const auto& [name, tensor] : tensors) {
    const auto shape = shapes.find(name);
    if (shape == shapes.end()) return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is unknown"));
    if (tensor.sizes() != at::IntArrayRef(shape->second)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has shape [",
                                                     absl::StrJoin(tensor.sizes(), ", "), "] and not [",
                                                     absl::StrJoin(shape->second, ", "), "]"));
    }
    reader->tensors_[name] = tensor.scalar_type() == at::kFloat ? tensor : tensor.to(at::kFloat);
  }
  for (const auto& [name, shape] : shapes) {
    if (!tensors.contains(name)) return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is missing"));
  }
  return reader;
}

SentenceReader::Tensors SentenceReader::Start(const BertEmbedder& encoder, int64_t layers,
                                              const at::Tensor& feature_mean, const at::Tensor& feature_scale,
                                              const at::Tensor& feature_weights, uint64_t seed) {
  const int64_t width = encoder.config().width, all = encoder.config().layers;
  Tensors tensors;
  for (int64_t i = all - layers; i < all; ++i) {
    const BertLayer& layer = encoder.layers()[static_cast<size_t>(i)];
    const std::string prefix = absl::StrCat("encoder.layer.", i, ".");
    const char* names[] = {"query", "key", "value"};
    for (int64_t part = 0; part < 3; ++part) {
      const std::string name = absl::StrCat(prefix, "attention.self.", names[part]);
      tensors[name + ".weight"] = layer.query_key_value_weight.narrow(0, part * width, width).clone();
      tensors[name + ".bias"] = layer.query_key_value_bias.narrow(0, part * width, width).clone();
    }
    tensors[prefix + "attention.output.dense.weight"] = layer.attention_output_weight.clone();
    tensors[prefix + "attention.output.dense.bias"] = layer.attention_output_bias.clone();
    tensors[prefix + "attention.output.LayerNorm.weight"] = layer.attention_norm_weight.clone();
    tensors[prefix + "attention.output.LayerNorm.bias"] = layer.attention_norm_bias.clone();
    tensors[prefix + "intermediate.dense.weight"] = layer.intermediate_weight.clone();
    tensors[prefix + "intermediate.dense.bias"] = layer.intermediate_bias.clone();
    tensors[prefix + "output.dense.weight"] = layer.output_weight.clone();
    tensors[prefix + "output.dense.bias"] = layer.output_bias.clone();
    tensors[prefix + "output.LayerNorm.weight"] = layer.output_norm_weight.clone();
    tensors[prefix + "output.LayerNorm.bias"] = layer.output_norm_bias.clone();
  }
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto drawn = [&](int64_t rows, int64_t columns, double scale) {
    return at::empty({rows, columns}, at::kFloat)
        .normal_(0, scale / std::sqrt(static_cast<double>(columns)), generator);
  };
  tensors["sentence_type"] = at::zeros({layers, width});
  tensors["head.first.weight"] = drawn(kReaderHead, width, 0.6);
  tensors["head.first.bias"] = at::zeros({kReaderHead});
  tensors["head.mean.weight"] = drawn(kReaderHead, width, 0.6);
  tensors["head.mean.bias"] = at::zeros({kReaderHead});
  tensors["head.out.weight"] = drawn(2, kReaderHead, 0.06);
  tensors["head.out.bias"] = at::zeros({2});
  tensors["features.weight"] = feature_weights.clone();
  tensors["features.bias"] = at::zeros({2});
  tensors["feature_mean"] = feature_mean.clone();
  tensors["feature_scale"] = feature_scale.clone();
  return tensors;
}

at::Tensor SentenceReader::Forward(const ReaderBatch& batch,
                                   const std::function<at::Tensor(const at::Tensor&)>& dropout) const {
  const int64_t pairs = batch.question.size(0), rows = batch.question.size(1), channels = width_ / heads_;
  const auto drop = [&](const at::Tensor& x) { return dropout ? dropout(x) : x; };
  const auto at = [&](const std::string& name) -> const at::Tensor& { return tensors_.at(name); };
  const auto linear = [&](const at::Tensor& x, const std::string& name) {
    return at::linear(x, at(name + ".weight"), at(name + ".bias"));
  };
  const auto norm = [&](const at::Tensor& x, const std::string& name) {
    return at::layer_norm(x, {width_}, at(name + ".weight"), at(name + ".bias"), norm_epsilon_);
  };
  const auto split = [&](const at::Tensor& x) {  // [B, ., D] -> [B, H, ., C]
    return x.view({pairs, -1, heads_, channels}).transpose(1, 2);
  };
  // What padding adds to the attention's scores: [B, 1, 1, Q + T].
  const at::Tensor mask =
      at::cat({batch.question_mask, batch.sentence_mask}, 1).sub(1).mul(1e9).unsqueeze(1).unsqueeze(1);

  at::Tensor x = batch.question;  // [B, Q, D]
  for (int64_t i = 0; i < layers_; ++i) {
    const std::string prefix = absl::StrCat("encoder.layer.", first_layer_ + i, ".");
    const at::Tensor told = batch.sentences.at(static_cast<size_t>(i)) + at("sentence_type")[i];  // [B, T, D]
    const at::Tensor seen = at::cat({x, told}, 1);                                                // [B, Q + T, D]
    const at::Tensor scores = at::matmul(split(linear(x, prefix + "attention.self.query")),
                                         split(linear(seen, prefix + "attention.self.key")).transpose(2, 3))
                                  .mul(1 / std::sqrt(static_cast<double>(channels)))
                                  .add(mask);  // [B, H, Q, Q + T]
    const at::Tensor attended =
        at::matmul(at::softmax(scores, -1), split(linear(seen, prefix + "attention.self.value")))
            .transpose(1, 2)
            .reshape({pairs, rows, width_});  // [B, Q, D]
    x = norm(x + drop(linear(attended, prefix + "attention.output.dense")), prefix + "attention.output.LayerNorm");
    const at::Tensor h = at::gelu(linear(x, prefix + "intermediate.dense"));
    x = norm(x + drop(linear(h, prefix + "output.dense")), prefix + "output.LayerNorm");
  }
  const at::Tensor weights = batch.question_mask.unsqueeze(2);
  const at::Tensor mean = x.mul(weights).sum(1).div(weights.sum(1));  // [B, D]
  const at::Tensor head = at::tanh(linear(x.select(1, 0), "head.first") + linear(mean, "head.mean"));
  const at::Tensor features = batch.features.sub(at("feature_mean")).div(at("feature_scale"));
  return linear(features, "features") + linear(drop(head), "head.out");
}

}  // namespace blazon::language
