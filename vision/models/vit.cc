#include "vision/models/vit.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tanh.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "vision/weight_taker.h"

namespace blazon::vision {
namespace {

// What sets the two checkpoints apart.
struct Names {
  std::string class_token, patch, positions, norm;
  EncoderNames encoder;
};

Names VitNames(const WeightTaker& take) {
  Names names = {.class_token = "embeddings.cls_token",
                 .patch = "embeddings.patch_embeddings.projection",
                 .positions = "embeddings.position_embeddings",
                 .norm = "layernorm",
                 .encoder = {}};
  names.encoder = {
      .layer = "encoder.layer.",
      .norm1 = "layernorm_before",
      .norm2 = "layernorm_after",
      .query_key_value = {"attention.attention.query", "attention.attention.key", "attention.attention.value"},
      .output = "attention.output.dense",
      .fc1 = "intermediate.dense",
      .fc2 = "output.dense"};
  if (take.Has("layers.0.attention.q_proj.weight")) {
    names.encoder = {.layer = "layers.",
                     .norm1 = "layernorm_before",
                     .norm2 = "layernorm_after",
                     .query_key_value = {"attention.q_proj", "attention.k_proj", "attention.v_proj"},
                     .output = "attention.o_proj",
                     .fc1 = "mlp.fc1",
                     .fc2 = "mlp.fc2"};
  }
  return names;
}

Names BlipNames() {
  Names names = {.class_token = "embeddings.class_embedding",
                 .patch = "embeddings.patch_embedding",
                 .positions = "embeddings.position_embedding",
                 .norm = "post_layernorm",
                 .encoder = {}};
  names.encoder.query_key_value = {"self_attn.qkv"};
  names.encoder.output = "self_attn.projection";
  return names;
}

class Vit : public VisionTower {
 public:
  Vit(const TowerConfig& config, const Names& names, bool blip, WeightTaker& take) : config_(config), blip_(blip) {
    const int64_t width = config.width, tokens = config.grid() * config.grid() + 1;
    class_token_ = take.Tensor(names.class_token, {1, 1, width});
    patch_weight_ = take.Tensor(names.patch + ".weight", {width, 3, config.patch_size, config.patch_size});
    patch_bias_ = take.Tensor(names.patch + ".bias", {width});
    positions_ = take.Tensor(names.positions, {1, tokens, width});
    encoder_.Take(take, config, names.encoder);
    norm_ = take.Norm(names.norm, width, config.norm_epsilon);
    if (take.Has("pooler.dense.weight")) pooler_ = take.Dense("pooler.dense", width, width);
  }

  const TowerConfig& config() const override { return config_; }
  int64_t class_tokens() const override { return 1; }

  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const EncodeOptions& options) const override {
    if (absl::Status status = CheckSquarePixels(config_, pixels, options); !status.ok()) return status;
    const at::Tensor first = class_token_.expand({pixels.size(0), 1, -1});
    const at::Tensor x = at::cat({first, EmbedPatches(pixels, patch_weight_, patch_bias_)}, 1) + positions_;
    const at::Tensor states = encoder_.Forward(x, options.layers.value_or(config_.layers));  // [B, T, D]
    return options.layers ? states : norm_.Forward(states);
  }

  absl::StatusOr<at::Tensor> Pool(const at::Tensor& states) const override {
    const at::Tensor first = states.select(1, 0);  // [B, D]
    if (blip_) return norm_.Forward(first);
    if (!pooler_.weight.defined()) return absl::FailedPreconditionError("this checkpoint of ViT has no pooler");
    return at::tanh(pooler_.Forward(first));
  }

 private:
  const TowerConfig config_;
  const bool blip_;
  at::Tensor class_token_;                // [1, 1, D]
  at::Tensor patch_weight_, patch_bias_;  // [D, 3, p, p], [D]
  at::Tensor positions_;                  // [1, T, D]
  TransformerEncoder encoder_;
  NormLayer norm_;
  DenseLayer pooler_;  // pooler.dense; undefined where the checkpoint has none
};

}  // namespace

absl::StatusOr<std::unique_ptr<VisionTower>> CreateVit(const TowerConfig& config, TensorMap weights,
                                                       const at::TensorOptions& options) {
  if (absl::Status status = CheckTowerConfig(config); !status.ok()) return status;
  try {
    // A classifier's file has its head beside the tower.
    const auto ignorable = [](std::string_view name) { return name.starts_with("classifier."); };
    WeightTaker take(std::move(weights), options, "ViT", {"vit."}, ignorable);
    std::unique_ptr<VisionTower> tower = std::make_unique<Vit>(config, VitNames(take), /*blip=*/false, take);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    return tower;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
}

absl::StatusOr<std::unique_ptr<VisionTower>> CreateBlipVision(const TowerConfig& config, TensorMap weights,
                                                              const at::TensorOptions& options) {
  if (absl::Status status = CheckTowerConfig(config); !status.ok()) return status;
  try {
    WeightTaker take(std::move(weights), options, "BLIP vision", {"vision_model."});
    std::unique_ptr<VisionTower> tower = std::make_unique<Vit>(config, BlipNames(), /*blip=*/true, take);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    return tower;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
}

}  // namespace blazon::vision
