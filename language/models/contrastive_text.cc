#include "language/models/contrastive_text.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/weight_taker.h"

namespace blazon::language {
namespace {

using Kind = ContrastiveTextConfig::Kind;

absl::Status CheckConfig(const ContrastiveTextConfig& config) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"hidden_size", config.width},
      {"num_hidden_layers", config.layers},
      {"num_attention_heads", config.heads},
      {"intermediate_size", config.mlp_width},
      {"vocab_size", config.vocabulary_size},
      {"max_position_embeddings", config.max_tokens},
      {config.kind == Kind::kClip ? "projection_dim" : "projection_size", config.embedding_width}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.width % config.heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hidden_size ", config.width, " is not a multiple of num_attention_heads ", config.heads));
  }
  return absl::OkStatus();
}

at::Tensor Activate(const at::Tensor& x, ContrastiveTextConfig::Activation activation) {
  switch (activation) {
    case ContrastiveTextConfig::Activation::kQuickGelu:
      return x * at::sigmoid(x * 1.702);
    case ContrastiveTextConfig::Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case ContrastiveTextConfig::Activation::kGelu:
      break;
  }
  return at::gelu(x);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ContrastiveTextEmbedder>> ContrastiveTextEmbedder::Create(
    const ContrastiveTextConfig& config, const StateDict& weights, std::unique_ptr<Tokenizer> tokenizer,
    at::Device device) {
  if (absl::Status status = CheckConfig(config); !status.ok()) return status;
  std::unique_ptr<ContrastiveTextEmbedder> model(new ContrastiveTextEmbedder);
  model->config_ = config;
  model->tokenizer_ = std::move(tokenizer);
  const bool clip = config.kind == Kind::kClip;
  model->fingerprint_ = absl::StrCat(clip ? "clip:" : "siglip:", config.weights_digest, ":l2:", config.max_tokens);
  try {
    const auto ignorable = [](std::string_view name) { return name == "embeddings.position_ids"; };
    WeightTaker take(weights, {Dtype::kFp32, device},
                     {.architecture = clip ? "CLIP text" : "SigLIP text", .prefixes = {}, .ignorable = ignorable});
    const int64_t width = config.width;
    const auto norm = [&](const std::string& module) {
      return LayerNorm{take.Vector(module, width), take.Dense(module + ".bias", {width}), config.norm_epsilon};
    };
    model->token_embedding_ = take.Matrix("embeddings.token_embedding", config.vocabulary_size, width);
    model->position_embedding_ = take.Dense("embeddings.position_embedding.weight", {config.max_tokens, width});
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      const std::string prefix = absl::StrCat("encoder.layers.", i, ".");
      Layer layer;
      layer.layer_norm1 = norm(prefix + "layer_norm1");
      layer.q_proj = take.Matrix(prefix + "self_attn.q_proj", width, width, Bias::kYes);
      layer.k_proj = take.Matrix(prefix + "self_attn.k_proj", width, width, Bias::kYes);
      layer.v_proj = take.Matrix(prefix + "self_attn.v_proj", width, width, Bias::kYes);
      layer.out_proj = take.Matrix(prefix + "self_attn.out_proj", width, width, Bias::kYes);
      layer.layer_norm2 = norm(prefix + "layer_norm2");
      layer.fc1 = take.Matrix(prefix + "mlp.fc1", config.mlp_width, width, Bias::kYes);
      layer.fc2 = take.Matrix(prefix + "mlp.fc2", width, config.mlp_width, Bias::kYes);
      model->layers_.push_back(std::move(layer));
    }
    model->final_layer_norm_ = norm("final_layer_norm");
    model->projection_ =
        take.Matrix(clip ? "text_projection" : "head", config.embedding_width, width, clip ? Bias::kNone : Bias::kYes);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

at::Tensor ContrastiveTextEmbedder::Encode(const at::Tensor& ids) const {
  const int64_t texts = ids.size(0), tokens = ids.size(1), width = config_.width, rows = texts * tokens;
  const bool causal = config_.kind == Kind::kClip;
  const auto heads = [&](const at::Tensor& y) { return y.view({texts, tokens, config_.heads, -1}).transpose(1, 2); };
  at::Tensor x =
      (token_embedding_.Rows(ids.flatten()).view({texts, tokens, width}) + position_embedding_.narrow(0, 0, tokens))
          .view({rows, width});  // [B * T, D]
  for (const Layer& layer : layers_) {
    at::Tensor h = layer.layer_norm1.Forward(x);
    h = at::scaled_dot_product_attention(heads(layer.q_proj.Forward(h)), heads(layer.k_proj.Forward(h)),
                                         heads(layer.v_proj.Forward(h)), std::nullopt, /*dropout_p=*/0.0,
                                         causal && tokens > 1);  // [B, H, T, C]
    x = x + layer.out_proj.Forward(h.transpose(1, 2).reshape({rows, width}));
    h = Activate(layer.fc1.Forward(layer.layer_norm2.Forward(x)), config_.activation);
    x = x + layer.fc2.Forward(h);
  }
  return final_layer_norm_.Forward(x).view({texts, tokens, width});
}

absl::StatusOr<int64_t> ContrastiveTextEmbedder::PooledPlace(const std::vector<TokenId>& text) const {
  constexpr TokenId kWrongEnd = 2;
  if (config_.kind == Kind::kSiglip) return static_cast<int64_t>(text.size()) - 1;
  if (config_.end == kWrongEnd) return std::max_element(text.begin(), text.end()) - text.begin();
  const auto end = std::find(text.begin(), text.end(), config_.end);
  if (end == text.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("it has no end token (", config_.end, "), from which its vector is made. Add it."));
  }
  return end - text.begin();
}

absl::StatusOr<std::vector<float>> ContrastiveTextEmbedder::EmbedTokens(
    absl::Span<const std::vector<TokenId>> texts) const {
  std::vector<int64_t> places;
  std::map<size_t, std::vector<size_t>> by_length;  // texts of one length share a pass: no padding, no mask
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<TokenId>& text = texts[i];
    if (text.empty() || static_cast<int64_t>(text.size()) > config_.max_tokens) {
      return absl::InvalidArgumentError(absl::StrCat("text ", i, " has ", text.size(),
                                                     " tokens; the embedder takes 1 to ", config_.max_tokens,
                                                     ", control tokens included. Split it."));
    }
    for (const TokenId id : text) {
      if (id >= 0 && id < config_.vocabulary_size) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("text ", i, " has token ", id, "; the vocabulary has ", config_.vocabulary_size));
    }
    const absl::StatusOr<int64_t> place = PooledPlace(text);
    if (!place.ok())
      return absl::Status(place.status().code(), absl::StrCat("text ", i, ": ", place.status().message()));
    places.push_back(*place);
    by_length[text.size()].push_back(i);
  }
  std::vector<float> vectors(texts.size() * config_.embedding_width);
  try {
    c10::InferenceMode inference;
    for (const auto& [length, members] : by_length) {
      std::vector<int64_t> ids, rows;
      for (const size_t text : members) {
        rows.push_back(static_cast<int64_t>(ids.size()) + places[text]);
        ids.insert(ids.end(), texts[text].begin(), texts[text].end());
      }
      const at::Tensor states =
          Encode(at::tensor(ids, at::kLong).view({static_cast<int64_t>(members.size()), static_cast<int64_t>(length)}));
      const at::Tensor pooled =
          states.flatten(0, 1).index_select(0, at::tensor(rows, at::kLong).to(states.device()));  // [B, D]
      at::Tensor made = projection_.Forward(pooled);                                              // [B, E]
      made = (made / made.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12)).cpu().contiguous();
      for (size_t i = 0; i < members.size(); ++i) {
        std::copy_n(made.const_data_ptr<float>() + i * config_.embedding_width, config_.embedding_width,
                    vectors.begin() + static_cast<int64_t>(members[i]) * config_.embedding_width);
      }
    }
  } catch (const c10::Error&) {
    return absl::InternalError("the embedder failed; is there enough memory?");
  }
  return vectors;
}

