#include "vision/models/efficientnet_lite.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/hardtanh.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::vision {
namespace {

// A run of equal blocks before scaling (Tan and Le 2019, table 1).
struct Stage {
  int64_t repeats, kernel, stride, expansion, channels;
};
constexpr Stage kStages[] = {{1, 3, 1, 1, 16},  {2, 3, 2, 6, 24},  {2, 5, 2, 6, 40}, {3, 3, 2, 6, 80},
                             {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192}, {1, 3, 1, 6, 320}};
constexpr int64_t kStemChannels = 32;    // not scaled in the Lite variant
constexpr int64_t kHeadChannels = 1280;  // not scaled in the Lite variant

// Of a larger batch the widest activations outgrow what malloc keeps between calls (32 MB), and fresh pages cost more
// than the work: 20 ms a picture in a batch of 8 against 16 ms in one of 4.
constexpr int64_t kPicturesAtOnce = 4;

// Channels after scaling: the nearest multiple of 8 that loses at most a tenth.
int64_t ScaleChannels(int64_t channels, double multiplier) {
  const double scaled = channels * multiplier;
  const int64_t rounded = std::max<int64_t>(8, static_cast<int64_t>(scaled + 4) / 8 * 8);
  return rounded < 0.9 * scaled ? rounded + 8 : rounded;
}

// Hands out the tensors of a checkpoint, each once, and remembers the first that does not fit.
class Weights {
 public:
  explicit Weights(TensorMap tensors) : tensors_(std::move(tensors)) {}

  at::Tensor Take(const std::string& name, at::IntArrayRef shape) {
    auto node = tensors_.extract(name);
    if (node.empty()) {
      Fail(absl::StrCat("the tensor ", name, " is missing"));
    } else if (node.mapped().sizes() != shape) {
      Fail(absl::StrCat("the tensor ", name, " has shape [", absl::StrJoin(node.mapped().sizes(), ", "), "], not [",
                        absl::StrJoin(shape, ", "), "]"));
    } else if (node.mapped().scalar_type() != at::kFloat) {
      Fail(absl::StrCat("the tensor ", name, " has type ", c10::toString(node.mapped().scalar_type()), ", not fp32"));
    } else {
      return node.mapped();
    }
    return at::empty(shape, at::kFloat);
  }

  // After the last Take: OK when every tensor fitted and none is left over.
  absl::Status Finish() {
    for (const auto& [name, tensor] : tensors_) {
      if (!absl::EndsWith(name, ".num_batches_tracked")) Fail(absl::StrCat("the tensor ", name, " is unknown"));
    }
    if (error_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("These weights are not EfficientNet-Lite of this configuration: ", error_,
                     ". Convert the checkpoint with setup/convert_efficientnet.py."));
  }

 private:
  void Fail(std::string error) {
    if (error_.empty()) error_ = std::move(error);
  }

  TensorMap tensors_;
  std::string error_;
};

// A convolution with TensorFlow's 'same' padding and the batch norm after it folded in.
class Convolution {
 public:
  Convolution(Weights& weights, const std::string& name, const std::string& norm, at::IntArrayRef shape, int64_t stride,
              int64_t groups, double epsilon)
      : stride_(stride), groups_(groups) {
    const int64_t channels = shape[0];
    weight_ = weights.Take(name + ".weight", shape);
    const at::Tensor gain = weights.Take(norm + ".weight", {channels});
    const at::Tensor shift = weights.Take(norm + ".bias", {channels});
    const at::Tensor mean = weights.Take(norm + ".running_mean", {channels});
    const at::Tensor variance = weights.Take(norm + ".running_var", {channels});
    const at::Tensor factor = gain * at::rsqrt(variance + epsilon);
    weight_ = (weight_ * factor.view({channels, 1, 1, 1})).contiguous(at::MemoryFormat::ChannelsLast);
    bias_ = shift - mean * factor;
  }

