#include "service/families/llava.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/weight_taker.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/vision_families.h"
#include "service/families/checkpoint_parts.h"
#include "vision/weight_taker.h"

namespace blazon::service {
namespace {

using nlohmann::json;

class LlavaImages : public ImageTokenEncoder {
 public:
  // layers: how many of the tower's are run. first: tokens that are left out at the front.
  LlavaImages(std::unique_ptr<vision::VisionTower> tower, int64_t layers, int64_t first, vision::DenseLayer linear_1,
              vision::DenseLayer linear_2)
      : tower_(std::move(tower)),
        layers_(layers),
        first_(first),
        linear_1_(std::move(linear_1)),
        linear_2_(std::move(linear_2)) {}

 private:
  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const at::Tensor& pixel_mask) const override {
    const auto states = tower_->Encode(pixels, {.layers = layers_, .pixel_mask = pixel_mask});
    if (!states.ok()) return states.status();
    const at::Tensor kept = states->narrow(1, first_, states->size(1) - first_).contiguous();
    return linear_2_.Forward(vision::Activate(linear_1_.Forward(kept), vision::Activation::kGelu));  // [B, T, D]
  }

  std::unique_ptr<vision::VisionTower> tower_;
  const int64_t layers_, first_;
  vision::DenseLayer linear_1_, linear_2_;  // multi_modal_projector
};

// How many layers vision_feature_layer stands for: an index of the hidden states, of which there is one more than
// layers, from the end when negative.
absl::StatusOr<int64_t> FeatureLayers(const json& config, int64_t layers) {
  json value = config.value("vision_feature_layer", json(-2));
  if (value.is_array() && value.size() == 1) value = json(value[0]);
  if (!value.is_number_integer()) {
    return absl::UnimplementedError(absl::StrCat("config: vision_feature_layer is ",
                                                 value.is_array() ? "a list" : value.type_name(),
                                                 "; Blazon takes the hidden state of one layer"));
  }
  const int64_t index = value.get<int64_t>(), result = index < 0 ? layers + 1 + index : index;
  if (result < 0 || result > layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("config: vision_feature_layer is ", index, " of a tower with ", layers, " layers"));
  }
  return result;
}

}  // namespace

absl::StatusOr<VisionLanguageModel> CreateLlava(const json& config, const language::StateDict& weights,
                                                const language::Placement& placement) {
  auto checkpoint = Divide(config, weights, LlavaRules());
  if (!checkpoint.ok()) return checkpoint.status();
  auto& [parts, text_config, vision_config] = *checkpoint;
  ConfigReader reader(config);
  if (reader.Flag({"tie_word_embeddings"}, false)) text_config["tie_word_embeddings"] = true;
  text_config = WithTextDefaults(std::move(text_config), "llama");
  const int64_t image_token = reader.Count({"image_token_index", "image_token_id"}, 32000);
  reader.Expect("projector_hidden_act", {"gelu"});
  reader.Expect("vision_feature_select_strategy", {"default", "full"});
  const bool drop_class = reader.Text({"vision_feature_select_strategy"}, "default") == "default";
  const bool bias = reader.Flag({"multimodal_projector_bias"}, true);
  if (!reader.status().ok()) return reader.status();

  VisionLanguageModel model;
  auto language = CreateLanguageModel(text_config, parts.language, placement);
  if (!language.ok()) return language.status();
  model.language = *std::move(language);

  // The tower of LLaVA 1.5, where the config says nothing.
  if (vision_config.empty()) {
    vision_config = {{"hidden_size", 1024},       {"intermediate_size", 4096}, {"num_hidden_layers", 24},
                     {"num_attention_heads", 16}, {"image_size", 336},         {"patch_size", 14}};
  }
  const at::TensorOptions options = language::ComputeOptions(placement);
  auto tower = CreateVisionTower(vision_config, "clip_vision_model", std::move(parts.vision), options);
  if (!tower.ok()) return tower.status();
  const auto layers = FeatureLayers(config, (*tower)->config().layers);
  if (!layers.ok()) return layers.status();
  const int64_t width = model.language->config().width;
  vision::WeightTaker take(std::move(parts.connector), options, "LLaVA projector");
  vision::DenseLayer linear_1 = take.Dense("linear_1", width, (*tower)->config().width, bias);
  vision::DenseLayer linear_2 = take.Dense("linear_2", width, width, bias);
  if (absl::Status status = take.Finish(); !status.ok()) return status;

  const int64_t grid = (*tower)->config().grid(), first = drop_class ? 1 : 0;
  model.layout = {.image_token = static_cast<language::TokenId>(image_token),
                  .tile_tokens = grid * grid + (*tower)->class_tokens() - first,
                  .attention = PromptAttention::kCausal,
                  .text_around_tiles = OneTile("", "")};
  model.images =
      std::make_unique<LlavaImages>(*std::move(tower), *layers, first, std::move(linear_1), std::move(linear_2));
  return model;
}

}  // namespace blazon::service
