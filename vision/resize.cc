#include "vision/resize.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

namespace blazon::vision {
namespace {

constexpr int kPrecisionBits = 22;  // 8-bit pixels times weights below 2, summed in 32 bits
constexpr double kPi = 3.14159265358979323846;

double Sinc(double x) { return x == 0 ? 1 : std::sin(kPi * x) / (kPi * x); }

double Evaluate(ResizeFilter filter, double x) {
  switch (filter) {
    case ResizeFilter::kBox:
      return x > -0.5 && x <= 0.5 ? 1 : 0;
    case ResizeFilter::kBilinear:
      return std::max(0.0, 1 - std::abs(x));
    case ResizeFilter::kBicubic: {  // Keys 1981 with a = -0.5
      x = std::abs(x);
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
      return 0;
    }
    case ResizeFilter::kLanczos:
      return x >= -3 && x < 3 ? Sinc(x) * Sinc(x / 3) : 0;
  }
  return 0;
}

double Support(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::kBox:
      return 0.5;
    case ResizeFilter::kBilinear:
      return 1;
    case ResizeFilter::kBicubic:
      return 2;
    case ResizeFilter::kLanczos:
      return 3;
  }
  return 0;
}

// The weights that make one output sample, for every output sample of a line.
struct Taps {
  struct Span {
    int64_t first;  // source sample of the first weight
    int64_t count;
  };
  int64_t stride;  // weights[i * stride] is the first of output sample i
  std::vector<Span> spans;
  std::vector<int32_t> weights;
};

Taps MakeTaps(int64_t source_size, int64_t size, ResizeFilter filter) {
  const double scale = static_cast<double>(source_size) / size;
  const double stretch = std::max(scale, 1.0);
  const double support = Support(filter) * stretch;
  Taps taps;
  taps.stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  taps.spans.resize(size);
  taps.weights.resize(size * taps.stride);
  std::vector<double> exact(taps.stride);
  for (int64_t i = 0; i < size; ++i) {
    const double center = (i + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t end = std::min<int64_t>(source_size, static_cast<int64_t>(center + support + 0.5));
    double sum = 0;
    for (int64_t j = first; j < end; ++j) {
      exact[j - first] = Evaluate(filter, (j - center + 0.5) * (1 / stretch));
      sum += exact[j - first];
    }
    taps.spans[i] = {first, end - first};
    for (int64_t j = 0; j < end - first; ++j) {
      const double weight = (sum != 0 ? exact[j] / sum : exact[j]) * (1 << kPrecisionBits);
      taps.weights[i * taps.stride + j] = static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  }
  return taps;
}

uint8_t ToByte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

// Rows [first_row, first_row + rows) of `image`, `width` wide.
Image ResizeRows(const Image& image, int64_t width, int64_t first_row, int64_t rows, ResizeFilter filter) {
  const Taps taps = MakeTaps(image.width, width, filter);
  Image result{width, rows, std::vector<uint8_t>(3 * width * rows)};
  for (int64_t y = 0; y < rows; ++y) {
    const uint8_t* source = &image.pixels[3 * image.width * (first_row + y)];
    uint8_t* out = &result.pixels[3 * width * y];
    for (int64_t x = 0; x < width; ++x, out += 3) {
      const Taps::Span span = taps.spans[x];
      const uint8_t* pixel = source + 3 * span.first;
      const int32_t* weight = &taps.weights[x * taps.stride];
      int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (int64_t j = 0; j < span.count; ++j, pixel += 3) {
        red += weight[j] * pixel[0];
        green += weight[j] * pixel[1];
        blue += weight[j] * pixel[2];
      }
      out[0] = ToByte(red);
      out[1] = ToByte(green);
      out[2] = ToByte(blue);
    }
  }
  return result;
}

// `image` is the band of a taller picture that starts at its row `first_row`; taps count rows of the whole picture.
Image ResizeColumns(const Image& image, const Taps& taps, int64_t first_row) {
  const int64_t height = taps.spans.size();
  const int64_t samples = 3 * image.width;
  Image result{image.width, height, std::vector<uint8_t>(samples * height)};
  std::vector<int32_t> sums(samples);
  for (int64_t y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const Taps::Span span = taps.spans[y];
    for (int64_t j = 0; j < span.count; ++j) {
      const uint8_t* source = &image.pixels[samples * (span.first - first_row + j)];
      const int32_t weight = taps.weights[y * taps.stride + j];
      for (int64_t x = 0; x < samples; ++x) sums[x] += weight * source[x];
    }
    uint8_t* out = &result.pixels[samples * y];
    for (int64_t x = 0; x < samples; ++x) out[x] = ToByte(sums[x]);
  }
  return result;
}

}  // namespace

Image Resize(const Image& image, int64_t width, int64_t height, ResizeFilter filter) {
  assert(image.width > 0 && image.height > 0 && width > 0 && height > 0);
  if (height == image.height) {
    return width == image.width ? image : ResizeRows(image, width, 0, height, filter);
  }
  const Taps taps = MakeTaps(image.height, height, filter);
  if (width == image.width) return ResizeColumns(image, taps, 0);
  const int64_t first_row = taps.spans.front().first;
  const int64_t rows = taps.spans.back().first + taps.spans.back().count - first_row;
  return ResizeColumns(ResizeRows(image, width, first_row, rows, filter), taps, first_row);
}

Image Crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height) {
  assert(left >= 0 && top >= 0 && width > 0 && height > 0 && left + width <= image.width &&
         top + height <= image.height);
  Image result{width, height, std::vector<uint8_t>(3 * width * height)};
  for (int64_t y = 0; y < height; ++y) {
    std::memcpy(&result.pixels[3 * width * y], &image.pixels[3 * (image.width * (top + y) + left)], 3 * width);
  }
  return result;
}

}  // namespace blazon::vision
