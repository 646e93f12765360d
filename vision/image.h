// An RGB picture in memory.
#pragma once

#include <cstdint>
#include <vector>

namespace blazon::vision {

struct Image {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<uint8_t> pixels;  // RGB, row-major, 3 * width * height bytes
};

}  // namespace blazon::vision
