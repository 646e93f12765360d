// CLIP and SigLIP: the vectors of texts and pictures against transformers.
#include "service/families/joint_embedder.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "service/checkpoint/compute_device.h"
#include "service/checkpoint/safetensors.h"
#include "tests/language/far_device.h"
#include "tests/language/formula_weights.h"

namespace blazon::service {
namespace {

using language::TokenId;
using nlohmann::json;

const char kRemedy[] = "; goldens are made by: python tests/reference/vision_tower_goldens.py";
constexpr double kTolerance = 1e-5;  // of unit vectors

const json& Cases() {
  static const json& cases =
      *new json(json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/vision_towers.json")));
  return cases;
}

at::Tensor Golden(const std::string& name) {
  static const TensorMap& goldens = *new TensorMap([] {
    auto tensors = ReadSafetensors(BLAZON_SOURCE_DIR "/tests/goldens/vision_towers.safetensors");
    EXPECT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
    return *std::move(tensors);
  }());
  return goldens.at(name);
}

// The same as weight() of vision_language_goldens.py.
language::StateDict Weights(const json& made) {
  language::StateDict weights;
  for (const auto& [name, tensor] : made["tensors"].items()) {
    const auto shape = tensor["shape"].get<std::vector<int64_t>>();
    const at::Tensor values =
        language::FormulaWeight(name, shape.empty() ? std::vector<int64_t>{1} : shape).view(shape);
    weights[name] = shape.size() < 2 ? values - (1.0 - tensor["centre"].get<double>()) : values;
  }
  return weights;
}

absl::StatusOr<std::unique_ptr<JointEmbedder>> Create(const json& config, const language::StateDict& weights,
                                                      at::Device device = at::kCPU) {
  return JointEmbedder::Create(config, weights, nullptr, "digest", device);
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.cpu() - b).abs().max().item<double>();
}

void CompareAll(at::Device device) {
  at::NoGradGuard no_grad;
  std::printf("%-18s %10s %10s\n", "embedder", "texts", "pictures");
  for (const auto& [name, made] : Cases().items()) {
    if (!name.starts_with("joint.")) continue;
    const auto embedder = Create(made["config"], Weights(made), device);
    ASSERT_TRUE(embedder.ok()) << name << ": " << embedder.status();
    const auto ids = made["texts"].get<std::vector<std::vector<TokenId>>>();
    const auto vectors = (*embedder)->texts().EmbedTokens(ids);
    ASSERT_TRUE(vectors.ok()) << name << ": " << vectors.status();
    const int64_t count = static_cast<int64_t>(ids.size());
    const at::Tensor made_texts = at::tensor(*vectors).view({count, (*embedder)->dimension()});
    const double texts = MaxDifference(made_texts, Golden(name + ".texts"));
    EXPECT_LE(texts, kTolerance) << name << kRemedy;

    const auto shape = made["pixels"].get<std::vector<int64_t>>();
    const at::Tensor pixels =
        (language::FormulaWeight("pixels", {shape[0] * shape[1] * shape[2] * shape[3]}).view(shape) - 1.0) * 4.0;
    const auto made_pictures = (*embedder)->EmbedPixels(pixels);
    ASSERT_TRUE(made_pictures.ok()) << name << ": " << made_pictures.status();
    const double pictures = MaxDifference(*made_pictures, Golden(name + ".pictures"));
    EXPECT_LE(pictures, kTolerance) << name << kRemedy;
    // Apart from one another, or the golden says nothing.
    EXPECT_LT(Golden(name + ".texts").matmul(Golden(name + ".texts")[0]).min().item<double>(), 0.9) << name;
    EXPECT_LT(Golden(name + ".pictures").matmul(Golden(name + ".pictures")[0]).min().item<double>(), 0.95) << name;
    std::printf("%-18s %10.1e %10.1e\n", name.c_str(), texts, pictures);
  }
}

TEST(JointEmbedder, Table) { CompareAll(at::kCPU); }

TEST(JointEmbedder, TableOnFarDevice) { CompareAll(language::FarDevice()); }

TEST(JointEmbedder, TableOnCuda) {
  const auto device = OpenComputeDevice("cuda");
  if (!at::hasCUDA()) GTEST_SKIP() << device.status().message();
  ASSERT_TRUE(device.ok()) << device.status();
  CompareAll(*device);
}

TEST(JointEmbedder, BadTextsAreRefusedByNumber) {
  const json& made = Cases()["joint.clip"];
  const auto embedder = Create(made["config"], Weights(made));
  ASSERT_TRUE(embedder.ok()) << embedder.status();
  const auto refusal = [&](const std::vector<TokenId>& text) {
    return std::string((*embedder)->texts().EmbedTokens({{148, 149}, text}).status().message());
  };
  EXPECT_NE(refusal({}).find("text 1 has 0 tokens"), std::string::npos);
  EXPECT_NE(refusal(std::vector<TokenId>(21, 149)).find("text 1 has 21 tokens; the embedder takes 1 to 20"),
            std::string::npos);
  EXPECT_NE(refusal({148, 3, 4}).find("text 1: it has no end token (149)"), std::string::npos);
  EXPECT_NE(refusal({148, 151, 149}).find("text 1 has token 151; the vocabulary has 151"), std::string::npos);
  EXPECT_EQ((*embedder)->texts().Embed({"a cat"}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*embedder)->texts().EmbedPieces({{"a", "cat"}}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE((*embedder)->EmbedPixels(at::zeros({1, 3, 8, 8})).status().message().find("[1, 3, 8, 8]"),
            std::string::npos);
}

TEST(JointEmbedder, BrokenCheckpointsAreRefusedByName) {
  const json& made = Cases()["joint.clip"];
  const auto refusal = [&](const json& config, const language::StateDict& weights) {
    return std::string(Create(config, weights).status().message());
  };
  json config = made["config"];
  config["model_type"] = "altclip";
  EXPECT_NE(refusal(config, Weights(made)).find("model_type is \"altclip\""), std::string::npos);
  config = made["config"];
  config["projection_dim"] = 29;
  EXPECT_NE(refusal(config, Weights(made)).find("text_projection.weight has shape [28, 48] and not [29, 48]"),
            std::string::npos);
  config = made["config"];
  config["text_config"]["hidden_act"] = "relu";
  EXPECT_NE(refusal(config, Weights(made)).find("hidden_act is \"relu\""), std::string::npos);
  language::StateDict weights = Weights(made);
  weights.erase("visual_projection.weight");
  EXPECT_NE(refusal(made["config"], weights).find("visual_projection.weight of the CLIP architecture is missing"),
            std::string::npos);
  weights = Weights(made);
  weights["text_model.encoder.layers.9.mlp.fc1.bias"] = at::zeros({2});
  EXPECT_NE(refusal(made["config"], weights).find("encoder.layers.9.mlp.fc1.bias [2] is unknown"), std::string::npos);
}

}  // namespace
}  // namespace blazon::service