  // x: [B, C, H, W]; returns [B, C', ceil(H / stride), ceil(W / stride)].
  at::Tensor Forward(const at::Tensor& x) const {
    const int64_t kernel = weight_.size(2);
    const int64_t rows = Padding(x.size(2), kernel), columns = Padding(x.size(3), kernel);
    if (rows % 2 == 0 && columns % 2 == 0) {
      return at::conv2d(x, weight_, bias_, stride_, {rows / 2, columns / 2}, 1, groups_);
    }
    // An odd total puts the extra line at the bottom and the right.
    const at::Tensor padded = at::constant_pad_nd(x, {columns / 2, columns - columns / 2, rows / 2, rows - rows / 2});
    return at::conv2d(padded, weight_, bias_, stride_, at::IntArrayRef(0), 1, groups_);
  }

  at::Tensor ForwardRelu6(const at::Tensor& x) const {
    at::Tensor y = Forward(x);
    return at::hardtanh_(y, 0, 6);
  }

 private:
  int64_t Padding(int64_t size, int64_t kernel) const {
    const int64_t outputs = (size + stride_ - 1) / stride_;
    return std::max<int64_t>(0, (outputs - 1) * stride_ + kernel - size);
  }

  at::Tensor weight_;  // [C', C / groups, kernel, kernel]
  at::Tensor bias_;    // [C']
  int64_t stride_;
  int64_t groups_;
};

// Inverted residual block (Sandler et al. 2018, arXiv 1801.04381): widen, filter each channel, project.
class Block {
 public:
  Block(Weights& weights, const std::string& name, int64_t in, int64_t out, int64_t expansion, int64_t kernel,
        int64_t stride, double epsilon)
      : depthwise_conv_(weights, name + "._depthwise_conv", name + "._bn1", {in * expansion, 1, kernel, kernel}, stride,
                        in * expansion, epsilon),
        project_conv_(weights, name + "._project_conv", name + "._bn2", {out, in * expansion, 1, 1}, 1, 1, epsilon),
        residual_(stride == 1 && in == out) {
    if (expansion != 1) {
      expand_conv_.emplace(weights, name + "._expand_conv", name + "._bn0", at::IntArrayRef{in * expansion, in, 1, 1},
                           1, 1, epsilon);
    }
  }

  // x: [B, C, H, W]; returns [B, C', ceil(H / stride), ceil(W / stride)].
  at::Tensor Forward(const at::Tensor& x) const {
    at::Tensor h = expand_conv_ ? expand_conv_->ForwardRelu6(x) : x;
    h = project_conv_.Forward(depthwise_conv_.ForwardRelu6(h));
    return residual_ ? h.add_(x) : h;
  }

 private:
  std::optional<Convolution> expand_conv_;  // absent when the block does not widen
  Convolution depthwise_conv_, project_conv_;
  bool residual_;
};

class Network : public ImageEncoder {
 public:
  Network(const EfficientNetLiteConfig& config, Weights& weights, std::vector<std::string> labels)
      : config_(config),
        conv_stem_(weights, "_conv_stem", "_bn0", {kStemChannels, 3, 3, 3}, 2, 1, config.batch_norm_epsilon),
        labels_(std::move(labels)) {
    int64_t channels = kStemChannels;
    for (const Stage& stage : kStages) {
      const int64_t out = ScaleChannels(stage.channels, config.width_multiplier);
      // The first and the last stage keep their depth in the Lite variant.
      const bool scaled = &stage != std::begin(kStages) && &stage != std::end(kStages) - 1;
      const int64_t repeats =
          scaled ? static_cast<int64_t>(std::ceil(stage.repeats * config.depth_multiplier)) : stage.repeats;
      for (int64_t i = 0; i < repeats; ++i) {
        blocks_.emplace_back(weights, absl::StrCat("_blocks.", blocks_.size()), channels, out, stage.expansion,
                             stage.kernel, i == 0 ? stage.stride : 1, config.batch_norm_epsilon);
        channels = out;
      }
    }
    conv_head_.emplace(weights, "_conv_head", "_bn1", at::IntArrayRef{kHeadChannels, channels, 1, 1}, 1, 1,
                       config.batch_norm_epsilon);
    const int64_t classes = labels_.size();
    // Owned: the checkpoint may be a mapped file.
    fc_weight_ = weights.Take("_fc.weight", {classes, kHeadChannels}).clone();
    fc_bias_ = weights.Take("_fc.bias", {classes}).clone();
  }

