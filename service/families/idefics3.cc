#include "service/families/idefics3.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/weight_taker.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/vision_families.h"
#include "service/families/checkpoint_parts.h"
#include "vision/pixel_shuffle.h"
#include "vision/weight_taker.h"

namespace blazon::service {
namespace {

class Idefics3Images : public ImageTokenEncoder {
 public:
  Idefics3Images(std::unique_ptr<vision::VisionTower> tower, int64_t factor, vision::DenseLayer proj)
      : tower_(std::move(tower)), factor_(factor), proj_(std::move(proj)) {}

 private:
  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const at::Tensor& pixel_mask) const override {
    const int64_t step = tower_->config().patch_size * factor_;
    if (pixels.dim() != 4 || pixels.size(2) != pixels.size(3) || pixels.size(2) % step != 0) {
      return absl::InvalidArgumentError(absl::StrCat("pixel values have shape [", absl::StrJoin(pixels.sizes(), ", "),
                                                     "]; this model takes [tiles, 3, S, S], S a multiple of ", step,
                                                     ". Pad the tiles, and say so by the pixel mask."));
    }
    const auto states = tower_->Encode(pixels, {.pixel_mask = pixel_mask});  // [B, P, tower's width]
    if (!states.ok()) return states.status();
    const int64_t side = pixels.size(2) / tower_->config().patch_size;
    return proj_.Forward(vision::PixelShuffle(*states, side, side, factor_));  // [B, T, D]
  }

  std::unique_ptr<vision::VisionTower> tower_;
  const int64_t factor_;
  vision::DenseLayer proj_;  // connector.modality_projection.proj: [D, factor^2 * tower's width]
};

// Rows of tiles, each ended by a newline, then the whole picture.
absl::StatusOr<std::vector<std::string>> RowsOfTiles(const TileGrid& grid) {
  const std::string edge = "<fake_token_around_image>", whole = edge + "<global-img>";
  if (grid.rows == 0 && grid.columns == 0) return std::vector{whole, edge};
  if (grid.rows < 1 || grid.columns < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a picture cannot be split into ", grid.rows, " x ", grid.columns, " tiles"));
  }
  std::vector<std::string> texts;
  std::string before;  // what stands before the next tile beside its own tokens
  for (int64_t row = 1; row <= grid.rows; ++row) {
    for (int64_t column = 1; column <= grid.columns; ++column) {
      texts.push_back(absl::StrCat(before, edge, "<row_", row, "_col_", column, ">"));
      before.clear();
    }
    before = "\n";
  }
  texts.push_back(absl::StrCat(before, "\n", whole));
  texts.push_back(edge);
  return texts;
}

}  // namespace

absl::StatusOr<VisionLanguageModel> CreateIdefics3(const nlohmann::json& config, const language::StateDict& weights,
                                                   const language::Placement& placement) {
  auto checkpoint = Divide(config, weights,
                           {{"model.text_model.", Part::kLanguage, "model."},
                            {"lm_head.", Part::kLanguage, "lm_head."},
                            {"model.vision_model.", Part::kVision, ""},
                            {"model.connector.", Part::kConnector, ""}});
  if (!checkpoint.ok()) return checkpoint.status();
  auto& [parts, text_config, vision_config] = *checkpoint;
  ConfigReader reader(config);
  if (reader.Has({"tie_word_embeddings"})) {
    text_config["tie_word_embeddings"] = reader.Flag({"tie_word_embeddings"}, false);
  }
  text_config = WithTextDefaults(std::move(text_config), "llama");
  const int64_t factor = reader.Count({"scale_factor"}, 2);
  const int64_t image_token = reader.Count({"image_token_id"}, 128257);
  if (!reader.status().ok()) return reader.status();

  VisionLanguageModel model;
  auto language = CreateLanguageModel(text_config, parts.language, placement);
  if (!language.ok()) return language.status();
  model.language = *std::move(language);

  const at::TensorOptions options = language::ComputeOptions(placement);
  auto tower = CreateVisionTower(vision_config, "idefics3_vision", std::move(parts.vision), options);
  if (!tower.ok()) return tower.status();
  const int64_t grid = (*tower)->config().grid();
  if (grid % factor != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("config: scale_factor ", factor, " does not divide the ", grid, " patches of a tile's side"));
  }
  vision::WeightTaker take(std::move(parts.connector), options, "Idefics3 connector");
  vision::DenseLayer proj = take.Dense("modality_projection.proj", model.language->config().width,
                                       (*tower)->config().width * factor * factor, /*bias=*/false);
  if (absl::Status status = take.Finish(); !status.ok()) return status;

  model.layout = {.image_token = static_cast<language::TokenId>(image_token),
                  .tile_tokens = (grid / factor) * (grid / factor),
                  .attention = PromptAttention::kCausal,
                  .text_around_tiles = RowsOfTiles};
  model.images = std::make_unique<Idefics3Images>(*std::move(tower), factor, std::move(proj));
  return model;
}

}  // namespace blazon::service
