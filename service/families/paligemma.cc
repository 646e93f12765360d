#include "service/families/paligemma.h"

#include <memory>
#include <utility>

#include "language/weight_taker.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/vision_families.h"
#include "service/families/checkpoint_parts.h"
#include "vision/weight_taker.h"

namespace blazon::service {
namespace {

class PaliGemmaImages : public ImageTokenEncoder {
 public:
  PaliGemmaImages(std::unique_ptr<vision::VisionTower> tower, vision::DenseLayer linear)
      : tower_(std::move(tower)), linear_(std::move(linear)) {}

 private:
  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const at::Tensor& pixel_mask) const override {
    const auto states = tower_->Encode(pixels, {.pixel_mask = pixel_mask});
    if (!states.ok()) return states.status();
    return linear_.Forward(*states);  // [B, T, D]
  }

  std::unique_ptr<vision::VisionTower> tower_;
  vision::DenseLayer linear_;  // multi_modal_projector.linear: [D, width of the tower]
};

}  // namespace

absl::StatusOr<VisionLanguageModel> CreatePaliGemma(const nlohmann::json& config, const language::StateDict& weights,
                                                    const language::Placement& placement) {
  auto checkpoint = Divide(config, weights, LlavaRules());
  if (!checkpoint.ok()) return checkpoint.status();
  auto& [parts, text_config, vision_config] = *checkpoint;
  text_config = WithoutLogitCap(WithTextDefaults(std::move(text_config), "gemma"));
  // The prefix that sees itself: said to the language model with each prompt.
  text_config.erase("use_bidirectional_attention");
  ConfigReader reader(config);
  const int64_t projection_width = reader.Count({"projection_dim"}, 2048);
  const int64_t image_token = reader.Count({"image_token_index", "image_token_id"}, 256000);
  if (!reader.status().ok()) return reader.status();

  VisionLanguageModel model;
  auto language = CreateLanguageModel(text_config, parts.language, placement);
  if (!language.ok()) return language.status();
  model.language = *std::move(language);
  if (absl::Status status = CheckWidth(projection_width, *model.language); !status.ok()) return status;

  const at::TensorOptions options = language::ComputeOptions(placement);
  auto tower = CreateVisionTower(vision_config, "siglip_vision_model", std::move(parts.vision), options);
  if (!tower.ok()) return tower.status();
  vision::WeightTaker take(std::move(parts.connector), options, "PaliGemma projector");
  vision::DenseLayer linear = take.Dense("linear", projection_width, (*tower)->config().width);
  if (absl::Status status = take.Finish(); !status.ok()) return status;

  const int64_t grid = (*tower)->config().grid();
  model.layout = {
      .image_token = static_cast<language::TokenId>(image_token),
      .tile_tokens = grid * grid,
      .attention = PromptAttention::kWholePrompt,
      .text_around_tiles = OneTile("", ""),
      .form = {.caption_prompt = "caption en", .captions_in_chat = false, .begin_behind_images = true, .end = "\n"}};
  model.images = std::make_unique<PaliGemmaImages>(*std::move(tower), std::move(linear));
  return model;
}

}  // namespace blazon::service