  int64_t dimension() const override { return kHeadChannels; }

  // The centre square when the configuration crops, else the whole picture squashed to a square; [B, 3, S, S].
  at::Tensor Preprocess(absl::Span<const Image> images) const override {
    const int64_t size = config_.image_size;
    at::Tensor pixels = at::empty({static_cast<int64_t>(images.size()), 3, size, size},
                                  at::TensorOptions().dtype(at::kFloat).memory_format(at::MemoryFormat::ChannelsLast));
    const float mean = config_.mean, factor = 1 / config_.scale;
    float* out = pixels.mutable_data_ptr<float>();  // in memory: [B, S, S, 3]
    for (const Image& image : images) {
      const Image resized = Resize(config_.center_crop > 0 ? CropCenter(image) : image, size, size, config_.filter);
      for (const uint8_t value : resized.pixels) *out++ = (value - mean) * factor;
    }
    return pixels;
  }

  // pixels: [B, 3, H, W]; returns [B, 1280, ceil(H / 32), ceil(W / 32)].
  at::Tensor Encode(const at::Tensor& pixels) const override {
    const at::NoGradGuard no_grad;
    if (pixels.size(0) > kPicturesAtOnce) {
      std::vector<at::Tensor> parts;
      for (const at::Tensor& part : pixels.split(kPicturesAtOnce)) parts.push_back(Encode(part));
      return at::cat(parts);
    }
    at::Tensor x = conv_stem_.ForwardRelu6(pixels.contiguous(at::MemoryFormat::ChannelsLast));  // [B, 32, H/2, W/2]
    for (const Block& block : blocks_) x = block.Forward(x);
    return conv_head_->ForwardRelu6(x);  // [B, 1280, H/32, W/32]
  }

  // features: [B, 1280, h, w]; returns [B, classes].
  at::Tensor Classify(const at::Tensor& features) const override {
    const at::NoGradGuard no_grad;
    return at::linear(features.mean({2, 3}), fc_weight_, fc_bias_);
  }

  const std::vector<std::string>& labels() const override { return labels_; }

 private:
  Image CropCenter(const Image& image) const {
    const int64_t side = std::max<int64_t>(1, std::lround(config_.center_crop * std::min(image.width, image.height)));
    return Crop(image, (image.width - side) / 2, (image.height - side) / 2, side, side);
  }

  EfficientNetLiteConfig config_;
  Convolution conv_stem_;
  std::vector<Block> blocks_;
  std::optional<Convolution> conv_head_;
  at::Tensor fc_weight_;  // [classes, 1280]
  at::Tensor fc_bias_;    // [classes]
  std::vector<std::string> labels_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ImageEncoder>> EfficientNetLite::Create(const EfficientNetLiteConfig& config,
                                                                       TensorMap weights,
                                                                       std::vector<std::string> labels) {
  const at::NoGradGuard no_grad;
  const auto rows = weights.find("_fc.bias");
  if (rows != weights.end() && rows->second.numel() != static_cast<int64_t>(labels.size())) {
    return absl::InvalidArgumentError(absl::StrCat("There are ", labels.size(), " labels for a classifier of ",
                                                   rows->second.numel(), " classes. Give one name for each class."));
  }
  try {
    Weights reader(std::move(weights));
    auto network = std::make_unique<Network>(config, reader, std::move(labels));
    if (absl::Status status = reader.Finish(); !status.ok()) return status;
    return network;
  } catch (const c10::Error&) {
    return absl::ResourceExhaustedError("There is not enough memory for the weights of EfficientNet-Lite.");
  }
}

}  // namespace blazon::vision
