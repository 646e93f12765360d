// EfficientNet-Lite0 with its real weights against an implementation of its own in PyTorch.
#include "vision/models/efficientnet_lite.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "service/checkpoint/image_encoder_loader.h"
#include "service/checkpoint/safetensors.h"
#include "tests/vision/test_images.h"
#include "vision/decode_image.h"

namespace blazon::vision {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-3;
constexpr const char* kPictures[] = {"cat", "coffee", "rocket"};

std::filesystem::path ModelFolder() { return std::filesystem::path(BLAZON_SOURCE_DIR) / "models/efficientnet-lite0"; }

std::shared_ptr<ImageEncoder> Encoder() {
  static const absl::StatusOr<std::shared_ptr<ImageEncoder>> encoder = service::LoadImageEncoder(ModelFolder());
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return encoder.ok() ? *encoder : nullptr;
}

std::vector<Image> Pictures() {
  std::vector<Image> images;
  for (const std::string name : kPictures) {
    absl::StatusOr<Image> image = DecodeImage(ReadFile(Goldens() / "encoder" / (name + ".png")));
    EXPECT_TRUE(image.ok()) << image.status();
    images.push_back(*std::move(image));
  }
  return images;
}

double Difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(EfficientNetLite, LogitsEqualPyTorch) {
  const auto encoder = Encoder();
  ASSERT_NE(encoder, nullptr);
  const absl::StatusOr<TensorMap> goldens = service::ReadSafetensors(Goldens() / "encoder/logits.safetensors");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  const at::Tensor features = encoder->Encode(encoder->Preprocess(Pictures()));
  ASSERT_EQ(features.sizes(), (at::IntArrayRef{3, 1280, 7, 7}));
  ASSERT_EQ(encoder->dimension(), 1280);
  const at::Tensor logits = encoder->Classify(features);
  for (int i = 0; i < 3; ++i) {
    const std::string name = kPictures[i];
    const at::Tensor expected = goldens->at(name + ".logits");
    ASSERT_GT(expected.abs().max().item<double>(), 5) << "the golden is trivial";
    EXPECT_LE(Difference(logits[i], expected), kTolerance)
        << name << "; regenerate with tests/reference/efficientnet_goldens.py";
    EXPECT_LE(Difference(features[i].select(1, 0).select(1, 6), goldens->at(name + ".corner")), kTolerance) << name;
    std::printf("%-8s largest difference of logits %.1e\n", name.c_str(), Difference(logits[i], expected));
  }
}

TEST(EfficientNetLite, NamesWhatItSees) {
  const auto encoder = Encoder();
  ASSERT_NE(encoder, nullptr);
  const at::Tensor logits = encoder->Classify(encoder->Encode(encoder->Preprocess(Pictures())));
  ASSERT_EQ(encoder->labels().size(), 1000u);
  EXPECT_THAT(encoder->labels()[logits[0].argmax().item<int64_t>()], HasSubstr("cat"));
  EXPECT_EQ(encoder->labels()[logits[1].argmax().item<int64_t>()], "espresso");
}

// Encode cuts large batches; a picture must not notice its company.
TEST(EfficientNetLite, ABatchEqualsItsPictures) {
  const auto encoder = Encoder();
  ASSERT_NE(encoder, nullptr);
  std::vector<Image> images;
  for (int i = 0; i < 3; ++i) {
    for (Image& image : Pictures()) images.push_back(std::move(image));
  }
  const at::Tensor together = encoder->Encode(encoder->Preprocess(images));
  ASSERT_EQ(together.size(0), 9);
  for (int i = 0; i < 9; i += 4) {
    const at::Tensor alone = encoder->Encode(encoder->Preprocess({&images[i], 1}));
    EXPECT_LE(Difference(alone[0], together[i]), 1e-4) << i;
  }
}

TEST(EfficientNetLite, NamesTheTensorThatDoesNotFit) {
  const absl::StatusOr<TensorMap> weights = service::ReadSafetensors(ModelFolder() / "model.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  const std::vector<std::string> labels(1000, "thing");
  const auto error = [&](TensorMap changed) {
    return std::string(EfficientNetLite::Create({}, changed, labels).status().message());
  };
  TensorMap changed = *weights;
  changed.erase("_blocks.3._bn1.bias");
  EXPECT_THAT(error(changed), HasSubstr("the tensor _blocks.3._bn1.bias is missing"));
  changed = *weights;
  changed["_blocks.16._bn0.bias"] = at::zeros({4});
  EXPECT_THAT(error(changed), HasSubstr("the tensor _blocks.16._bn0.bias is unknown"));
  changed = *weights;
  changed["_conv_head.weight"] = at::zeros({1280, 320});
  EXPECT_THAT(error(changed), HasSubstr("the tensor _conv_head.weight has shape [1280, 320], not [1280, 320, 1, 1]"));
  changed = *weights;
  changed["_bn0.bias"] = at::zeros({32}, at::kDouble);
  EXPECT_THAT(error(changed), HasSubstr("the tensor _bn0.bias has type Double, not fp32"));
  EXPECT_THAT(std::string(EfficientNetLite::Create({}, *weights, {"one"}).status().message()),
              HasSubstr("There are 1 labels for a classifier of 1000 classes. Give one name for each class."));
  changed = *weights;
  changed["_bn0.num_batches_tracked"] = at::zeros({}, at::kLong);
  EXPECT_TRUE(EfficientNetLite::Create({}, changed, labels).ok());
}

TEST(EfficientNetLite, TheLoaderSaysWhatIsWrong) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "image_encoder_loader_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto error = [&] { return std::string(service::LoadImageEncoder(folder).status().message()); };
  EXPECT_EQ(service::LoadImageEncoder(folder).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(error(), HasSubstr("config.json is missing. Run 'make setup'"));
  const auto write = [&](const std::string& text) { std::ofstream(folder / "config.json") << text; };
  write("nonsense");
  EXPECT_THAT(error(), HasSubstr("is not JSON"));
  write(R"({"model_type": "resnet"})");
  EXPECT_THAT(error(), HasSubstr("model_type is \"resnet\""));
  write(R"({"model_type": "efficientnet_lite", "image_size": 1e9})");
  EXPECT_THAT(error(), HasSubstr("image_size must be a number from 32 to 2048."));
  write(R"({"model_type": "efficientnet_lite", "resize_filter": "nearest"})");
  EXPECT_THAT(error(), HasSubstr("resize_filter is 'nearest'; it must be box, bilinear, bicubic or lanczos."));
  write(R"({"model_type": "efficientnet_lite"})");
  EXPECT_THAT(error(), HasSubstr("labels.txt is missing"));
  std::filesystem::remove_all(folder);
}

// The centre crop looks at the middle and nothing else.
TEST(EfficientNetLite, PreprocessCropsOrSquashes) {
  const absl::StatusOr<TensorMap> weights = service::ReadSafetensors(ModelFolder() / "model.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  Image wide{300, 100, std::vector<uint8_t>(90000, 0)};
  for (int y = 0; y < 100; ++y) {
    for (int x = 100; x < 200; ++x) {
      for (int c = 0; c < 3; ++c) wide.pixels[3 * (300 * y + x) + c] = 255;
    }
  }
  EfficientNetLiteConfig config;
  config.center_crop = 0.875;
  const std::vector<std::string> labels(1000, "thing");
  const auto cropping = EfficientNetLite::Create(config, *weights, labels);
  ASSERT_TRUE(cropping.ok()) << cropping.status();
  const at::Tensor cropped = (*cropping)->Preprocess({&wide, 1});
  EXPECT_EQ(cropped.sizes(), (at::IntArrayRef{1, 3, 224, 224}));
  EXPECT_FLOAT_EQ(cropped.min().item<float>(), 1.0f);  // (255 - 127) / 128
  const at::Tensor squashed = Encoder()->Preprocess({&wide, 1});
  EXPECT_FLOAT_EQ(squashed[0][0][5][0].item<float>(), -127 / 128.0f);
  EXPECT_FLOAT_EQ(squashed[0][2][5][112].item<float>(), 1.0f);
}

}  // namespace
}  // namespace blazon::vision
