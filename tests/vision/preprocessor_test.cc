// Preprocessing against the processors of transformers 5.17.0 and nanoVLM's, on 20 pictures of odd sizes; and what is
// refused.
#include "vision/preprocessor.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "service/checkpoint/preprocessor_config.h"
#include "service/checkpoint/safetensors.h"
#include "tests/vision/test_images.h"
#include "vision/image_encoder.h"

namespace blazon::vision {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr int kLevels = 1;          // on the grid of each tile
constexpr double kMeanLevel = 0.1;  // of a channel of a tile
constexpr double kFinished = 2e-6;  // of a finished value whose level is equal
constexpr const char* kRemedy = "; regenerate with tests/reference/preprocessor_goldens.py";

// As `picture` of preprocessor_goldens.py makes it.
Image MakePicture(uint32_t width, uint32_t height) {
  Image image{width, height, {}};
  image.pixels.reserve(3 * width * height);
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      for (uint32_t c = 0; c < 3; ++c) {
        const uint32_t block = (x * 4 / width + (y * 4 / height) * 3 + c * 5) * 37 % 256;
        const uint32_t teeth = (x * 7 * (c + 1) + y * 11 + c * 40) % 256;
        uint32_t noise = (x * 73856093u) ^ (y * 19349663u) ^ (c * 83492791u);
        noise = ((noise ^ (noise >> 13)) * 0x5BD1E995u) >> 24;
        const uint32_t flat = (x / 61 + y / 47) % 2 * 255;
        const uint32_t values[] = {(block + teeth) / 2, noise, flat, block};
        image.pixels.push_back(values[(x / 32 + y / 48) % 4]);
      }
    }
  }
  return image;
}

// The picture of each size, made once.
const Image& Picture(const json& size) {
  static auto* const pictures = new std::map<std::pair<uint32_t, uint32_t>, Image>;
  const std::pair<uint32_t, uint32_t> key = {size[0], size[1]};
  const auto found = pictures->find(key);
  return found != pictures->end() ? found->second : (*pictures)[key] = MakePicture(key.first, key.second);
}

