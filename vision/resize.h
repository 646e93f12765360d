// Resizing with antialiasing, equal to Pillow's or torchvision's on 8-bit RGB; and cutting and framing.
#pragma once

#include <array>
#include <cstdint>

#include "vision/image.h"

namespace blazon::vision {

enum class ResizeFilter { kBox, kBilinear, kBicubic, kLanczos };

// How the weights of the filter are rounded, and which pass comes first. The rounding changes a level by one here and
// there; the order changes more where a bicubic or Lanczos filter overshoots, because the first pass cuts that off.
enum class ResizeArithmetic {
  kPillow,       // to 22 bits, as Pillow does since version 2.7; along rows first, as it did until version 12
  kPillow13,     // the same, but columns come first where the height loses more than twice the pixels of the width
  kTorchvision,  // to as many bits as fit the largest weight into 16, as ATen does for uint8 tensors on the CPU
};

// A rectangle of pixels. It may lie outside of the picture that it speaks of only where a function says so.
struct Rectangle {
  int64_t left = 0, top = 0;
  int64_t width = 0, height = 0;
  bool operator==(const Rectangle&) const = default;
};

// `image` at `width` x `height`. Shrinking widens the filter, so that every source pixel counts; enlarging
// interpolates. A picture that has that size already is returned as it is.
//
// Separable two-pass convolution in fixed point: the weights of each output column (row) are normalised and rounded,
// the first pass (along rows, but for kPillow13) is rounded to 8 bits before the second. Requires a non-empty image and
// width, height >= 1.
Image Resize(const Image& image, int64_t width, int64_t height, ResizeFilter filter,
             ResizeArithmetic arithmetic = ResizeArithmetic::kPillow);

// `window` of what Resize would return, which it must lie within; the pixels outside of it are not computed.
Image ResizeWindow(const Image& image, int64_t width, int64_t height, const Rectangle& window, ResizeFilter filter,
                   ResizeArithmetic arithmetic = ResizeArithmetic::kPillow);

// The rectangle of `width` x `height` whose top left corner is (left, top). It must lie within the image.
Image Crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height);

// `image` with its top left corner at (left, top) of a picture of `width` x `height` in one colour, within which it
// must lie.
Image Frame(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height,
            const std::array<uint8_t, 3>& colour);

}  // namespace blazon::vision
