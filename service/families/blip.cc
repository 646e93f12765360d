#include "service/families/blip.h"

#include <memory>
#include <utility>

#include "language/models/blip_text.h"
#include "language/weight_taker.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/vision_families.h"
#include "service/families/checkpoint_parts.h"

namespace blazon::service {
namespace {

class BlipImages : public ImageTokenEncoder {
 public:
  explicit BlipImages(std::unique_ptr<vision::VisionTower> tower) : tower_(std::move(tower)) {}

 private:
  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const at::Tensor& pixel_mask) const override {
    return tower_->Encode(pixels, {.pixel_mask = pixel_mask});  // [B, T, width of the tower]
  }

  std::unique_ptr<vision::VisionTower> tower_;
};

}  // namespace

absl::StatusOr<VisionLanguageModel> CreateBlip(const nlohmann::json& config, const language::StateDict& weights,
                                               const language::Placement& placement) {
  auto checkpoint =
      Divide(config, weights, {{"text_decoder.", Part::kLanguage, ""}, {"vision_model.", Part::kVision, ""}});
  if (!checkpoint.ok()) return checkpoint.status();
  auto& [parts, text_config, vision_config] = *checkpoint;

  auto tower = CreateVisionTower(vision_config, "blip_vision_model", std::move(parts.vision),
                                 language::ComputeOptions(placement));
  if (!tower.ok()) return tower.status();
  const vision::TowerConfig& vision = (*tower)->config();
  ConfigReader reader(text_config), whole(config);
  reader.Expect("hidden_act", {"gelu"});
  const language::BlipTextConfig text = {
      .width = reader.Count({"hidden_size"}, 768),
      .memory_width = vision.width,
      .memory_tokens = vision.grid() * vision.grid() + (*tower)->class_tokens(),
      .layers = reader.Count({"num_hidden_layers"}, 12),
      .heads = reader.Count({"num_attention_heads"}, 8),
      .mlp_width = reader.Count({"intermediate_size"}, 3072),
      .vocabulary_size = reader.Count({"vocab_size"}, 30524),
      .max_positions = reader.Count({"max_position_embeddings"}, 512),
      .norm_epsilon = reader.Positive({"layer_norm_eps"}, 1e-12),
      .tie_embeddings = whole.Flag({"tie_word_embeddings"}, true) || reader.Flag({"tie_word_embeddings"}, true),
  };
  const auto begin = static_cast<language::TokenId>(reader.Count({"bos_token_id"}, 30522));
  if (!reader.status().ok()) return reader.status();
  if (!whole.status().ok()) return whole.status();
  auto language = language::BlipTextModel::Create(text, parts.language, placement);
  if (!language.ok()) return language.status();

  VisionLanguageModel model;
  model.language = *std::move(language);
  model.layout = {.image_token = -1,
                  .tile_tokens = text.memory_tokens,
                  .attention = PromptAttention::kCausal,
                  .text_around_tiles = OneTile("", ""),
                  .form = {.caption_prompt = "", .captions_in_chat = false, .begin = {{begin}}}};
  model.images = std::make_unique<BlipImages>(*std::move(tower));
  return model;
}

}  // namespace blazon::service
