#include "vision/preprocessor.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace blazon::vision {
namespace {

// A level as the network sees it. Both backends of transformers compute in fp32, but not in the same order: its
// torchvision backend folds the rescaling into mean and deviation.
float Value(const PreprocessorConfig& config, int channel, float level) {
  const auto mean = static_cast<float>(config.mean[channel]), std = static_cast<float>(config.std[channel]);
  if (!config.rescale) return config.normalize ? (level - mean) / std : level;
  if (config.normalize && config.arithmetic == ResizeArithmetic::kTorchvision) {
    const auto levels = static_cast<float>(1.0 / config.rescale_factor);
    return (level - mean * levels) / (std * levels);
  }
  const auto rescaled = static_cast<float>(level * config.rescale_factor);
  return config.normalize ? (rescaled - mean) / std : rescaled;
}

// The first of `size` pixels for a frame of `frame` around them. Pillow's backend of transformers puts an odd pixel on
// the left, torchvision's on the right; a centre crop rounds towards the left in both.
int64_t FrameStart(int64_t frame, int64_t size, ResizeArithmetic arithmetic) {
  return (frame - size + (arithmetic == ResizeArithmetic::kTorchvision ? 0 : 1)) / 2;
}

// `image` in the size that the plan's centre crop leaves, or all of it.
Image ResizeAndCrop(const PreprocessorConfig& config, const Image& image, Size resized) {
  const Size crop = config.center_crop.value_or(resized);
  const Size kept = {std::min(crop.width, resized.width), std::min(crop.height, resized.height)};
  const Rectangle window = {(resized.width - kept.width) / 2, (resized.height - kept.height) / 2, kept.width,
                            kept.height};
  Image result = ResizeWindow(image, resized.width, resized.height, window, config.filter, config.arithmetic);
  if (kept == crop) return result;
  return Frame(result, FrameStart(crop.width, kept.width, config.arithmetic),
               FrameStart(crop.height, kept.height, config.arithmetic), crop.width, crop.height, {0, 0, 0});
}

}  // namespace

Preprocessor::Preprocessor(const PreprocessorConfig& config) : config_(config) {
  for (int channel = 0; channel < 3; ++channel) {
    for (int level = 0; level < 256; ++level) values_[channel][level] = Value(config, channel, level);
  }
}

absl::StatusOr<Preprocessor> Preprocessor::Create(const PreprocessorConfig& config) {
  if (absl::Status status = CheckPreprocessorConfig(config); !status.ok()) return status;
  return Preprocessor(config);
}

// out: [3, H, W]
void Preprocessor::Write(const Image& image, float* out) const {
  const int64_t pixels = image.width * image.height;
  for (int channel = 0; channel < 3; ++channel) {
    const std::array<float, 256>& values = values_[channel];
    const uint8_t* level = image.pixels.data() + channel;
    for (int64_t i = 0; i < pixels; ++i, level += 3) *out++ = values[*level];
  }
}

absl::StatusOr<PreprocessedImage> Preprocessor::Run(const Image& image) const try {
  const at::NoGradGuard no_grad;
  absl::StatusOr<PreprocessPlan> planned = PlanPreprocessing(config_, {image.width, image.height});
  if (!planned.ok()) return planned.status();
  const PreprocessPlan& plan = *planned;

  // The part of the picture that is looked at, in its frame; `image` itself when that is all of it.
  Image owned;
  const Image* picture = &image;
  if (plan.source != Rectangle{0, 0, image.width, image.height}) {
    owned = Crop(image, plan.source.left, plan.source.top, plan.source.width, plan.source.height);
    picture = &owned;
  }
  if (plan.padded != Size{picture->width, picture->height}) {
    std::array<uint8_t, 3> colour;
    for (int i = 0; i < 3; ++i) colour[i] = static_cast<uint8_t>(255 * config_.mean[i]);
    owned = Frame(*picture, (plan.padded.width - picture->width) / 2, (plan.padded.height - picture->height) / 2,
                  plan.padded.width, plan.padded.height, colour);
    picture = &owned;
  }

  PreprocessedImage result;
  result.rows = plan.rows;
  result.columns = plan.columns;
  result.original = {image.width, image.height};
  result.resized = plan.resized;
  result.pixels = at::empty({plan.tiles, 3, plan.tile.height, plan.tile.width}, at::kFloat);
  if (config_.mask) result.mask = at::ones({plan.tiles, plan.tile.height, plan.tile.width}, at::kBool);
  float* out = result.pixels.mutable_data_ptr<float>();
  const int64_t tile_values = 3 * plan.tile.width * plan.tile.height;
  const auto write = [&](const Image& tile) {
    Write(tile, out);
    out += tile_values;
  };
  const auto resize = [&](const Image& from, Size size) {
    return Resize(from, size.width, size.height, config_.filter, config_.arithmetic);
  };

  Image resized = ResizeAndCrop(config_, *picture, plan.resized);
  if (plan.tiled != plan.resized) resized = resize(resized, plan.tiled);
  if (plan.rows == 0 || config_.split == SplitRule::kPanAndScan) {
    write(resized);
    for (const Rectangle& part : plan.parts) {
      write(resize(Crop(*picture, part.left, part.top, part.width, part.height), plan.resized));
    }
    return result;
  }
  if (config_.split == SplitRule::kWholeThenTiles) {
    at::Tensor whole = at::empty({1, 3, resized.height, resized.width}, at::kFloat);
    Write(resized, whole.mutable_data_ptr<float>());
    result.pixels[0].copy_(at::_upsample_bilinear2d_aa(whole, {plan.tile.height, plan.tile.width}, false)[0]);
    out += tile_values;
  }
  for (int64_t row = 0; row < plan.rows; ++row) {
    for (int64_t column = 0; column < plan.columns; ++column) {
      write(Crop(resized, column * plan.tile.width, row * plan.tile.height, plan.tile.width, plan.tile.height));
    }
  }
  if (config_.split == SplitRule::kTilesThenWhole) write(resize(resized, plan.tile));
  return result;
} catch (const std::bad_alloc&) {
  return absl::ResourceExhaustedError("There is not enough memory to preprocess the picture.");
} catch (const c10::Error&) {
  return absl::ResourceExhaustedError("There is not enough memory to preprocess the picture.");
}

}  // namespace blazon::vision
