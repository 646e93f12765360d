#include "service/checkpoint/image_encoder_loader.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/safetensors.h"
#include "vision/models/efficientnet_lite.h"

namespace blazon::service {
namespace {

using nlohmann::json;

absl::StatusOr<json> ReadConfig(const std::filesystem::path& path) {
  absl::StatusOr<json> config = ReadJsonFile(path);
  if (absl::IsNotFound(config.status())) {
    return absl::NotFoundError(
        absl::StrCat(path.string(), " is missing. Run 'make setup', or name the folder of a converted image encoder."));
  }
  return config;
}

absl::StatusOr<std::vector<std::string>> ReadLabels(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file)
    return absl::NotFoundError(
        absl::StrCat(path.string(), " is missing. It holds the classifier's names, one a line."));
  std::vector<std::string> labels;
  for (std::string line; std::getline(file, line);) labels.push_back(line);
  return labels;
}

absl::StatusOr<vision::ResizeFilter> ParseFilter(const std::string& name) {
  if (name == "box") return vision::ResizeFilter::kBox;
  if (name == "bilinear") return vision::ResizeFilter::kBilinear;
  if (name == "bicubic") return vision::ResizeFilter::kBicubic;
  if (name == "lanczos") return vision::ResizeFilter::kLanczos;
  return absl::InvalidArgumentError(
      absl::StrCat("resize_filter is '", name, "'; it must be box, bilinear, bicubic or lanczos."));
}

// Sets *value to the number at `key`, when there is one; it must lie in [low, high].
template <typename Number>
absl::Status ReadNumber(const json& config, const char* key, double low, double high, Number* value) {
  const auto found = config.find(key);
  if (found == config.end()) return absl::OkStatus();
  if (!found->is_number() || !(found->template get<double>() >= low && found->template get<double>() <= high)) {
    return absl::InvalidArgumentError(absl::StrCat(key, " must be a number from ", low, " to ", high, "."));
  }
  *value = found->template get<Number>();
  return absl::OkStatus();
}

absl::StatusOr<vision::EfficientNetLiteConfig> ParseEfficientNetLite(const json& config) {
  vision::EfficientNetLiteConfig result;
  for (absl::Status status : {ReadNumber(config, "width_multiplier", 0.1, 10, &result.width_multiplier),
                              ReadNumber(config, "depth_multiplier", 0.1, 10, &result.depth_multiplier),
                              ReadNumber(config, "image_size", 32, 2048, &result.image_size),
                              ReadNumber(config, "center_crop", 0, 1, &result.center_crop),
                              ReadNumber(config, "batch_norm_epsilon", 0, 1, &result.batch_norm_epsilon),
                              ReadNumber(config, "image_mean", 0, 255, &result.mean),
                              ReadNumber(config, "image_scale", 1e-3, 255, &result.scale)}) {
    if (!status.ok()) return status;
  }
  const json filter = config.value("resize_filter", json("bicubic"));
  absl::StatusOr<vision::ResizeFilter> parsed =
      ParseFilter(filter.is_string() ? filter.get<std::string>() : filter.dump());
  if (!parsed.ok()) return parsed.status();
  result.filter = *parsed;
  return result;
}

}  // namespace

absl::StatusOr<std::shared_ptr<vision::ImageEncoder>> LoadImageEncoder(const std::filesystem::path& folder) {
  absl::StatusOr<json> json_config = ReadConfig(folder / "config.json");
  if (!json_config.ok()) return json_config.status();
  const json type = json_config->value("model_type", json());
  if (type != "efficientnet_lite") {
    return absl::InvalidArgumentError(absl::StrCat((folder / "config.json").string(), ": model_type is ", type.dump(),
                                                   "; image encoders of type \"efficientnet_lite\" can be loaded."));
  }
  absl::StatusOr<vision::EfficientNetLiteConfig> config = ParseEfficientNetLite(*json_config);
  if (!config.ok()) {
    return absl::InvalidArgumentError(absl::StrCat((folder / "config.json").string(), ": ", config.status().message()));
  }
  absl::StatusOr<std::vector<std::string>> labels = ReadLabels(folder / "labels.txt");
  if (!labels.ok()) return labels.status();
  absl::StatusOr<vision::TensorMap> weights = ReadSafetensors(folder / "model.safetensors");
  if (!weights.ok()) return weights.status();
  absl::StatusOr<std::unique_ptr<vision::ImageEncoder>> encoder =
      vision::EfficientNetLite::Create(*config, *std::move(weights), *std::move(labels));
  if (!encoder.ok()) {
    return absl::Status(encoder.status().code(), absl::StrCat(folder.string(), ": ", encoder.status().message()));
  }
  return *std::move(encoder);
}

}  // namespace blazon::service
