// A Hugging Face checkpoint folder as it is: config.json, one or more safetensors files, generation_config.json.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/state_dict.h"

namespace blazon::service {

struct CheckpointFolder {
  std::filesystem::path path;
  nlohmann::json config;             // config.json
  nlohmann::json generation_config;  // generation_config.json; an empty object when there is none
  language::StateDict weights;       // views of the mapped files; the end of one takes its pages out of memory
  std::vector<std::filesystem::path> weight_files;  // in alphabetical order
};

// Reads model.safetensors, or the files that model.safetensors.index.json lists. Nothing but their headers is read; the
// weights are mapped and shared.
// kNotFound: no such folder, no config.json, no weights, or a file of the index is missing; the message names it.
// kInvalidArgument: the weights are there as pickles alone; the message names the remedy.
// kDataLoss: a file breaks its format, or the index and the files contradict each other; the message names the tensor.
absl::StatusOr<CheckpointFolder> ReadCheckpointFolder(const std::filesystem::path& path);

}  // namespace blazon::service
