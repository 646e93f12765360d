// Vision-language checkpoints of tests/goldens/vision_language.json, whose weights a formula gives: as tensors, and as
// folders in the hub's layout, with a tokenizer of single characters, a preprocessor config and a chat template.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "service/checkpoint/safetensors.h"

namespace blazon::service {

// The cases by name: "paligemma.one", "llava.grouped", ...
const nlohmann::json& VisionLanguageCases();

// The tensors of one case: its own, and those of the hub's older spelling.
TensorMap CaseWeights(const nlohmann::json& made);
TensorMap LegacyCaseWeights(const nlohmann::json& made);

// The same values as uniform() in tests/reference/vision_language_goldens.py: in [-1, 1).
at::Tensor Uniform(const std::string& name, const std::vector<int64_t>& shape);

// Writes the case `name` as a checkpoint to `folder`. Characters of ASCII and the line break are tokens of their own;
// text_config's eos_token_id 7 ends a text. nanoVLM's folder has no tokenizer, as on the hub.
void WriteSmallCheckpoint(const std::filesystem::path& folder, const std::string& name);

// tokenizer.json and tokenizer_config.json of such a checkpoint alone; image_token < 0: without control tokens for
// pictures.
void WriteSmallTokenizer(const std::filesystem::path& folder, int image_token);

// A BMP file of `width` x `height` pixels, no two rows alike.
std::string SmallPicture(int width, int height);

}  // namespace blazon::service
