// JSON files of a checkpoint (config.json, tokenizer.json and their kin).
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/statusor.h"

namespace blazon::service {

// The value in `text`. kDataLoss: "not JSON", or nested more than 100 deep (the real files have fewer than 10).
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// The object in `path`. kNotFound: no such file. kDataLoss: as ParseJson, or no object; the message names the file.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::filesystem::path& path);

// The same for a file that holds an array.
absl::StatusOr<nlohmann::json> ReadJsonArrayFile(const std::filesystem::path& path);

}  // namespace blazon::service
