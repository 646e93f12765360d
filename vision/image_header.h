// What a picture file says about itself, read without decoding a pixel. Trusts nothing: every offset is checked against
// the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision/decode_image.h"

namespace blazon::vision {

enum class ImageFormat { kJpeg, kPng, kWebp, kBmp };

const char* ImageFormatName(ImageFormat format);

struct ImageHeader {
  explicit ImageHeader(ImageFormat format) : format(format) {}

  ImageFormat format;
  int64_t width = 0;
  int64_t height = 0;
  int orientation = 1;  // EXIF: 1 as stored ... 8
  // PNG: the grey sample that stands for "nothing here", at the file's bit depth.
  std::optional<uint16_t> transparent_grey;
  int bit_depth = 8;      // PNG: bits a sample
  std::string essential;  // PNG: the file with only the chunks that make its pixels; else empty
};

// Walks the whole container, so that a file that was cut off is refused here and not decoded half.
// kInvalidArgument as DecodeImage.
absl::StatusOr<ImageHeader> ReadImageHeader(std::string_view bytes, const DecodeLimits& limits);

// The orientation (1 to 8) in a TIFF block as EXIF carries it, with or without the leading "Exif\0\0"; 1 when there is
// none.
int ReadExifOrientation(std::string_view exif);

}  // namespace blazon::vision
