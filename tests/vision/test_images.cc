#include "tests/vision/test_images.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

namespace blazon::vision {

std::filesystem::path Goldens() { return std::filesystem::path(BLAZON_SOURCE_DIR) / "tests/goldens"; }

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path << " is missing; tests/reference/make_image_goldens.py makes it";
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Image ReadPpm(const std::filesystem::path& path) {
  std::istringstream file(ReadFile(path));
  std::string magic;
  Image image;
  int levels = 0;
  file >> magic >> image.width >> image.height >> levels;
  EXPECT_EQ(magic, "P6") << path;
  EXPECT_EQ(levels, 255) << path;
  file.get();
  image.pixels.resize(3 * image.width * image.height);
  file.read(reinterpret_cast<char*>(image.pixels.data()), image.pixels.size());
  EXPECT_TRUE(file) << path;
  return image;
}

int LargestDifference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height || a.pixels.size() != b.pixels.size()) return 256;
  int largest = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

}  // namespace blazon::vision
