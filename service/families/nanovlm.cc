#include "service/families/nanovlm.h"

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "language/weight_taker.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/language_families.h"
#include "service/families/checkpoint_parts.h"
#include "vision/models/siglip.h"
#include "vision/pixel_shuffle.h"
#include "vision/weight_taker.h"

namespace blazon::service {
namespace {

using nlohmann::json;

constexpr char kGlobalImage[] = "<|global_image|>";
constexpr char kCaptionPrompt[] = "What is this?";  // of its generate.py

class NanoVlmImages : public ImageTokenEncoder {
 public:
  NanoVlmImages(std::unique_ptr<vision::VisionTower> tower, int64_t factor, vision::DenseLayer proj)
      : tower_(std::move(tower)), factor_(factor), proj_(std::move(proj)) {}

 private:
  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const at::Tensor& pixel_mask) const override {
    const auto states = tower_->Encode(pixels, {.pixel_mask = pixel_mask});
    if (!states.ok()) return states.status();
    const int64_t grid = tower_->config().grid();
    return proj_.Forward(vision::PixelShuffle(*states, grid, grid, factor_));  // [B, T, D]
  }

  std::unique_ptr<vision::VisionTower> tower_;
  const int64_t factor_;
  vision::DenseLayer proj_;  // MP.proj: [D, factor^2 * tower's width]
};

// Its names to those of Llama.
language::StateDict LlamaNames(const language::StateDict& given) {
  language::StateDict result;
  for (const auto& [name, weight] : given) {
    result[absl::StrReplaceAll(name, {{"token_embedding.", "model.embed_tokens."},
                                      {"blocks.", "model.layers."},
                                      {".norm1.", ".input_layernorm."},
                                      {".norm2.", ".post_attention_layernorm."},
                                      {".attn.out_proj.", ".self_attn.o_proj."},
                                      {".attn.", ".self_attn."},
                                      {"rotary_embd.", "model.rotary_emb."},
                                      {"head.", "lm_head."}})] = weight;
  }
  if (const auto norm = result.extract("norm.weight"); !norm.empty()) result["model.norm.weight"] = norm.mapped();
  return result;
}

// Its names to those of SigLIP. Tensors whose shape does not fit keep their name and are refused under it.
vision::TensorMap SiglipNames(const vision::TensorMap& given) {
  vision::TensorMap result;
  for (const auto& [name, tensor] : given) {
    const std::string siglip_name =
        absl::StrReplaceAll(name, {{"patch_embedding.conv.", "embeddings.patch_embedding."},
                                   {"patch_embedding.position_embedding", "embeddings.position_embedding.weight"},
                                   {"blocks.", "encoder.layers."},
                                   {".ln1.", ".layer_norm1."},
                                   {".ln2.", ".layer_norm2."},
                                   {".attn.", ".self_attn."},
                                   {"layer_norm.", "post_layernorm."}});
    if (siglip_name == "embeddings.position_embedding.weight" && tensor.dim() == 3 && tensor.size(0) == 1) {
      result[siglip_name] = tensor[0];
    } else if (const size_t fused = siglip_name.find(".qkv_proj.");
               fused != std::string::npos && tensor.dim() >= 1 && tensor.size(0) % 3 == 0) {
      const char* const parts[] = {".q_proj.", ".k_proj.", ".v_proj."};
      for (int i = 0; i < 3; ++i) {
        result[absl::StrReplaceAll(siglip_name, {{".qkv_proj.", parts[i]}})] =
            tensor.narrow(0, i * tensor.size(0) / 3, tensor.size(0) / 3);
      }
    } else {
      result[siglip_name] = tensor;
    }
  }
  return result;
}

json LlamaConfig(ConfigReader& reader) {
  if (reader.Positive({"lm_attn_scaling"}, 1.0) != 1.0) {
    reader.Refuse("lm_attn_scaling is not 1; Blazon leaves the rotation unscaled");
  }
  return {{"model_type", "llama"},
          {"hidden_size", reader.Count({"lm_hidden_dim"})},
          {"intermediate_size", reader.Count({"lm_inter_dim"})},
          {"num_hidden_layers", reader.Count({"lm_n_blocks"})},
          {"num_attention_heads", reader.Count({"lm_n_heads"})},
          {"num_key_value_heads", reader.Count({"lm_n_kv_heads"})},
          {"vocab_size", reader.Count({"lm_vocab_size"})},
          {"max_position_embeddings", reader.Count({"lm_max_position_embeddings"})},
          {"rms_norm_eps", reader.Positive({"lm_rms_eps"})},
          {"rope_theta", reader.Positive({"lm_re_base"})},
          {"tie_word_embeddings", reader.Flag({"lm_tie_weights"}, true)}};
}

vision::SiglipConfig SiglipConfig(ConfigReader& reader) {
  if (reader.Flag({"vit_cls_flag"}, false)) {
    reader.Refuse("vit_cls_flag is set: one class token for a picture, of which no image tokens can be made");
  }
  vision::SiglipConfig config;
  config.pooling_head = false;
  config.tower = {.width = reader.Count({"vit_hidden_dim"}),
                  .layers = reader.Count({"vit_n_blocks"}),
                  .heads = reader.Count({"vit_n_heads"}),
                  .mlp_width = reader.Count({"vit_inter_dim"}),
                  .image_size = reader.Count({"vit_img_size"}),
                  .patch_size = reader.Count({"vit_patch_size"}),
                  .norm_epsilon = reader.Positive({"vit_ln_eps"}),
                  .activation = vision::Activation::kGeluTanh};
  return config;
}

// The whole picture first, then its tiles row by row, each after its own control token. A picture that is one tile has
// no others.
absl::StatusOr<std::vector<std::string>> NumberedTiles(const TileGrid& grid) {
  std::vector<std::string> texts = {kGlobalImage};
  for (int64_t row = 1; row <= grid.rows; ++row) {
    for (int64_t column = 1; column <= grid.columns; ++column) {
      texts.push_back(absl::StrCat("<row_", row, "_col_", column, ">"));
    }
  }
  texts.emplace_back();
  return texts;
}

// The member `name` of vlm_extra_tokens, a text; empty where there is none.
std::string ExtraToken(const json& config, const char* name) {
  const auto tokens = config.find("vlm_extra_tokens");
  if (tokens == config.end() || !tokens->is_object()) return "";
  const auto found = tokens->find(name);
  return found != tokens->end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

bool IsNanoVlmConfig(const json& config) {
  return !config.contains("model_type") && config.contains("vit_hidden_dim") && config.contains("lm_hidden_dim");
}

absl::StatusOr<VisionLanguageModel> CreateNanoVlm(const json& config, const language::StateDict& weights,
                                                  const language::Placement& placement) {
  auto parts = TakeApart(
      weights,
      {{"decoder.", Part::kLanguage, ""}, {"vision_encoder.", Part::kVision, ""}, {"MP.", Part::kConnector, ""}});
  if (!parts.ok()) return parts.status();
  ConfigReader reader(config);
  const json text_config = LlamaConfig(reader);
  const vision::SiglipConfig vision_config = SiglipConfig(reader);
  const int64_t factor = reader.Count({"mp_pixel_shuffle_factor"}, 2);
  if (!reader.status().ok()) return reader.status();

  language::StateDict llama = LlamaNames(parts->language);
  // Of two tensors that share memory its files keep the one that comes first in the alphabet: the head.
  if (text_config["tie_word_embeddings"] == true && !llama.contains("model.embed_tokens.weight") &&
      llama.contains("lm_head.weight")) {
    llama["model.embed_tokens.weight"] = llama["lm_head.weight"];
  }
  VisionLanguageModel model;
  auto language = CreateLanguageModel(text_config, llama, placement);
  if (!language.ok()) return language.status();
  model.language = *std::move(language);

  const at::TensorOptions options = language::ComputeOptions(placement);
  auto tower = vision::CreateSiglip(vision_config, SiglipNames(parts->vision), options);
  if (!tower.ok()) return tower.status();
  const int64_t grid = vision_config.tower.grid();
  if (grid % factor != 0) {
    return absl::InvalidArgumentError(absl::StrCat("config: mp_pixel_shuffle_factor ", factor, " does not divide the ",
                                                   grid, " patches of a picture's side"));
  }
  const int64_t tokens = (grid / factor) * (grid / factor);
  if (reader.Count({"mp_image_token_length"}, tokens) != tokens) {
    return absl::InvalidArgumentError(absl::StrCat("config: mp_image_token_length is ",
                                                   config["mp_image_token_length"].dump(),
                                                   ", and the tower and the shuffle make ", tokens));
  }
  vision::WeightTaker take(std::move(parts->connector), options, "nanoVLM projector");
  vision::DenseLayer proj =
      take.Dense("proj", model.language->config().width, vision_config.tower.width * factor * factor, /*bias=*/false);
  if (absl::Status status = take.Finish(); !status.ok()) return status;

  model.layout = {.image_token = -1,
                  .tile_tokens = tokens,
                  .attention = PromptAttention::kCausal,
                  .text_around_tiles = OneTile("", ""),
                  .form = {.caption_prompt = kCaptionPrompt,
                           .captions_in_chat = false,
                           .caption_before = "Question: ",
                           .caption_after = " Answer:"}};
  model.layout.image_token_text = ExtraToken(config, "image_token");
  if (!model.layout.image_token_text.empty()) {
    model.layout.form = {.caption_prompt = kCaptionPrompt, .template_takes_text = true, .several = "<image: $0>"};
  }
  if (!ExtraToken(config, "global_image_token").empty()) model.layout.text_around_tiles = NumberedTiles;
  model.images = std::make_unique<NanoVlmImages>(*std::move(tower), factor, std::move(proj));
  return model;
}

}  // namespace blazon::service
