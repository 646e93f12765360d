#include "service/families/joint_embedder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/norm.h>
#include <c10/util/Exception.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/vision_families.h"
#include "service/families/checkpoint_parts.h"

namespace blazon::service {
namespace {

using language::ContrastiveTextConfig;
using nlohmann::json;
using Activation = ContrastiveTextConfig::Activation;

ContrastiveTextConfig ReadTextConfig(ConfigReader& reader, bool clip) {
  ContrastiveTextConfig config;
  config.kind = clip ? ContrastiveTextConfig::Kind::kClip : ContrastiveTextConfig::Kind::kSiglip;
  config.width = reader.Count({"hidden_size"}, clip ? 512 : 768);
  config.layers = reader.Count({"num_hidden_layers"}, 12);
  config.heads = reader.Count({"num_attention_heads"}, clip ? 8 : 12);
  config.mlp_width = reader.Count({"intermediate_size"}, clip ? 2048 : 3072);
  config.vocabulary_size = reader.Count({"vocab_size"}, clip ? 49408 : 32000);
  config.max_tokens = reader.Count({"max_position_embeddings"}, clip ? 77 : 64);
  config.norm_epsilon = reader.Positive({"layer_norm_eps"}, clip ? 1e-5 : 1e-6);
  config.end = static_cast<language::TokenId>(reader.Count({"eos_token_id"}, 49407));
  const std::string activation = reader.Text({"hidden_act"}, clip ? "quick_gelu" : "gelu_pytorch_tanh");
  reader.Expect("hidden_act", {"quick_gelu", "gelu", "gelu_pytorch_tanh"});
  config.activation = activation == "quick_gelu" ? Activation::kQuickGelu
                      : activation == "gelu"     ? Activation::kGelu
                                                 : Activation::kGeluTanh;
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JointEmbedder>> JointEmbedder::Create(const json& config,
                                                                     const language::StateDict& weights,
                                                                     std::unique_ptr<language::Tokenizer> tokenizer,
                                                                     const std::string& digest, at::Device device) {
  ConfigReader reader(config);
  const std::string type = reader.Text({"model_type"}, "");
  const bool clip = type == "clip";
  if (!clip && type != "siglip") {
    return absl::UnimplementedError(absl::StrCat("config: model_type is \"", type,
                                                 "\"; the embedders of texts and pictures that Blazon runs are clip "
                                                 "and siglip"));
  }
  auto checkpoint = Divide(config, weights,
                           {{"text_model.", Part::kLanguage, ""},
                            {"text_projection.", Part::kLanguage, "text_projection."},
                            {"vision_model.", Part::kVision, ""},
                            {"visual_projection.", Part::kConnector, "visual_projection."},
                            {"logit_", Part::kConnector, "logit_"}});
  if (!checkpoint.ok()) return checkpoint.status();
  auto& [parts, text_config, vision_config] = *checkpoint;
  ConfigReader text_reader(text_config);
  ContrastiveTextConfig text = ReadTextConfig(text_reader, clip);
  text.embedding_width =
      clip ? reader.Count({"projection_dim"}, 512) : text_reader.Count({"projection_size"}, text.width);
  text.weights_digest = digest;
  if (tokenizer != nullptr && clip) {  // CLIP's tokens of its own; SigLIP's texts end with </s> and are padded
    const auto begin = tokenizer->FindToken("<|startoftext|>"), end = tokenizer->FindToken("<|endoftext|>");
    if (!begin || !end) {
      return absl::InvalidArgumentError(
          absl::StrCat("the vocabulary has no ", begin ? "<|endoftext|>" : "<|startoftext|>"));
    }
    text.begin_text = *begin;
    text.end_text = *end;
    if (text.end != 2) text.end = *end;
  } else if (tokenizer != nullptr) {
    // SigLIP's vocabulary ends a text by </s> and pads with it too; SigLIP 2's is Gemma's, with <eos> and <pad>.
    const auto end = tokenizer->FindToken("</s>"), gemma_end = tokenizer->FindToken("<eos>");
    const auto pad = gemma_end ? tokenizer->FindToken("<pad>") : end;
    if (!pad || (!end && !gemma_end))
      return absl::InvalidArgumentError("the vocabulary has no </s>, nor <eos> and <pad>");
    text.end_text = gemma_end ? *gemma_end : *end;
    text.pad = *pad;
  }
  if (!reader.status().ok()) return reader.status();
  if (!text_reader.status().ok()) return text_reader.status();

  std::unique_ptr<JointEmbedder> embedder(new JointEmbedder);
  auto texts = language::ContrastiveTextEmbedder::Create(text, parts.language, std::move(tokenizer), device);
  if (!texts.ok()) return texts.status();
  embedder->texts_ = *std::move(texts);
  auto tower = CreateVisionTower(vision_config, clip ? "clip_vision_model" : "siglip_vision_model",
                                 std::move(parts.vision), at::device(device).dtype(at::kFloat));
  if (!tower.ok()) return tower.status();
  embedder->tower_ = *std::move(tower);
  const int64_t width = embedder->tower_->config().width;
  // The scale and the shift of their scores are for training and for probabilities, not for vectors.
  const auto ignorable = [](std::string_view name) { return name == "logit_scale" || name == "logit_bias"; };
  vision::WeightTaker take(std::move(parts.connector), at::device(device).dtype(at::kFloat), clip ? "CLIP" : "SigLIP",
                           {}, ignorable);
  if (clip) embedder->visual_projection_ = take.Dense("visual_projection", text.embedding_width, width, /*bias=*/false);
  if (absl::Status status = take.Finish(); !status.ok()) return status;
  if (!clip && width != text.embedding_width) {
    return absl::InvalidArgumentError(absl::StrCat("config: vision_config's hidden_size ", width,
                                                   " is not text_config's projection_size ", text.embedding_width));
  }
  return embedder;
}

absl::StatusOr<at::Tensor> JointEmbedder::EmbedPixels(const at::Tensor& pixels) const {
  try {
    const at::NoGradGuard no_grad;
    const absl::StatusOr<at::Tensor> states = tower_->Encode(pixels);
    if (!states.ok()) return states.status();
    const absl::StatusOr<at::Tensor> pooled = tower_->Pool(*states);
    if (!pooled.ok()) return pooled.status();
    const at::Tensor made =
        visual_projection_.weight.defined() ? visual_projection_.Forward(*pooled) : *pooled;  // [B, E]
    return made / made.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12);
  } catch (const c10::Error&) {
    return absl::InternalError("the picture embedder failed; is there enough memory?");
  }
}

}  // namespace blazon::service
