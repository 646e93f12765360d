#include "language/models/seq2seq.h"

#include <ATen/TensorIndexing.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/ops/attention.h"
#include "language/weight_taker.h"

namespace blazon::language {
namespace {

class Seq2SeqState final : public ModelState {
 public:
  explicit Seq2SeqState(KvCache cache) : target(std::move(cache)) {}

  int64_t length() const override { return source_length + target.length(); }
  int64_t bytes() const override {
    int64_t bytes = target.bytes();
    for (const KvCache::View& layer : source)
      bytes += static_cast<int64_t>(layer.keys.nbytes() + layer.values.nbytes());
    return bytes;
  }
  std::unique_ptr<ModelState> Fork() const override { return std::make_unique<Seq2SeqState>(*this); }
  // The source stays or goes as a whole.
  void Truncate(int64_t length) override {
    TORCH_CHECK(length == 0 || length >= source_length, "a source of ", source_length, " tokens cannot be cut to ",
                length);
    if (length == 0) {
      source.clear();
      source_length = 0;
    }
    target.Truncate(length - source_length);
  }

  KvCache target;
  std::vector<KvCache::View> source;  // of each layer of the decoder, [1, H, S, C]
  int64_t source_length = 0;
};

}  // namespace

at::Tensor SinusoidalPositions(int64_t length, int64_t width) {
  at::Tensor positions = at::empty({length, width}, at::kDouble);
  const at::Tensor angles =
      at::arange(length, at::kDouble).unsqueeze(1) *
      (at::arange(0, width, 2, at::kDouble) * (-std::log(10000.0) / static_cast<double>(width))).exp();  // [P, D/2]
  positions.slice(1, 0, width, 2).copy_(angles.sin());
  positions.slice(1, 1, width, 2).copy_(angles.cos());
  return positions.to(at::kFloat);
}

absl::StatusOr<std::unique_ptr<LanguageModel>> Seq2SeqModel::Create(const Seq2SeqConfig& config, StateDict weights,
                                                                    const Placement& placement) {
  for (const auto& [name, size] : {std::pair("d_model", config.width),
                                   {"num_layers", config.layers},
                                   {"num_heads", config.heads},
                                   {"d_ff", config.mlp_width},
                                   {"vocab_size", config.vocabulary_size},
                                   {"max_position_embeddings", config.context_length}}) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.width % config.heads != 0 || config.width % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("d_model ", config.width, " is not even and a multiple of num_heads ", config.heads));
  }
  if (config.start_token < 0 || config.start_token >= config.vocabulary_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("decoder_start_token_id is ", config.start_token, "; ids are 0 to ", config.vocabulary_size - 1));
  }
  std::unique_ptr<Seq2SeqModel> model(new Seq2SeqModel);
  model->config_ = config;
  model->public_config_ = {.width = config.width,
                           .vocabulary_size = config.vocabulary_size,
                           .layers = config.layers,
                           .context_length = config.context_length,
                           .state_values = 2 * config.layers * config.width};
  model->options_ = ComputeOptions(placement);
  const int64_t width = config.width;
  try {
    WeightTaker take(std::move(weights), placement, {.architecture = "seq2seq", .prefixes = {}, .ignorable = nullptr});
    const auto norm = [&](const std::string& module) {
      return LayerNorm{take.Dense(module + ".weight", {width}), take.Dense(module + ".bias", {width}), 1e-5};
    };
    const auto attention = [&](const std::string& module) {
      return Attention{
          take.Dense(module + ".in_proj_weight", {3 * width, width}), take.Dense(module + ".in_proj_bias", {3 * width}),
          take.Dense(module + ".out_proj.weight", {width, width}), take.Dense(module + ".out_proj.bias", {width})};
    };
    const auto layer = [&](const std::string& prefix, bool decoder) {
      Layer made;
      made.self_attn = attention(prefix + "self_attn");
      if (decoder) made.multihead_attn = attention(prefix + "multihead_attn");
      made.linear1_weight = take.Dense(prefix + "linear1.weight", {config.mlp_width, width});
      made.linear1_bias = take.Dense(prefix + "linear1.bias", {config.mlp_width});
      made.linear2_weight = take.Dense(prefix + "linear2.weight", {width, config.mlp_width});
      made.linear2_bias = take.Dense(prefix + "linear2.bias", {width});
      made.norm1 = norm(prefix + "norm1");
      made.norm2 = norm(prefix + "norm2");
      if (decoder) made.norm3 = norm(prefix + "norm3");
      return made;
    };
    model->embedding_ = take.Dense("embedding.weight", {config.vocabulary_size, width});
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      model->encoder_.push_back(layer(absl::StrCat("encoder.layers.", i, "."), false));
      model->decoder_.push_back(layer(absl::StrCat("decoder.layers.", i, "."), true));
    }
    if (config.pre_norm) {
      model->encoder_norm_ = norm("encoder.norm");
      model->decoder_norm_ = norm("decoder.norm");
    }
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
    model->positions_ = SinusoidalPositions(config.context_length, width).to(model->options_);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> Seq2SeqModel::NewState() const {
  return std::make_unique<Seq2SeqState>(
      KvCache(config_.layers, config_.heads, config_.width / config_.heads, config_.context_length, options_));
}

