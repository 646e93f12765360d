// The small models of tests/goldens/families.json, whose weights are computed from their names, as checkpoint folders.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/safetensors.h"
#include "tests/language/formula_weights.h"

namespace blazon::service {

inline const nlohmann::json& FamilyCases() {
  static const auto& cases =
      *new nlohmann::json(nlohmann::json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/families.json")));
  return cases;
}

inline std::vector<std::string> FamilyCaseNames() {
  std::vector<std::string> names;
  for (const auto& [name, made] : FamilyCases().items()) names.push_back(name);
  return names;
}

// The same as weight() in tests/reference/family_goldens.py.
inline at::Tensor CaseWeight(const nlohmann::json& made, const std::string& name) {
  const nlohmann::json& tensor = made["tensors"][name];
  const auto shape = tensor["shape"].get<std::vector<int64_t>>();
  const at::Tensor values = language::FormulaWeight(name, shape);
  return shape.size() == 1 ? values - (1.0 - tensor["centre"].get<double>()) : values * tensor["scale"].get<double>();
}

inline TensorMap CaseWeights(const nlohmann::json& made) {
  TensorMap weights;
  for (const auto& [name, tensor] : made["tensors"].items()) weights[name] = CaseWeight(made, name);
  return weights;
}

// The same under the names that files of older transformers have, with what those carry besides.
inline TensorMap LegacyCaseWeights(const nlohmann::json& made) {
  TensorMap weights;
  for (const auto& [name, source] : made["legacy_tensors"].items()) {
    weights[name] = source.contains("from") ? CaseWeight(made, source["from"])
                                            : at::zeros(source["zeros"].get<std::vector<int64_t>>());
  }
  return weights;
}

// Writes config.json and the weights, in `shards` files with an index where there is more than one.
inline void WriteCheckpoint(const std::filesystem::path& folder, const nlohmann::json& config, const TensorMap& weights,
                            int shards = 1) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << config.dump(2);
  if (shards == 1) {
    EXPECT_TRUE(WriteSafetensors(folder / "model.safetensors", weights, {{"format", "pt"}}).ok());
    return;
  }
  std::map<std::string, TensorMap> files;
  nlohmann::json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", nlohmann::json::object()}};
  int next = 0;
  for (const auto& [tensor, values] : weights) {
    const std::string file = absl::StrCat("model-0000", next++ % shards + 1, "-of-0000", shards, ".safetensors");
    files[file][tensor] = values;
    index["weight_map"][tensor] = file;
  }
  for (const auto& [file, tensors] : files) EXPECT_TRUE(WriteSafetensors(folder / file, tensors).ok());
  std::ofstream(folder / "model.safetensors.index.json") << index.dump();
}

}  // namespace blazon::service
