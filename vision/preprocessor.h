// A picture to the pixels that a vision tower takes.
//
// Shapes: T tiles of a picture, H x W pixels each.
// Thread safety: const after Create; Run may be called from several threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "absl/status/statusor.h"
#include "vision/image.h"
#include "vision/preprocess_plan.h"

namespace blazon::vision {

struct PreprocessedImage {
  // fp32 [T, 3, H, W], contiguous; red, green, blue; the tiles in the order of the split rule. Without normalisation
  // and rescaling these are the levels 0 to 255.
  at::Tensor pixels;
  // bool [T, H, W], true where there is picture: everywhere, since a picture's tiles are all of one size. A batch is
  // padded by whole tiles, which towers leave out. Undefined unless the config asks for a mask.
  at::Tensor mask;
  // The grid of the tiles beside the whole picture; 0 x 0 when there is only the whole picture.
  int64_t rows = 0, columns = 0;
  Size original;  // of the picture that was given
  Size resized;   // of all of it after the size rule, before it was cut or split
};

class Preprocessor {
 public:
  // kInvalidArgument: what CheckPreprocessorConfig refuses.
  static absl::StatusOr<Preprocessor> Create(const PreprocessorConfig& config);

  // kInvalidArgument: what PlanPreprocessing refuses. kResourceExhausted: there is not enough memory.
  absl::StatusOr<PreprocessedImage> Run(const Image& image) const;

  const PreprocessorConfig& config() const { return config_; }

 private:
  explicit Preprocessor(const PreprocessorConfig& config);

  void Write(const Image& image, float* out) const;

  PreprocessorConfig config_;
  std::array<std::array<float, 256>, 3> values_;  // of each channel and level, rescaled and normalised
};

}  // namespace blazon::vision