at::Tensor Seq2SeqModel::Embed(const at::Tensor& tokens) const {
  return at::embedding(embedding_, tokens.to(options_.device())) * std::sqrt(static_cast<double>(config_.width));
}

// y: [T, D]. Returns [1, H, T, C].
at::Tensor Seq2SeqModel::Heads(const at::Tensor& y) const {
  return y.reshape({y.size(0), config_.heads, -1}).transpose(0, 1).unsqueeze(0);
}

// tokens: int64 [S]. Returns [S, D].
at::Tensor Seq2SeqModel::Encode(const at::Tensor& tokens) const {
  const int64_t width = config_.width;
  const auto attend = [&](const Attention& a, const at::Tensor& x) {
    const at::Tensor qkv = at::linear(x, a.in_proj_weight, a.in_proj_bias);  // [S, 3D]
    const at::Tensor y =
        at::scaled_dot_product_attention(Heads(qkv.narrow(1, 0, width)), Heads(qkv.narrow(1, width, width)),
                                         Heads(qkv.narrow(1, 2 * width, width)));  // [1, H, S, C]
    return at::linear(y.squeeze(0).transpose(0, 1).reshape({-1, width}), a.out_weight, a.out_bias);
  };
  const auto mlp = [&](const Layer& layer, const at::Tensor& x) {
    return at::linear(at::relu(at::linear(x, layer.linear1_weight, layer.linear1_bias)), layer.linear2_weight,
                      layer.linear2_bias);
  };
  at::Tensor x = Embed(tokens) + positions_.narrow(0, 0, tokens.size(0));  // [S, D]
  for (const Layer& layer : encoder_) {
    if (config_.pre_norm) {
      x = x + attend(layer.self_attn, layer.norm1.Forward(x));
      x = x + mlp(layer, layer.norm2.Forward(x));
    } else {
      x = layer.norm1.Forward(x + attend(layer.self_attn, x));
      x = layer.norm2.Forward(x + mlp(layer, x));
    }
  }
  return config_.pre_norm ? encoder_norm_.Forward(x) : x;
}

