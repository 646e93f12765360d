// JSON files of a checkpoint (config.json and its kin).
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace blazon::service {

// The object in `path`. kNotFound: no such file. kDataLoss: not JSON, not an object, or nested more than 100 deep; the
// message names the file.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::filesystem::path& path);

}  // namespace blazon::service
