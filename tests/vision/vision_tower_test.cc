// Vision towers against transformers: hidden states, of a layer in the middle too, and pooled vectors.
#include "vision/vision_tower.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/compute_device.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/vision_families.h"
#include "tests/language/far_device.h"
#include "tests/language/formula_weights.h"
#include "vision/pixel_shuffle.h"

namespace blazon::vision {
namespace {

using nlohmann::json;

const char kRemedy[] = "; goldens are made by: python tests/reference/vision_tower_goldens.py";
constexpr double kTolerance = 1e-4;

const json& Cases() {
  static const json& cases =
      *new json(json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/vision_towers.json")));
  return cases;
}

const TensorMap& Goldens() {
  static const TensorMap& goldens = *new TensorMap([] {
    auto tensors = service::ReadSafetensors(BLAZON_SOURCE_DIR "/tests/goldens/vision_towers.safetensors");
    EXPECT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
    return *std::move(tensors);
  }());
  return goldens;
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.cpu().to(at::kDouble) - b.cpu().to(at::kDouble)).abs().max().item<double>();
}

// The same as weight() and uniform() of vision_language_goldens.py.
TensorMap Weights(const json& made) {
  TensorMap weights;
  for (const auto& [name, tensor] : made["tensors"].items()) {
    const auto shape = tensor["shape"].get<std::vector<int64_t>>();
    const at::Tensor values = language::FormulaWeight(name, shape);
    weights[name] = shape.size() == 1 ? values - (1.0 - tensor["centre"].get<double>()) : values;
  }
  return weights;
}

at::Tensor Pixels(const json& made) {
  const auto shape = made["pixels"].get<std::vector<int64_t>>();
  return (language::FormulaWeight("pixels", {shape[0] * shape[1] * shape[2] * shape[3]}).view(shape) - 1.0) * 4.0;
}

absl::StatusOr<std::unique_ptr<VisionTower>> Create(const json& config, TensorMap weights,
                                                    const at::TensorOptions& options = at::kFloat) {
  return service::CreateVisionTower(config, "", std::move(weights), options);
}

void CompareAll(at::Device device) {
  at::NoGradGuard no_grad;
  std::printf("%-18s %10s %10s %10s\n", "tower", "last", "layer 1", "pooled");
  for (const auto& [name, made] : Cases().items()) {
    if (name.starts_with("joint.")) continue;
    const auto tower = Create(made["config"], Weights(made), at::device(device).dtype(at::kFloat));
    ASSERT_TRUE(tower.ok()) << name << ": " << tower.status();
    EncodeOptions options;
    const at::Tensor pixels = Pixels(made);
    if (made.contains("pictures")) {
      options.pixel_mask = at::zeros({pixels.size(0), pixels.size(2), pixels.size(3)}, at::kBool);
      for (int64_t i = 0; i < pixels.size(0); ++i) {
        options.pixel_mask[i].narrow(0, 0, made["pictures"][i][0]).narrow(1, 0, made["pictures"][i][1]).fill_(true);
      }
    }
    const auto last = (*tower)->Encode(pixels, options);
    ASSERT_TRUE(last.ok()) << name << ": " << last.status();
    EXPECT_GT(Goldens().at(name + ".last").std().item<double>(), 0.5) << "the golden would be trivial";
    const double states = MaxDifference(*last, Goldens().at(name + ".last"));
    EXPECT_LE(states, kTolerance) << name << kRemedy;
    std::printf("%-18s %10.1e", name.c_str(), states);
    if (Goldens().contains(name + ".first_layer")) {
      const auto layer = (*tower)->Encode(pixels, {.layers = 1});
      ASSERT_TRUE(layer.ok()) << name << ": " << layer.status();
      const double first = MaxDifference(*layer, Goldens().at(name + ".first_layer"));
      EXPECT_LE(first, kTolerance) << name << kRemedy;
      std::printf(" %10.1e", first);
    }
    const auto pooled = (*tower)->Pool(*last);
    EXPECT_EQ(pooled.ok(), Goldens().contains(name + ".pooled")) << name << ": " << pooled.status();
    if (pooled.ok()) {
      const double vectors = MaxDifference(*pooled, Goldens().at(name + ".pooled"));
      EXPECT_LE(vectors, kTolerance) << name << kRemedy;
      std::printf(" %10.1e", vectors);
    }
    std::printf("\n");
  }
}

TEST(VisionTower, Table) { CompareAll(at::kCPU); }

TEST(VisionTower, TableOnFarDevice) { CompareAll(language::FarDevice()); }

TEST(VisionTower, TableOnCuda) {
  const auto device = service::OpenComputeDevice("cuda");
  if (!at::hasCUDA()) GTEST_SKIP() << device.status().message();
  ASSERT_TRUE(device.ok()) << device.status();
  CompareAll(*device);
}

TEST(VisionTower, PixelsOfAnotherShapeAreRefused) {
  const json& made = Cases()["clip.wide"];
  const auto tower = Create(made["config"], Weights(made));
  ASSERT_TRUE(tower.ok()) << tower.status();
  const auto refusal = [&](const at::Tensor& pixels, const EncodeOptions& options = {}) {
    return std::string((*tower)->Encode(pixels, options).status().message());
  };
  EXPECT_NE(refusal(at::zeros({1, 3, 16, 12})).find("[1, 3, 16, 12]; this tower takes [pictures, 3, 16, 16]"),
            std::string::npos);
  EXPECT_NE(refusal(at::zeros({0, 3, 16, 16})).find("[0, 3, 16, 16]"), std::string::npos);
  EXPECT_NE(refusal(at::zeros({1, 1, 16, 16})).find("[1, 1, 16, 16]"), std::string::npos);
  EXPECT_NE(refusal(at::zeros({1, 3, 16, 16}), {.layers = 4}).find("after layer 4 is asked for; there are 3"),
            std::string::npos);
  EXPECT_NE(refusal(at::zeros({1, 3, 16, 16}), {.pixel_mask = at::zeros({1, 16, 16})}).find("no pixel mask"),
            std::string::npos);

  const json& any = Cases()["idefics3.masked"];
  const auto any_size = Create(any["config"], Weights(any));
  ASSERT_TRUE(any_size.ok()) << any_size.status();
  EXPECT_TRUE((*any_size)->Encode(at::zeros({1, 3, 8, 28})).ok());
  EXPECT_NE((*any_size)->Encode(at::zeros({1, 3, 8, 26})).status().message().find("multiples of 4"), std::string::npos);
  EXPECT_NE((*any_size)
                ->Encode(at::zeros({1, 3, 8, 28}), {.pixel_mask = at::zeros({1, 28, 8})})
                .status()
                .message()
                .find("the pixel mask has shape [1, 28, 8]"),
            std::string::npos);
}

TEST(VisionTower, BrokenCheckpointsAreRefusedByName) {
  const json& made = Cases()["siglip.pooled"];
  TensorMap weights = Weights(made);
  weights.erase("head.probe");
  EXPECT_NE(Create(made["config"], weights).status().message().find("head.probe of the SigLIP architecture is missing"),
            std::string::npos);
  weights = Weights(made);
  weights["embeddings.class_embedding"] = at::zeros({36});
  EXPECT_NE(Create(made["config"], weights).status().message().find("embeddings.class_embedding [36] is unknown"),
            std::string::npos);
  weights = Weights(made);
  weights["vision_model.post_layernorm.bias"] = at::zeros({36});
  EXPECT_NE(Create(made["config"], weights).status().message().find("post_layernorm.bias is there twice"),
            std::string::npos);
  json config = made["config"];
  config["vision_use_head"] = false;
  EXPECT_NE(Create(config, Weights(made)).status().message().find("head.attention.in_proj_bias [108] is unknown"),
            std::string::npos);
  config = made["config"];
  config["image_size"] = 20;
  EXPECT_NE(Create(config, Weights(made)).status().message().find("position_embedding.weight has shape [16, 36]"),
            std::string::npos);
  config["num_channels"] = 1;
  EXPECT_NE(Create(config, Weights(made)).status().message().find("num_channels is not 3"), std::string::npos);
}

TEST(PixelShuffle, PutsSquaresSideBySide) {
  // 2 rows of 4 patches, one channel each: their own numbers.
  const at::Tensor x = at::arange(8, at::kFloat).view({1, 8, 1});
  const at::Tensor made = PixelShuffle(x, 2, 4, 2);
  const at::Tensor expected = at::tensor({0.0f, 1.0f, 4.0f, 5.0f, 2.0f, 3.0f, 6.0f, 7.0f}).view({1, 2, 4});
  EXPECT_EQ(MaxDifference(made, expected), 0.0);
}

}  // namespace
}  // namespace blazon::vision