at::Tensor Seq2SeqModel::Forward(absl::Span<const ModelInput> inputs) const {
  TORCH_CHECK(!inputs.empty(), "Forward needs at least one input");
  const int64_t width = config_.width;
  // The rows of targets, and their sources.
  std::vector<at::Tensor> embeddings, results;
  std::vector<SequenceRows> sequences;
  std::vector<const Seq2SeqState*> states;
  int64_t rows = 0;
  for (const ModelInput& input : inputs) {
    auto* const state = static_cast<Seq2SeqState*>(input.state);
    TORCH_CHECK(state != nullptr && input.tokens.defined(), "an encoder-decoder model needs a state and tokens");
    TORCH_CHECK(input.adapter == nullptr && input.branches.empty(), "it takes no adapter and no branches");
    int64_t source = 0;
    if (!input.bidirectional.empty()) {
      source = input.bidirectional[0].end;
      TORCH_CHECK(state->length() == 0 && input.bidirectional.size() == 1 && input.bidirectional[0].begin == 0,
                  "the source comes first and once");
      const at::Tensor memory = Encode(input.tokens.narrow(0, 0, source));  // [S, D]
      state->source.clear();                                                // of a call that failed half-way
      for (const Layer& layer : decoder_) {
        const Attention& a = layer.multihead_attn;
        const at::Tensor kv = at::linear(memory, a.in_proj_weight.narrow(0, width, 2 * width),
                                         a.in_proj_bias.narrow(0, width, 2 * width));
        state->source.push_back({Heads(kv.narrow(1, 0, width)), Heads(kv.narrow(1, width, width))});
      }
      state->source_length = source;
    }
    const int64_t count = input.tokens.size(0) - source, past = state->target.length();
    TORCH_CHECK(count == 0 || state->source_length > 0, "there is no source yet");
    TORCH_CHECK(state->length() + count <= config_.context_length, "more tokens than the context has");
    if (count == 0) continue;
    embeddings.push_back(Embed(input.tokens.narrow(0, source, count)) + positions_.narrow(0, past, count));
    sequences.push_back({rows, count, &state->target, {}, {}});
    states.push_back(state);
    rows += count;
  }

  at::Tensor x;  // [N of the targets, D]
  if (rows > 0) {
    x = at::cat(embeddings);
    const auto heads = [&](const at::Tensor& y) { return y.reshape({rows, config_.heads, -1}); };
    const auto attend = [&](const Attention& a, const at::Tensor& y, int64_t layer) {
      const at::Tensor qkv = at::linear(y, a.in_proj_weight, a.in_proj_bias);  // [N, 3D]
      return at::linear(CausalAttention(heads(qkv.narrow(1, 0, width)), heads(qkv.narrow(1, width, width)),
                                        heads(qkv.narrow(1, 2 * width, width)), sequences, layer),
                        a.out_weight, a.out_bias);
    };
    const auto look = [&](const Attention& a, const at::Tensor& y, int64_t layer) {
      const at::Tensor q = at::linear(y, a.in_proj_weight.narrow(0, 0, width), a.in_proj_bias.narrow(0, 0, width));
      std::vector<at::Tensor> looked;
      for (size_t s = 0; s < sequences.size(); ++s) {
        const KvCache::View& source = states[s]->source[layer];
        looked.push_back(at::scaled_dot_product_attention(Heads(q.narrow(0, sequences[s].begin, sequences[s].count)),
                                                          source.keys, source.values)  // [1, H, T, C]
                             .squeeze(0)
                             .transpose(0, 1)
                             .reshape({sequences[s].count, width}));
      }
      return at::linear(at::cat(looked), a.out_weight, a.out_bias);
    };
    const auto mlp = [&](const Layer& layer, const at::Tensor& y) {
      return at::linear(at::relu(at::linear(y, layer.linear1_weight, layer.linear1_bias)), layer.linear2_weight,
                        layer.linear2_bias);
    };
    for (int64_t i = 0; i < config_.layers; ++i) {
      const Layer& layer = decoder_[i];
      if (config_.pre_norm) {
        x = x + attend(layer.self_attn, layer.norm1.Forward(x), i);
        x = x + look(layer.multihead_attn, layer.norm2.Forward(x), i);
        x = x + mlp(layer, layer.norm3.Forward(x));
      } else {
        x = layer.norm1.Forward(x + attend(layer.self_attn, x, i));
        x = layer.norm2.Forward(x + look(layer.multihead_attn, x, i));
        x = layer.norm3.Forward(x + mlp(layer, x));
      }
    }
    if (config_.pre_norm) x = decoder_norm_.Forward(x);
    for (const SequenceRows& sequence : sequences) sequence.cache->Advance(sequence.count);
  }

  size_t sequence = 0;
  for (const ModelInput& input : inputs) {
    const int64_t source = input.bidirectional.empty() ? 0 : input.bidirectional[0].end;
    if (source > 0) results.push_back(at::zeros({source, width}, options_));
    if (input.tokens.size(0) == source) continue;
    results.push_back(x.narrow(0, sequences[sequence].begin, sequences[sequence].count));
    ++sequence;
  }
  return at::cat(results);
}

at::Tensor Seq2SeqModel::Logits(const at::Tensor& rows) const { return at::linear(rows, embedding_).to(at::kFloat); }

}  // namespace blazon::language