class Folder {
 public:
  Folder() : path_(std::filesystem::path(::testing::TempDir()) / "preprocessor_test") {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void Write(const std::string& name, const json& value) const { std::ofstream(path_ / name) << value; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// [tiles, 3, H, W] at count x count pixels of each tile, the corners among them.
at::Tensor Sampled(const at::Tensor& pixels, int64_t count) {
  const auto positions = [count](int64_t length) {
    return at::div(at::arange(count) * (length - 1), count - 1, "floor").to(at::kLong);
  };
  return pixels.index_select(2, positions(pixels.size(2))).index_select(3, positions(pixels.size(3)));
}

double Largest(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// The largest differences of a case.
struct Worst {
  double levels = 0, mean = 0, finished = 0;
};

// Compares one case over all pictures.
Worst Compare(const std::string& name, const json& goldens, const TensorMap& tensors) {
  const json& expected = goldens["cases"][name];
  const Folder folder;
  const bool nanovlm = expected["config"].contains("vit_img_size");
  folder.Write(nanovlm ? "config.json" : "preprocessor_config.json", expected["config"]);
  absl::StatusOr<PreprocessorConfig> config = service::ReadPreprocessorConfig(folder.path());
  EXPECT_TRUE(config.ok()) << config.status();
  if (!config.ok()) return {};
  if (expected.contains("saved")) {  // transformers 5 writes the same processor otherwise
    folder.Write("processor_config.json",
                 {{"image_processor", expected["saved"]}, {"processor_class", "AnyProcessor"}});
    const absl::StatusOr<PreprocessorConfig> saved = service::ReadPreprocessorConfig(folder.path());
    EXPECT_TRUE(saved.ok()) << name << ": " << saved.status();
    EXPECT_TRUE(saved.ok() && *saved == *config) << name << " of processor_config.json is another processor";
  }
  if (expected["backend"] == "pil") {
    config->arithmetic = ResizeArithmetic::kPillow13;
  } else {
    EXPECT_EQ(config->arithmetic, ResizeArithmetic::kTorchvision) << name;
  }
  PreprocessorConfig raw = *config;
  raw.rescale = raw.normalize = false;
  const absl::StatusOr<Preprocessor> preprocessor = Preprocessor::Create(*config), leveller = Preprocessor::Create(raw);
  EXPECT_TRUE(preprocessor.ok() && leveller.ok()) << name << ": " << preprocessor.status();
  if (!preprocessor.ok() || !leveller.ok()) return {};

  // What one level is worth in the end.
  double level = config->rescale ? config->rescale_factor : 1;
  if (config->normalize) level /= *std::min_element(config->std.begin(), config->std.end());
  Worst worst;
  int64_t tile = 0;
  for (size_t i = 0; i < goldens["sizes"].size(); ++i) {
    const std::string what = name + " of a picture of " + goldens["sizes"][i].dump() + kRemedy;
    const json& shape = expected["pictures"][i];
    const absl::StatusOr<PreprocessedImage> done = preprocessor->Run(Picture(goldens["sizes"][i]));
    if (shape.is_null()) {
      EXPECT_THAT(std::string(done.status().message()), HasSubstr("it is too long for its size rule")) << what;
      continue;
    }
    const absl::StatusOr<PreprocessedImage> levels = leveller->Run(Picture(goldens["sizes"][i]));
    EXPECT_TRUE(done.ok() && levels.ok()) << what << ": " << done.status();
    if (!done.ok() || !levels.ok()) return worst;
    const json ours = {done->pixels.size(0), done->pixels.size(2), done->pixels.size(3), done->rows, done->columns};
    EXPECT_EQ(ours, shape) << what;
    if (ours != shape) return worst;
    EXPECT_EQ(done->mask.defined(), config->mask) << what;
    if (config->mask) {
      EXPECT_EQ(done->mask.sizes(), (at::IntArrayRef{shape[0].get<int64_t>(), shape[1], shape[2]})) << what;
      EXPECT_TRUE(done->mask.all().item<bool>()) << what;
    }
    const auto slice = [&](const char* kind) {
      return tensors.at(name + "." + kind).narrow(0, tile, shape[0].get<int64_t>()).to(at::kFloat);
    };
    Worst here;
    here.levels = Largest(Sampled(levels->pixels, goldens["grid"]).round(), slice("levels"));
    here.mean = Largest(levels->pixels.mean({2, 3}), slice("means"));
    here.finished = Largest(Sampled(done->pixels, goldens["finished"]), slice("finished"));
    EXPECT_LE(here.levels, kLevels) << what;
    EXPECT_LE(here.mean, kMeanLevel) << what;
    EXPECT_LE(here.finished, here.levels * level + kFinished) << what;
    worst = {std::max(worst.levels, here.levels), std::max(worst.mean, here.mean),
             std::max(worst.finished, here.finished)};
    tile += shape[0].get<int64_t>();
  }
  return worst;
}

TEST(Preprocessor, EqualsTheReferenceProcessors) {
  const json goldens = json::parse(ReadFile(Goldens() / "preprocessor.json"));
  const absl::StatusOr<TensorMap> tensors = service::ReadSafetensors(Goldens() / "preprocessor.safetensors");
  ASSERT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
  ASSERT_GE(goldens["sizes"].size(), 20u);
  ASSERT_EQ(goldens["cases"].size(), 37u);
  for (const auto& [name, golden] : goldens["cases"].items()) {
    const at::Tensor levels = tensors->at(name + ".levels").to(at::kFloat);
    ASSERT_GT(levels.std().item<double>(), 30) << name << " is trivial";
    const Worst worst = Compare(name, goldens, *tensors);
    std::printf("%-24s largest difference: %.0f levels, %.4f of a mean, %.1e finished\n", name.c_str(), worst.levels,
                worst.mean, worst.finished);
  }
}

PreprocessedImage RunOn(const PreprocessorConfig& config, const Image& image) {
  const absl::StatusOr<Preprocessor> preprocessor = Preprocessor::Create(config);
  EXPECT_TRUE(preprocessor.ok()) << preprocessor.status();
  absl::StatusOr<PreprocessedImage> result = preprocessor->Run(image);
  EXPECT_TRUE(result.ok()) << result.status();
  return *result;
}

std::string RefusalOf(const PreprocessorConfig& config, int64_t width, int64_t height) {
  EXPECT_TRUE(CheckPreprocessorConfig(config).ok());
  const absl::Status status = PlanPreprocessing(config, {width, height}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(Preprocessor, TellsTheSizesBeforeAndAfter) {
  PreprocessorConfig config;
  config.size_rule = SizeRule::kShortestEdge;
  config.edge = 50;
  config.center_crop = {40, 40};
  const PreprocessedImage result = RunOn(config, MakePicture(300, 100));
  EXPECT_EQ(result.original, (Size{300, 100}));
  EXPECT_EQ(result.resized, (Size{150, 50}));
  EXPECT_EQ(result.pixels.sizes(), (at::IntArrayRef{1, 3, 40, 40}));
  EXPECT_FALSE(result.mask.defined());
}

TEST(Preprocessor, KeepsThePictureThatNeedsNothing) {
  PreprocessorConfig config;
  config.size_rule = SizeRule::kKeep;
  config.rescale = config.normalize = false;
  const PreprocessedImage result = RunOn(config, {2, 1, {1, 2, 3, 4, 5, 6}});
  EXPECT_TRUE(result.pixels.equal(at::tensor({1.f, 4.f, 2.f, 5.f, 3.f, 6.f}).view({1, 3, 1, 2})));
}

// The picture on the way to a centre crop may be far larger than the limit: only what is kept of it is computed.
TEST(Preprocessor, DoesNotComputeWhatTheCropDiscards) {
  PreprocessorConfig config;
  config.size_rule = SizeRule::kShortestEdge;
  config.edge = 224;
  config.center_crop = {224, 224};
  config.max_pixels = 224 * 224;
  const PreprocessedImage result = RunOn(config, MakePicture(1, 3000));
  EXPECT_EQ(result.resized, (Size{224, 672000}));
  EXPECT_EQ(result.pixels.sizes(), (at::IntArrayRef{1, 3, 224, 224}));
}

TEST(Preprocessor, RefusesWhatIsBeyondItsLimits) {
  PreprocessorConfig config;
  config.size_rule = SizeRule::kLongestEdge;
  config.edge = 4096;
  config.split = SplitRule::kTilesThenWhole;
  config.tile_side = 256;
  EXPECT_THAT(RefusalOf(config, 1000, 1000),
              HasSubstr("A picture of 1000 x 1000 pixels needs 257 tiles; the limit is 256."));
  EXPECT_TRUE(PlanPreprocessing(config, {1000, 900}).ok());
  config.max_pixels = 4096 * 4096 - 1;
  EXPECT_THAT(RefusalOf(config, 1000, 1000),
              HasSubstr("needs a resized picture of 4096 x 4096; the limit is 16777215 pixels"));

  config = {};
  config.pad_to_square = true;
  EXPECT_THAT(RefusalOf(config, 20000, 3), HasSubstr("needs a frame of 20000 x 20000; the limit is 67108864 pixels"));
  EXPECT_THAT(RefusalOf(config, 0, 3), HasSubstr("The picture has no pixels"));
  EXPECT_THAT(RefusalOf(config, int64_t{1} << 40, 1), HasSubstr("the limit is"));

  config = {};
  config.size_rule = SizeRule::kWithin;
  config.size = {100, 100};
  EXPECT_THAT(RefusalOf(config, 1, 1000), HasSubstr("would become 0 x 100: it is too long for its size rule"));

  config = {};
  config.split = SplitRule::kPanAndScan;
  config.min_crop_size = 1;
  config.max_crops = 4;
  EXPECT_THAT(RefusalOf(config, 5, 1), HasSubstr("does not fill the 4 parts of pan and scan"));
}

TEST(Preprocessor, RefusesContradictions) {
  const auto error = [](const auto& change) {
    PreprocessorConfig config;
    config.tile_side = 32;
    config.edge = 64;
    change(config);
    const absl::Status status = Preprocessor::Create(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error([](auto& c) { c.size = {0, 4}; }), HasSubstr("size must be 1 to 65536"));
  EXPECT_THAT(error([](auto& c) { c.std[1] = 0; }), HasSubstr("image_std must be above 0"));
  EXPECT_THAT(error([](auto& c) { c.rescale_factor = NAN; }), HasSubstr("rescale_factor"));
  EXPECT_THAT(error([](auto& c) { c.center_share = 1.5; }), HasSubstr("center_share must be 0 to 1"));
  EXPECT_THAT(error([](auto& c) { c.split = SplitRule::kTiles; }), HasSubstr("need each other"));
  EXPECT_THAT(error([](auto& c) { c.pad_to_square = true, c.mean[0] = 2; }), HasSubstr("image_mean from 0 to 1"));
  EXPECT_THAT(error([](auto& c) { c.size_rule = SizeRule::kTileMultiple, c.split = SplitRule::kTiles, c.edge = 65; }),
              HasSubstr("must be a multiple of the tile side"));
  EXPECT_THAT(error([](auto& c) {
                c.split = SplitRule::kOneTile, c.center_crop = Size{4, 4};
              }),
              HasSubstr("exclude each other"));
  EXPECT_THAT(error([](auto& c) { c.split = SplitRule::kPanAndScan, c.max_crops = 1; }), HasSubstr("at least 2 parts"));
}

}  // namespace
}  // namespace blazon::vision
