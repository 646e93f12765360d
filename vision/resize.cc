#include "vision/resize.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

namespace blazon::vision {
namespace {

constexpr int kMaxPrecisionBits = 22;  // 8-bit pixels times weights below 2, summed in 32 bits
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

// The weights that make one output sample, for every output sample of a part of a line.
struct Taps {
  struct Span {
    int64_t first;  // source sample of the first weight
    int64_t count;
  };
  int precision_bits;
  int64_t stride;  // weights[i * stride] is the first of output sample i
  std::vector<Span> spans;
  std::vector<int32_t> weights;
};

// As many bits as leave the largest weight below 2^15 (ATen 2.11, UpSampleKernel.cpp).
int TorchvisionPrecision(double largest_weight) {
  int bits = 0;
  while (bits < kMaxPrecisionBits && static_cast<int>(0.5 + largest_weight * (1 << (bits + 1))) < 1 << 15) ++bits;
  return bits;
}

// Of the `size` samples of a whole line, those in [begin, begin + count).
Taps MakeTaps(int64_t source_size, int64_t size, int64_t begin, int64_t count, ResizeFilter filter,
              ResizeArithmetic arithmetic) {
  const double scale = static_cast<double>(source_size) / size;
  const double stretch = std::max(scale, 1.0);
  const double support = Support(filter) * stretch;
  Taps taps;
  taps.stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  taps.spans.resize(count);
  std::vector<double> exact(taps.stride);
  // The normalised weights of output sample i, in `exact`.
  const auto weigh = [&](int64_t i) {
    const double center = (i + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t end = std::min<int64_t>(source_size, static_cast<int64_t>(center + support + 0.5));
    double sum = 0;
    for (int64_t j = first; j < end; ++j) {
      exact[j - first] = Evaluate(filter, (j - center + 0.5) * (1 / stretch));
      sum += exact[j - first];
    }
    for (int64_t j = 0; j < end - first && sum != 0; ++j) exact[j] /= sum;
    return Taps::Span{first, end - first};
  };
  taps.precision_bits = kMaxPrecisionBits;
  if (arithmetic == ResizeArithmetic::kTorchvision) {
    double largest = 0;  // of the whole line, whatever part of it is asked for
    for (int64_t i = 0; i < size; ++i) {
      const Taps::Span span = weigh(i);
      largest = std::max(largest, *std::max_element(exact.begin(), exact.begin() + span.count));
    }
    taps.precision_bits = TorchvisionPrecision(largest);
  }
  taps.weights.resize(count * taps.stride);
  for (int64_t i = 0; i < count; ++i) {
    taps.spans[i] = weigh(begin + i);
    for (int64_t j = 0; j < taps.spans[i].count; ++j) {
      const double weight = exact[j] * (1 << taps.precision_bits);
      taps.weights[i * taps.stride + j] = static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  }
  return taps;
}

uint8_t ToByte(int32_t sum, int precision_bits) {
  return static_cast<uint8_t>(std::clamp(sum >> precision_bits, 0, 255));
}

// Rows [first_row, first_row + rows) of `image`, resized to the columns of `taps`.
Image ResizeRows(const Image& image, const Taps& taps, int64_t first_row, int64_t rows) {
  const int64_t width = taps.spans.size();
  const int32_t half = 1 << (taps.precision_bits - 1);
  Image result{width, rows, std::vector<uint8_t>(3 * width * rows)};
  for (int64_t y = 0; y < rows; ++y) {
    const uint8_t* source = &image.pixels[3 * image.width * (first_row + y)];
    uint8_t* out = &result.pixels[3 * width * y];
    for (int64_t x = 0; x < width; ++x, out += 3) {
      const Taps::Span span = taps.spans[x];
      const uint8_t* pixel = source + 3 * span.first;
      const int32_t* weight = &taps.weights[x * taps.stride];
      int32_t red = half, green = half, blue = half;
      for (int64_t j = 0; j < span.count; ++j, pixel += 3) {
        red += weight[j] * pixel[0];
        green += weight[j] * pixel[1];
        blue += weight[j] * pixel[2];
      }
      out[0] = ToByte(red, taps.precision_bits);
      out[1] = ToByte(green, taps.precision_bits);
      out[2] = ToByte(blue, taps.precision_bits);
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
    std::fill(sums.begin(), sums.end(), 1 << (taps.precision_bits - 1));
    const Taps::Span span = taps.spans[y];
    for (int64_t j = 0; j < span.count; ++j) {
      const uint8_t* source = &image.pixels[samples * (span.first - first_row + j)];
      const int32_t weight = taps.weights[y * taps.stride + j];
      for (int64_t x = 0; x < samples; ++x) sums[x] += weight * source[x];
    }
    uint8_t* out = &result.pixels[samples * y];
    for (int64_t x = 0; x < samples; ++x) out[x] = ToByte(sums[x], taps.precision_bits);
  }
  return result;
}

bool Within(const Rectangle& part, int64_t width, int64_t height) {
  return part.left >= 0 && part.top >= 0 && part.width > 0 && part.height > 0 && part.left + part.width <= width &&
         part.top + part.height <= height;
}

}  // namespace

Image Resize(const Image& image, int64_t width, int64_t height, ResizeFilter filter, ResizeArithmetic arithmetic) {
  return ResizeWindow(image, width, height, {0, 0, width, height}, filter, arithmetic);
}

Image ResizeWindow(const Image& image, int64_t width, int64_t height, const Rectangle& window, ResizeFilter filter,
                   ResizeArithmetic arithmetic) {
  assert(image.width > 0 && image.height > 0 && Within(window, width, height));
  // A side that keeps its length is cut before the other is resized.
  if (width == image.width && height == image.height) {
    return window == Rectangle{0, 0, width, height} ? image
                                                    : Crop(image, window.left, window.top, window.width, window.height);
  }
  if (width == image.width && window.width < width) {
    const Image band = Crop(image, window.left, 0, window.width, image.height);
    return ResizeWindow(band, window.width, height, {0, window.top, window.width, window.height}, filter, arithmetic);
  }
  const auto columns = [&] { return MakeTaps(image.width, width, window.left, window.width, filter, arithmetic); };
  if (height == image.height) return ResizeRows(image, columns(), window.top, window.height);
  const Taps taps = MakeTaps(image.height, height, window.top, window.height, filter, arithmetic);
  if (width == image.width) return ResizeColumns(image, taps, 0);
  const bool columns_first = arithmetic == ResizeArithmetic::kPillow13 &&
                             image.height - height > std::max<int64_t>(0, 2 * (image.width - width));
  if (columns_first) return ResizeRows(ResizeColumns(image, taps, 0), columns(), 0, window.height);
  const int64_t first_row = taps.spans.front().first;
  const int64_t rows = taps.spans.back().first + taps.spans.back().count - first_row;
  return ResizeColumns(ResizeRows(image, columns(), first_row, rows), taps, first_row);
}

Image Crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height) {
  assert(Within({left, top, width, height}, image.width, image.height));
  Image result{width, height, std::vector<uint8_t>(3 * width * height)};
  for (int64_t y = 0; y < height; ++y) {
    std::memcpy(&result.pixels[3 * width * y], &image.pixels[3 * (image.width * (top + y) + left)], 3 * width);
  }
  return result;
}

Image Frame(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height,
            const std::array<uint8_t, 3>& colour) {
  assert(Within({left, top, image.width, image.height}, width, height));
  Image result{width, height, std::vector<uint8_t>(3 * width * height)};
  for (size_t i = 0; i < result.pixels.size(); i += 3) std::memcpy(&result.pixels[i], colour.data(), 3);
  for (int64_t y = 0; y < image.height; ++y) {
    std::memcpy(&result.pixels[3 * (width * (top + y) + left)], &image.pixels[3 * image.width * y], 3 * image.width);
  }
  return result;
}

}  // namespace blazon::vision
