#include "language/models/blip_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/ops/attention.h"
#include "language/weight_taker.h"

namespace blazon::language {
namespace {

class BlipTextState : public ModelState {
 public:
  explicit BlipTextState(KvCache cache) : text(std::move(cache)) {}

  int64_t length() const override { return memory_length + text.length(); }
  int64_t bytes() const override {
    int64_t bytes = text.bytes();
    for (const KvCache::View& layer : memory) {
      bytes += static_cast<int64_t>(layer.keys.nbytes() + layer.values.nbytes());
    }
    return bytes;
  }
  std::unique_ptr<ModelState> Fork() const override { return std::make_unique<BlipTextState>(*this); }
  // The memory stays or goes as a whole.
  void Truncate(int64_t length) override {
    TORCH_CHECK(length == 0 || length >= memory_length, "a picture of ", memory_length, " tokens cannot be cut to ",
                length);
    if (length == 0) {
      memory.clear();
      memory_length = 0;
    }
    text.Truncate(length - memory_length);
  }

  KvCache text;
  std::vector<KvCache::View> memory;  // of each layer, [H, M, C]
  int64_t memory_length = 0;
};

absl::Status CheckConfig(const BlipTextConfig& config) {
  const std::pair<const char*, int64_t> sizes[] = {{"hidden_size", config.width},
                                                   {"encoder_hidden_size", config.memory_width},
                                                   {"num_hidden_layers", config.layers},
                                                   {"num_attention_heads", config.heads},
                                                   {"intermediate_size", config.mlp_width},
                                                   {"vocab_size", config.vocabulary_size},
                                                   {"max_position_embeddings", config.max_positions}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.width % config.heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hidden_size ", config.width, " is not a multiple of num_attention_heads ", config.heads));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlipTextModel>> BlipTextModel::Create(const BlipTextConfig& config, StateDict weights,
                                                                     const Placement& placement) {
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;
  std::unique_ptr<BlipTextModel> model(new BlipTextModel);
  model->config_ = config;
  model->public_config_ = {.width = config.width,
                           .vocabulary_size = config.vocabulary_size,
                           .layers = config.layers,
                           .context_length = config.memory_tokens + config.max_positions,
                           .state_values = 2 * config.layers * config.width,
                           .memory_width = config.memory_width};
  model->options_ = ComputeOptions(placement);
  // Tied files may hold the shared matrix and bias under their other names too.
  const auto ignorable = [&](std::string_view name) {
    return name == "bert.embeddings.position_ids" ||
           (config.tie_embeddings &&
            (name == "cls.predictions.decoder.weight" || name == "cls.predictions.decoder.bias"));
  };
  try {
    WeightTaker take(std::move(weights), placement,
                     {.architecture = "BLIP text", .prefixes = {}, .ignorable = ignorable});
    const int64_t width = config.width;
    const auto norm = [&](const std::string& module) {
      return LayerNorm{take.Vector(module, width), take.Dense(module + ".bias", {width}), config.norm_epsilon};
    };
    const auto matrix = [&](const std::string& module, int64_t outputs, int64_t inputs) {
      return take.Matrix(module, outputs, inputs, Bias::kYes);
    };
    const auto attention = [&](const std::string& module, int64_t key_inputs) {
      Attention result;
      result.query = matrix(module + ".self.query", width, width);
      result.key = matrix(module + ".self.key", width, key_inputs);
      result.value = matrix(module + ".self.value", width, key_inputs);
      result.dense = matrix(module + ".output.dense", width, width);
      result.norm = norm(module + ".output.LayerNorm");
      return result;
    };
    const at::Tensor words = take.Dense("bert.embeddings.word_embeddings.weight", {config.vocabulary_size, width});
    if (take.ok()) model->word_embeddings_ = Linear("bert.embeddings.word_embeddings", words);
    model->position_embeddings_ =
        take.Dense("bert.embeddings.position_embeddings.weight", {config.max_positions, width});
    model->norm_ = norm("bert.embeddings.LayerNorm");
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("bert.encoder.layer.", i, ".");
      Layer layer;
      layer.attention = attention(prefix + "attention", width);
      layer.crossattention = attention(prefix + "crossattention", config.memory_width);
      layer.intermediate = matrix(prefix + "intermediate.dense", config.mlp_width, width);
      layer.output = matrix(prefix + "output.dense", width, config.mlp_width);
      layer.norm = norm(prefix + "output.LayerNorm");
      model->layers_.push_back(std::move(layer));
    }
    model->transform_ = matrix("cls.predictions.transform.dense", width, width);
    model->transform_norm_ = norm("cls.predictions.transform.LayerNorm");
    const at::Tensor bias = take.Dense("cls.predictions.bias", {config.vocabulary_size});
    if (config.tie_embeddings) {
      if (take.ok()) model->decoder_ = Linear("cls.predictions.decoder", words, bias);
    } else {
      model->decoder_ = matrix("cls.predictions.decoder", config.vocabulary_size, width);
    }
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> BlipTextModel::NewState() const {
  return std::make_unique<BlipTextState>(
      KvCache(config_.layers, config_.heads, config_.width / config_.heads, config_.max_positions, options_));
}

at::Tensor BlipTextModel::Embed(const at::Tensor& tokens) const { return word_embeddings_.Rows(tokens).to(options_); }

at::Tensor BlipTextModel::Forward(absl::Span<const ModelInput> inputs) const {
  TORCH_CHECK(!inputs.empty(), "Forward needs at least one input");
  const int64_t channels = config_.width / config_.heads;
  const auto heads = [&](const at::Tensor& y) { return y.view({y.size(0), config_.heads, channels}); };

  // The rows of text, and the memories.
  std::vector<at::Tensor> embeddings, positions;
  std::vector<SequenceRows> sequences;
  std::vector<const BlipTextState*> states;
  int64_t rows = 0;
  for (const ModelInput& input : inputs) {
    auto* state = static_cast<BlipTextState*>(input.state);
    TORCH_CHECK(state != nullptr, "BLIP's text decoder needs a state, which holds the picture");
    TORCH_CHECK(input.adapter == nullptr && input.bidirectional.empty(),
                "BLIP's text decoder takes no adapter or spans");
    if (input.embeddings.defined()) {
      TORCH_CHECK(state->length() == 0, "the picture comes first and once");
      const at::Tensor memory = input.embeddings.to(options_).contiguous();  // [M, E]
      state->memory.clear();                                                 // of a call that failed half-way
      for (const Layer& layer : layers_) {
        state->memory.push_back({heads(layer.crossattention.key.Forward(memory)).transpose(0, 1),
                                 heads(layer.crossattention.value.Forward(memory)).transpose(0, 1)});
      }
      state->memory_length = memory.size(0);
      continue;
    }
    TORCH_CHECK(state->memory_length > 0,
                "BLIP's text decoder has no picture yet: give its tokens as embeddings first");
    const int64_t count = input.tokens.size(0), past = state->text.length();
    TORCH_CHECK(count > 0, "an input has no tokens");
    TORCH_CHECK(past + count <= config_.max_positions, past + count, " tokens of text are more than the ",
                config_.max_positions, " positions");
    embeddings.push_back(Embed(input.tokens));
    positions.push_back(at::arange(past, past + count, at::kLong));
    sequences.push_back({rows, count, &state->text, {}});
    states.push_back(state);
    rows += count;
  }

  at::Tensor x;  // [N of the text, D]
  if (rows > 0) {
    x = norm_.Forward(at::cat(embeddings) +
                      position_embeddings_.index_select(0, at::cat(positions).to(options_.device())));
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      at::Tensor h = CausalAttention(heads(layer.attention.query.Forward(x)), heads(layer.attention.key.Forward(x)),
                                     heads(layer.attention.value.Forward(x)), sequences, static_cast<int64_t>(i));
      x = layer.attention.norm.Forward(x + layer.attention.dense.Forward(h));

      const at::Tensor queries = heads(layer.crossattention.query.Forward(x));  // [N, H, C]
      std::vector<at::Tensor> looked;
      for (size_t s = 0; s < sequences.size(); ++s) {
        const at::Tensor q = queries.narrow(0, sequences[s].begin, sequences[s].count).transpose(0, 1).unsqueeze(0);
        const KvCache::View& memory = states[s]->memory[i];
        looked.push_back(
            at::scaled_dot_product_attention(q, memory.keys.unsqueeze(0), memory.values.unsqueeze(0))  // [1, H, T, C]
                .squeeze(0)
                .transpose(0, 1)
                .reshape({sequences[s].count, config_.width}));
      }
      x = layer.crossattention.norm.Forward(x + layer.crossattention.dense.Forward(at::cat(looked)));

      h = at::gelu(layer.intermediate.Forward(x));
      x = layer.norm.Forward(x + layer.output.Forward(h));
    }
    for (const SequenceRows& sequence : sequences) sequence.cache->Advance(sequence.count);
  }

  std::vector<at::Tensor> results;
  size_t sequence = 0;
  for (const ModelInput& input : inputs) {
    if (input.embeddings.defined()) {
      results.push_back(at::zeros({input.embeddings.size(0), config_.width}, options_));
    } else {
      results.push_back(x.narrow(0, sequences[sequence].begin, sequences[sequence].count));
      ++sequence;
    }
  }
  return at::cat(results);
}

at::Tensor BlipTextModel::Logits(const at::Tensor& rows) const {
  return decoder_.Forward(transform_norm_.Forward(at::gelu(transform_.Forward(rows)))).to(at::kFloat);
}

}  // namespace blazon::language
