#include "vision/models/clip.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <c10/util/Exception.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "vision/weight_taker.h"

namespace blazon::vision {
namespace {

class Clip : public VisionTower {
 public:
  Clip(const TowerConfig& config, WeightTaker& take) : config_(config) {
    const int64_t width = config.width;
    class_embedding_ = take.Tensor("embeddings.class_embedding", {width});
    patch_weight_ = take.Tensor("embeddings.patch_embedding.weight", {width, 3, config.patch_size, config.patch_size});
    positions_ = take.Tensor("embeddings.position_embedding.weight", {config.grid() * config.grid() + 1, width});
    pre_layrnorm_ = take.Norm("pre_layrnorm", width, config.norm_epsilon);
    encoder_.Take(take, config);
    post_layernorm_ = take.Norm("post_layernorm", width, config.norm_epsilon);
  }

  const TowerConfig& config() const override { return config_; }
  int64_t class_tokens() const override { return 1; }

  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const EncodeOptions& options) const override {
    if (absl::Status status = CheckSquarePixels(config_, pixels, options); !status.ok()) return status;
    const at::Tensor first = class_embedding_.expand({pixels.size(0), 1, -1});
    const at::Tensor x = at::cat({first, EmbedPatches(pixels, patch_weight_, {})}, 1) + positions_;  // [B, T, D]
    return encoder_.Forward(pre_layrnorm_.Forward(x), options.layers.value_or(config_.layers));
  }

  absl::StatusOr<at::Tensor> Pool(const at::Tensor& states) const override {
    return post_layernorm_.Forward(states.select(1, 0));
  }

 private:
  const TowerConfig config_;
  at::Tensor class_embedding_;  // embeddings.class_embedding: [D]
  at::Tensor patch_weight_;     // embeddings.patch_embedding: [D, 3, p, p]
  at::Tensor positions_;        // embeddings.position_embedding: [T, D]
  NormLayer pre_layrnorm_;      // as the checkpoints spell it
  TransformerEncoder encoder_;
  NormLayer post_layernorm_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VisionTower>> CreateClip(const TowerConfig& config, TensorMap weights,
                                                        const at::TensorOptions& options) {
  if (absl::Status status = CheckTowerConfig(config); !status.ok()) return status;
  try {
    const auto ignorable = [](std::string_view name) { return name == "embeddings.position_ids"; };
    WeightTaker take(std::move(weights), options, "CLIP", {"vision_model."}, ignorable);
    std::unique_ptr<VisionTower> tower = std::make_unique<Clip>(config, take);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    return tower;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
}

}  // namespace blazon::vision
