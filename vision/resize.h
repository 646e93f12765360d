// Resizing with antialiasing, equal to Pillow's Image.resize and Image.crop on 8-bit RGB.
#pragma once

#include <cstdint>

#include "vision/image.h"

namespace blazon::vision {

enum class ResizeFilter { kBox, kBilinear, kBicubic, kLanczos };

// `image` at `width` x `height`. Shrinking widens the filter, so that every source pixel counts; enlarging
// interpolates.
//
// Separable two-pass convolution in fixed point, as Pillow does it since version 2.7: the weights of each output column
// (row) are normalised and rounded to 22 bits, the horizontal pass is rounded to 8 bits before the vertical one.
// Requires a non-empty image and width, height >= 1.
Image Resize(const Image& image, int64_t width, int64_t height, ResizeFilter filter);

// The rectangle of `width` x `height` whose top left corner is (left, top). It must lie within the image.
Image Crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height);

}  // namespace blazon::vision
