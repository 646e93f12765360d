// Bytes of a picture file to an Image: JPEG, PNG, WebP and BMP, nothing else.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision/image.h"

namespace blazon::vision {

struct DecodeLimits {
  int64_t max_bytes = 32 << 20;
  int64_t max_pixels = 64 << 20;  // width * height
  int64_t max_side = 32767;
};

// The first frame as a person sees it: EXIF orientation applied, alpha blended on white, grey, 16-bit and CMYK turned
// to RGB8. Width and height are read from the header and checked before any pixel is decoded.
// kInvalidArgument: empty, truncated, not one of the formats, animated, or over a limit; the message names which and
// the limit.
absl::StatusOr<Image> DecodeImage(std::string_view bytes, const DecodeLimits& limits = {});

}  // namespace blazon::vision
