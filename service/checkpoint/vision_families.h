// From a config and its weights to a vision tower: the list of the towers that there are.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vision/image_encoder.h"
#include "vision/vision_tower.h"

namespace blazon::service {

// What `model_type` may be, in alphabetical order.
std::vector<std::string> VisionTowerTypes();

// config: Hugging Face's, of a tower by itself or the vision_config of a larger model, which leaves out what the type's
// defaults are. default_type: where it has no model_type.
// kUnimplemented: an unknown model_type or activation; the message names it and what is known.
// kInvalidArgument: a member of the config is out of range, or a tensor is missing, unknown or mis-shaped; the message
// names it.
absl::StatusOr<std::unique_ptr<vision::VisionTower>> CreateVisionTower(const nlohmann::json& config,
                                                                       const std::string& default_type,
                                                                       vision::TensorMap weights,
                                                                       const at::TensorOptions& options);

}  // namespace blazon::service
