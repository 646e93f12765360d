#include "vision/models/siglip.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "vision/weight_taker.h"

namespace blazon::vision {
namespace {

// Attention pooling (Lee et al. 2019, arXiv 1810.00825): one learned query over all tokens. Member names are the
// checkpoint's, under head.
struct PoolingHead {
  at::Tensor probe;             // [1, 1, D]
  DenseLayer query, key_value;  // attention.in_proj: [D, D] and [2D, D]
  DenseLayer out_proj;          // attention.out_proj
  NormLayer layernorm;
  DenseLayer fc1, fc2;  // mlp

  void Take(WeightTaker& take, const TowerConfig& config) {
    const int64_t width = config.width;
    probe = take.Tensor("head.probe", {1, 1, width});
    const at::Tensor weight = take.Tensor("head.attention.in_proj_weight", {3 * width, width});
    const at::Tensor bias = take.Tensor("head.attention.in_proj_bias", {3 * width});
    out_proj = take.Dense("head.attention.out_proj", width, width);
    layernorm = take.Norm("head.layernorm", width, config.norm_epsilon);
    fc1 = take.Dense("head.mlp.fc1", config.mlp_width, width);
    fc2 = take.Dense("head.mlp.fc2", width, config.mlp_width);
    if (!take.ok()) return;
    query = {weight.narrow(0, 0, width), bias.narrow(0, 0, width)};
    key_value = {weight.narrow(0, width, 2 * width), bias.narrow(0, width, 2 * width)};
  }

  // states: [B, T, D]; returns [B, D].
  at::Tensor Forward(const at::Tensor& states, const TowerConfig& config) const {
    const int64_t pictures = states.size(0), tokens = states.size(1), width = config.width, heads = config.heads;
    const at::Tensor q = query.Forward(probe).view({1, 1, heads, -1}).transpose(1, 2).expand({pictures, -1, -1, -1});
    const at::Tensor kv =
        key_value.Forward(states).view({pictures, tokens, 2, heads, -1}).permute({2, 0, 3, 1, 4});  // [2, B, H, T, C]
    const at::Tensor h = out_proj.Forward(
        at::scaled_dot_product_attention(q, kv[0], kv[1]).transpose(1, 2).reshape({pictures, width}));  // [B, D]
    return h + fc2.Forward(Activate(fc1.Forward(layernorm.Forward(h)), config.activation));
  }
};

class Siglip : public VisionTower {
 public:
  Siglip(const SiglipConfig& config, WeightTaker& take) : config_(config) {
    const TowerConfig& tower = config.tower;
    patch_weight_ =
        take.Tensor("embeddings.patch_embedding.weight", {tower.width, 3, tower.patch_size, tower.patch_size});
    patch_bias_ = take.Tensor("embeddings.patch_embedding.bias", {tower.width});
    positions_ = take.Tensor("embeddings.position_embedding.weight", {tower.grid() * tower.grid(), tower.width});
    encoder_.Take(take, tower);
    post_layernorm_ = take.Norm("post_layernorm", tower.width, tower.norm_epsilon);
    if (config.pooling_head) head_.Take(take, tower);
  }

  const TowerConfig& config() const override { return config_.tower; }
  int64_t class_tokens() const override { return 0; }

  absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const EncodeOptions& options) const override {
    if (!config_.any_size) {
      if (absl::Status status = CheckSquarePixels(config_.tower, pixels, options); !status.ok()) return status;
      return Layers(EmbedPatches(pixels, patch_weight_, patch_bias_) + positions_, options, {});
    }
    if (absl::Status status = CheckAnySize(pixels, options); !status.ok()) return status;
    const at::Tensor seen = SeenPatches(pixels, options.pixel_mask);  // bool [B, h, w]
    const at::Device device = positions_.device();
    const at::Tensor x =
        EmbedPatches(pixels, patch_weight_, patch_bias_) + at::embedding(positions_, Positions(seen).to(device));
    return Layers(x, options, seen.all().item<bool>() ? at::Tensor() : seen.flatten(1).to(device));
  }

  absl::StatusOr<at::Tensor> Pool(const at::Tensor& states) const override {
    if (!config_.pooling_head) return absl::FailedPreconditionError("this checkpoint of SigLIP has no pooling head");
    return head_.Forward(states, config_.tower);
  }

 private:
  at::Tensor Layers(const at::Tensor& x, const EncodeOptions& options, const at::Tensor& seen) const {
    const at::Tensor states = encoder_.Forward(x, options.layers.value_or(config_.tower.layers), seen);
    return options.layers ? states : post_layernorm_.Forward(states);
  }

