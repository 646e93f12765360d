#include "vision/pixel_shuffle.h"

namespace blazon::vision {

at::Tensor PixelShuffle(const at::Tensor& x, int64_t rows, int64_t columns, int64_t factor) {
  const int64_t pictures = x.size(0), width = x.size(2);
  return x.reshape({pictures, rows / factor, factor, columns / factor, factor, width})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({pictures, rows / factor * (columns / factor), factor * factor * width});
}

}  // namespace blazon::vision
