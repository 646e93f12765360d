// Texts and pictures as vectors of one space: CLIP and SigLIP.
//
// Shapes: B pictures, E width of the space.
// Thread safety: const after creation; every method may be called from several threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "language/models/contrastive_text.h"
#include "language/state_dict.h"
#include "language/tokenizer/tokenizer.h"
#include "vision/vision_tower.h"
#include "vision/weight_taker.h"

namespace blazon::service {

class JointEmbedder {
 public:
  // config: Hugging Face's config.json of model_type clip or siglip. digest: of the weights, for the fingerprint.
  // tokenizer: null where only token ids will be embedded.
  // kUnimplemented: another model_type, or an activation that is not known. kInvalidArgument: a member of the config is
  // out of range, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<JointEmbedder>> Create(const nlohmann::json& config,
                                                               const language::StateDict& weights,
                                                               std::unique_ptr<language::Tokenizer> tokenizer,
                                                               const std::string& digest, at::Device device = at::kCPU);

  const language::ContrastiveTextEmbedder& texts() const { return *texts_; }
  int64_t dimension() const { return texts_->dimension(); }

  // pixels: [B, 3, S, S], resized and normalised as the checkpoint's processor does. Returns fp32 [B, E], each of L2
  // norm 1, on the device. kInvalidArgument: another shape than the tower takes; the message names both.
  absl::StatusOr<at::Tensor> EmbedPixels(const at::Tensor& pixels) const;

 private:
  JointEmbedder() = default;

  std::unique_ptr<language::ContrastiveTextEmbedder> texts_;
  std::unique_ptr<vision::VisionTower> tower_;
  vision::DenseLayer visual_projection_;  // CLIP: [E, width of the tower]; SigLIP has none
};

}  // namespace blazon::service
