#include "service/families/gemma3.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/matmul.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/ops/rms_norm.h"
#include "language/weight_taker.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/vision_families.h"
#include "service/families/checkpoint_parts.h"
#include "vision/weight_taker.h"

namespace blazon::service {
namespace {

class Gemma3Images : public ImageTokenEncoder {
 public:
  // kernel: patches a side that are averaged. norm: 1 + the checkpoint's weight.
  Gemma3Images(std::unique_ptr<vision::VisionTower> tower, int64_t kernel, at::Tensor norm, at::Tensor projection)
      : tower_(std::move(tower)), kernel_(kernel), norm_(std::move(norm)), projection_(std::move(projection)) {}

 private:
  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const at::Tensor& pixel_mask) const override {
    const auto states = tower_->Encode(pixels, {.pixel_mask = pixel_mask});  // [B, P, W], W the tower's width
    if (!states.ok()) return states.status();
    const int64_t tiles = states->size(0), width = states->size(2), grid = tower_->config().grid();
    const at::Tensor map = states->transpose(1, 2).reshape({tiles, width, grid, grid});  // [B, W, h, w]
    const at::Tensor pooled = at::avg_pool2d(map, kernel_).flatten(2).transpose(1, 2);   // [B, T, W]
    const at::Tensor normed =
        language::RmsNorm(pooled.reshape({-1, width}), norm_, tower_->config().norm_epsilon);  // [B * T, W]
    return at::matmul(normed, projection_).view({tiles, -1, projection_.size(1)});             // [B, T, D]
  }

  std::unique_ptr<vision::VisionTower> tower_;
  const int64_t kernel_;
  at::Tensor norm_;        // multi_modal_projector.mm_soft_emb_norm: [W]
  at::Tensor projection_;  // multi_modal_projector.mm_input_projection_weight: [W, D]
};

// The whole picture, then its crops where pan and scan made some: in the words of Gemma3Processor, which the model was
// trained with.
absl::StatusOr<std::vector<std::string>> WholeThenCrops(const TileGrid& grid) {
  const std::string begin = "\n\n<start_of_image>", end = "<end_of_image>\n\n";
  const int64_t crops = grid.rows * grid.columns;
  if (crops == 0) return std::vector{begin, end};
  std::vector<std::string> texts = {absl::StrCat("Here is the original image ", begin),
                                    absl::StrCat(end, " and here are some crops to help you see better ", begin)};
  for (int64_t i = 1; i < crops; ++i) texts.push_back(absl::StrCat(end, " ", begin));
  texts.push_back(end);
  return texts;
}

}  // namespace

absl::StatusOr<VisionLanguageModel> CreateGemma3(const nlohmann::json& config, const language::StateDict& weights,
                                                 const language::Placement& placement) {
  auto checkpoint = Divide(config, weights, LlavaRules());
  if (!checkpoint.ok()) return checkpoint.status();
  auto& [parts, text_config, vision_config] = *checkpoint;
  text_config = WithoutLogitCap(WithTextDefaults(std::move(text_config), "gemma3_text"));
  ConfigReader reader(config);
  const int64_t tokens = reader.Count({"mm_tokens_per_image"}, 256);
  const int64_t image_token = reader.Count({"image_token_index", "image_token_id"}, 262144);
  if (!reader.status().ok()) return reader.status();

  VisionLanguageModel model;
  auto language = CreateLanguageModel(text_config, parts.language, placement);
  if (!language.ok()) return language.status();
  model.language = *std::move(language);

  const at::TensorOptions options = language::ComputeOptions(placement);
  auto tower = CreateVisionTower(vision_config, "siglip_vision_model", std::move(parts.vision), options);
  if (!tower.ok()) return tower.status();
  const int64_t grid = (*tower)->config().grid(), side = std::lround(std::sqrt(static_cast<double>(tokens)));
  if (side * side != tokens || grid % side != 0) {
    return absl::InvalidArgumentError(absl::StrCat("config: mm_tokens_per_image is ", tokens,
                                                   "; it must be the square of a number that divides the ", grid,
                                                   " patches of a picture's side"));
  }
  const int64_t width = (*tower)->config().width;
  vision::WeightTaker take(std::move(parts.connector), options, "Gemma 3 projector");
  at::Tensor norm = take.Tensor("mm_soft_emb_norm.weight", {width});
  at::Tensor projection = take.Tensor("mm_input_projection_weight", {width, model.language->config().width});
  if (absl::Status status = take.Finish(); !status.ok()) return status;

  model.layout = {.image_token = static_cast<language::TokenId>(image_token),
                  .tile_tokens = tokens,
                  .attention = PromptAttention::kImageRuns,
                  .text_around_tiles = WholeThenCrops,
                  .form = {.chat_image = "<start_of_image>"}};
  model.images = std::make_unique<Gemma3Images>(*std::move(tower), grid / side, norm + 1.0, std::move(projection));
  return model;
}

}  // namespace blazon::service