  absl::Status CheckAnySize(const at::Tensor& pixels, const EncodeOptions& options) const {
    const int64_t patch = config_.tower.patch_size;
    if (pixels.dim() != 4 || pixels.size(0) < 1 || pixels.size(1) != 3 || pixels.size(2) < patch ||
        pixels.size(3) < patch || pixels.size(2) % patch != 0 || pixels.size(3) % patch != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("pixel values have shape [", absl::StrJoin(pixels.sizes(), ", "),
                       "]; this tower takes [pictures, 3, height, width] of multiples of ", patch));
    }
    const at::Tensor& mask = options.pixel_mask;
    if (mask.defined() && (mask.dim() != 3 || mask.size(0) != pixels.size(0) || mask.size(1) != pixels.size(2) ||
                           mask.size(2) != pixels.size(3))) {
      return absl::InvalidArgumentError(absl::StrCat("the pixel mask has shape [", absl::StrJoin(mask.sizes(), ", "),
                                                     "] for pixel values of [", absl::StrJoin(pixels.sizes(), ", "),
                                                     "]"));
    }
    if (options.layers && (*options.layers < 0 || *options.layers > config_.tower.layers)) {
      return absl::InvalidArgumentError(absl::StrCat("the hidden state after layer ", *options.layers,
                                                     " is asked for; there are ", config_.tower.layers));
    }
    return absl::OkStatus();
  }

  // Which patches hold a pixel of the picture: bool [B, h, w]. On the CPU, as is what follows from it: the mask is made
  // there, and whether it hides anything decides how the layers run.
  at::Tensor SeenPatches(const at::Tensor& pixels, const at::Tensor& mask) const {
    const int64_t patch = config_.tower.patch_size;
    const int64_t rows = pixels.size(2) / patch, columns = pixels.size(3) / patch;
    if (!mask.defined()) return at::ones({pixels.size(0), rows, columns}, at::kBool);
    return mask.cpu().to(at::kBool).view({-1, rows, patch, columns, patch}).permute({0, 1, 3, 2, 4}).flatten(3).any(-1);
  }

  // A patch takes the position of the square grid that lies at the same share of the picture's height and width;
  // those outside of the picture take the first. seen: bool [B, h, w], the top left corner of each. Returns int64
  // [B, h * w]. fp32 throughout, as the reference: a share that falls on a border must fall to the same side.
  at::Tensor Positions(const at::Tensor& seen) const {
    const int64_t grid = config_.tower.grid();
    // Of the double 1 / grid, as the reference makes them.
    const at::Tensor borders =
        at::arange(1.0 / static_cast<double>(grid), 1.0, 1.0 / static_cast<double>(grid), at::kFloat);
    const auto bucket = [&](const at::Tensor& count, int64_t size) {  // count: int64 [B]
      const at::Tensor step = count.reciprocal();
      const at::Tensor share = at::arange(size, at::kFloat).unsqueeze(0) * step.unsqueeze(1);  // [B, size]
      return at::bucketize(share.clamp_max(1.0 - 1e-6), borders, /*out_int32=*/false, /*right=*/true);
    };
    const at::Tensor rows = bucket(seen.select(2, 0).sum(1), seen.size(1));
    const at::Tensor columns = bucket(seen.select(1, 0).sum(1), seen.size(2));
    return (rows.unsqueeze(2) * grid + columns.unsqueeze(1)).masked_fill(seen.logical_not(), 0).flatten(1);
  }

  const SiglipConfig config_;
  at::Tensor patch_weight_, patch_bias_;  // embeddings.patch_embedding: [D, 3, p, p], [D]
  at::Tensor positions_;                  // embeddings.position_embedding: [P, D]
  TransformerEncoder encoder_;            // encoder
  NormLayer post_layernorm_;
  PoolingHead head_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VisionTower>> CreateSiglip(const SiglipConfig& config, TensorMap weights,
                                                          const at::TensorOptions& options) {
  if (absl::Status status = CheckTowerConfig(config.tower); !status.ok()) return status;
  try {
    const auto ignorable = [](std::string_view name) { return name == "embeddings.position_ids"; };
    WeightTaker take(std::move(weights), options, "SigLIP", {"vision_model."}, ignorable);
    std::unique_ptr<VisionTower> tower = std::make_unique<Siglip>(config, take);
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    return tower;
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
}

}  // namespace blazon::vision
