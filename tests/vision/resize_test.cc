// Resizing against Pillow's pixels.
#include "vision/resize.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "tests/vision/test_images.h"

namespace blazon::vision {
namespace {

constexpr int kToleratedLevels = 1;  // levels

TEST(Resize, EqualsPillow) {
  const Image source = ReadPpm(Goldens() / "resize/source.ppm");
  constexpr std::tuple<const char*, ResizeFilter> kFilters[] = {{"box", ResizeFilter::kBox},
                                                                {"bilinear", ResizeFilter::kBilinear},
                                                                {"bicubic", ResizeFilter::kBicubic},
                                                                {"lanczos", ResizeFilter::kLanczos}};
  constexpr std::tuple<int, int> kSizes[] = {{13, 7}, {41, 11}, {17, 29}, {64, 50}, {5, 60}, {1, 1}, {40, 28}};
  int largest = 0;
  for (const auto& [name, filter] : kFilters) {
    for (const auto& [width, height] : kSizes) {
      const std::string file = std::string(name) + "_" + std::to_string(width) + "x" + std::to_string(height) + ".ppm";
      const int difference =
          LargestDifference(Resize(source, width, height, filter), ReadPpm(Goldens() / "resize" / file));
      EXPECT_LE(difference, kToleratedLevels) << file << "; regenerate with tests/reference/make_image_goldens.py";
      largest = std::max(largest, difference);
    }
  }
  std::printf("resize: largest difference to Pillow over 28 pictures: %d levels\n", largest);
}

TEST(Resize, KeepsAPictureOfTheRightSize) {
  const Image source = ReadPpm(Goldens() / "resize/source.ppm");
  EXPECT_EQ(LargestDifference(Resize(source, source.width, source.height, ResizeFilter::kBicubic), source), 0);
}

TEST(Resize, KeepsAFlatColourFlat) {
  const Image flat{1000, 3, std::vector<uint8_t>(9000, 201)};
  for (const ResizeFilter filter :
       {ResizeFilter::kBox, ResizeFilter::kBilinear, ResizeFilter::kBicubic, ResizeFilter::kLanczos}) {
    const Image resized = Resize(flat, 7, 300, filter);
    EXPECT_EQ(LargestDifference(resized, {7, 300, std::vector<uint8_t>(6300, 201)}), 0);
  }
}

TEST(Crop, TakesTheRectangle) {
  const Image image{3, 2, {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5}};
  EXPECT_EQ(Crop(image, 1, 1, 2, 1).pixels, (std::vector<uint8_t>{4, 4, 4, 5, 5, 5}));
}

}  // namespace
}  // namespace blazon::vision
