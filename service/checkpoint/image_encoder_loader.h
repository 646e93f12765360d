// A folder with a vision tower to an ImageEncoder.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "vision/image_encoder.h"

namespace blazon::service {

// The folder holds config.json (its "model_type" names the architecture: efficientnet_lite), model.safetensors and, for
// a classifier, labels.txt (one name a line).
// kNotFound: a file is missing. kInvalidArgument: a pickle, an unknown architecture, or weights that do not fit it.
absl::StatusOr<std::shared_ptr<vision::ImageEncoder>> LoadImageEncoder(const std::filesystem::path& folder);

}  // namespace blazon::service