int64_t ContrastiveTextEmbedder::CountTokens(std::string_view text) const {
  const int64_t own = tokenizer_ != nullptr ? static_cast<int64_t>(tokenizer_->Encode(text).size()) : 0;
  return own + (config_.begin_text >= 0 ? 1 : 0) + (config_.end_text >= 0 ? 1 : 0);
}

absl::StatusOr<std::vector<float>> ContrastiveTextEmbedder::Embed(absl::Span<const std::string> texts) const {
  if (tokenizer_ == nullptr) {
    return absl::FailedPreconditionError(
        "this checkpoint was loaded without a tokenizer. Give token ids, or name one.");
  }
  std::vector<std::vector<TokenId>> ids;
  for (const std::string& text : texts) {
    std::vector<TokenId> tokens = tokenizer_->Encode(text);
    if (config_.begin_text >= 0) tokens.insert(tokens.begin(), config_.begin_text);
    if (config_.end_text >= 0) tokens.push_back(config_.end_text);
    if (config_.pad >= 0 && static_cast<int64_t>(tokens.size()) < config_.max_tokens) {
      tokens.resize(config_.max_tokens, config_.pad);
    }
    ids.push_back(std::move(tokens));
  }
  return EmbedTokens(ids);
}

absl::StatusOr<std::vector<PieceEmbeddings>> ContrastiveTextEmbedder::EmbedPieces(
    absl::Span<const std::vector<std::string>> /*texts*/) const {
  return absl::UnimplementedError(
      "an embedder of texts and pictures makes one vector of a text and none of its pieces. Use a text embedder.");
}

}  // namespace blazon::language
