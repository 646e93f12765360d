// Preprocessor configs: what is read, and what is refused by name. Pixels are compared in
// tests/vision/preprocessor_test.
#include "service/checkpoint/preprocessor_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace blazon::service {
namespace {

using ::testing::HasSubstr;
using vision::PreprocessorConfig;

class PreprocessorConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name) << text; }
  absl::StatusOr<PreprocessorConfig> Read() const { return ReadPreprocessorConfig(folder_); }
  // Of a config with these members beside its type.
  absl::Status Refusal(const std::string& type, const std::string& members) const {
    Write("preprocessor_config.json", R"({"image_processor_type": ")" + type + R"(ImageProcessor", )" + members + "}");
    return Read().status();
  }
  void Expect(absl::StatusCode code, const std::string& type, const std::string& members,
              const std::string& words) const {
    const absl::Status status = Refusal(type, members);
    EXPECT_EQ(status.code(), code) << members << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("preprocessor_config.json: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }

  std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) / "preprocessor_config_test";
};

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnknown = absl::StatusCode::kUnimplemented;

TEST_F(PreprocessorConfigTest, RefusesWhatItCannotCompute) {
  Expect(kUnknown, "Qwen2VL", R"("size": 4)", "image_processor_type is that of Qwen2VL; known are CLIPImageProcessor");
  Expect(kUnknown, "CLIP", R"("do_flip_channel_order": true)",
         "do_flip_channel_order is not known of CLIPImageProcessor");
  Expect(kUnknown, "CLIP", R"("do_pan_and_scan": true)", "do_pan_and_scan is not known of CLIPImageProcessor");
  Expect(kUnknown, "Siglip", R"("do_image_splitting": true)",
         "do_image_splitting is not known of SiglipImageProcessor");
  Expect(kUnknown, "ViT", R"("resample": 0)", "resample is 0; known are 1 (Lanczos)");
  Expect(kUnknown, "ViT", R"("resample": "bicubic")", "resample is no number");
  Expect(kUnknown, "ViT", R"("data_format": "channels_last")", "data_format is not \"channels_first\"");
  Expect(kUnknown, "CLIP", R"("do_pad": true)", "do_pad is true");
  Expect(kUnknown, "Llava", R"("pad_size": {"height": 4, "width": 4})", "pad_size is not supported");
  Expect(kUnknown, "Gemma3", R"("do_center_crop": true)", "do_center_crop is true");
  Expect(kUnknown, "CLIP", R"("size": {"longest_edge": 4})", "size has the members [longest_edge]");
  Expect(kUnknown, "CLIP", R"("size": {"min_pixels": 4, "max_pixels": 9})",
         "size has the members [max_pixels, min_pixels]");
  Expect(kUnknown, "Idefics3", R"("size": {"shortest_edge": 4})", "known for this class are longest_edge");
}

TEST_F(PreprocessorConfigTest, RefusesWhatIsOutOfRange) {
  Expect(kInvalid, "CLIP", R"("size": "big")", "size must be a number");
  Expect(kInvalid, "CLIP", R"("size": {"shortest_edge": 0})",
         "size has a shortest_edge that is not a whole number from 1");
  Expect(kInvalid, "CLIP", R"("size": 70000)", "from 1 to 65536");
  Expect(kInvalid, "CLIP", R"("crop_size": {"shortest_edge": 3})", "crop_size must have height and width");
  Expect(kInvalid, "ViT", R"("do_center_crop": true)", "crop_size is missing");
  Expect(kInvalid, "ViT", R"("image_mean": [0.5, 0.5])", "image_mean must be a number or a list of three");
  Expect(kInvalid, "ViT", R"("image_std": [0.5, 0, 0.5])", "image_std must be above 0");
  Expect(kInvalid, "ViT", R"("rescale_factor": -1)", "rescale_factor is -1");
  Expect(kInvalid, "ViT", R"("do_resize": 1)", "do_resize is 1; it must be true or false");
  Expect(kInvalid, "Gemma3", R"("do_pan_and_scan": true, "pan_and_scan_min_crop_size": 0)",
         "pan_and_scan_min_crop_size is 0");
  Expect(kInvalid, "SmolVLM", R"("max_image_size": 384)", "max_image_size must have longest_edge");
}

TEST_F(PreprocessorConfigTest, NamesTheFileThatIsMissingOrBroken) {
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("has neither a preprocessor_config.json"));
  Write("config.json", R"({"model_type": "llama"})");
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kNotFound);
  Write("preprocessor_config.json", "nonsense");
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kDataLoss);
  Write("preprocessor_config.json", R"({"size": 224})");
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("image_processor_type is missing"));
  Write("processor_config.json", R"({"image_processor": 3})");
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("image_processor is not an object"));
}

TEST_F(PreprocessorConfigTest, TheNestedConfigComesFirst) {
  Write("processor_config.json", R"({"processor_class": "PaliGemmaProcessor"})");
  Write("preprocessor_config.json", R"({"image_processor_type": "ViTImageProcessor", "size": 30})");
  ASSERT_TRUE(Read().ok()) << Read().status();
  EXPECT_EQ(Read()->size, (vision::Size{30, 30}));
  Write("processor_config.json",
        R"({"image_processor": {"image_processor_type": "ViTImageProcessorFast", "size": 40}})");
  ASSERT_TRUE(Read().ok()) << Read().status();
  EXPECT_EQ(Read()->size, (vision::Size{40, 40}));
}

TEST_F(PreprocessorConfigTest, TheModelNamesTheProcessorThatItsConfigDoesNot) {
  Write("preprocessor_config.json", R"({"size": 30, "do_center_crop": null})");
  Write("config.json", R"({"model_type": "siglip"})");
  ASSERT_TRUE(Read().ok()) << Read().status();
  EXPECT_EQ(Read()->size_rule, vision::SizeRule::kShortestEdge);  // SiglipImageProcessor's default_to_square is false
  EXPECT_EQ(Read()->arithmetic, vision::ResizeArithmetic::kTorchvision);
  EXPECT_FALSE(Read()->center_crop.has_value());
}

TEST_F(PreprocessorConfigTest, PanAndScanHasTheNumbersOfGemma3Processor) {
  Write("preprocessor_config.json", R"({"image_processor_type": "Gemma3ImageProcessor", "do_pan_and_scan": true,
        "pan_and_scan_min_crop_size": null, "pan_and_scan_max_num_crops": 3})");
  ASSERT_TRUE(Read().ok()) << Read().status();
  EXPECT_EQ(Read()->split, vision::SplitRule::kPanAndScan);
  EXPECT_EQ(Read()->min_crop_size, 256);
  EXPECT_EQ(Read()->max_crops, 3);
  EXPECT_EQ(Read()->min_ratio, 1.2);
}

TEST_F(PreprocessorConfigTest, NanoVlmNeedsWholeTiles) {
  Write("config.json", R"({"vit_img_size": 512, "max_img_size": 1500})");
  EXPECT_EQ(Read().status().code(), kInvalid);
  EXPECT_THAT(std::string(Read().status().message()), HasSubstr("config.json: the longest edge must be a multiple"));
}

}  // namespace
}  // namespace blazon::service
