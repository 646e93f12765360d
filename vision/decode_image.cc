#include "vision/decode_image.h"

#include <new>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "vision/image_header.h"

namespace blazon::vision {
namespace {

// A sample of `kMax` levels blended on white, in 8 bits. alpha: 0 (nothing) to kMax.
template <uint64_t kMax>
uint8_t BlendOnWhite(uint64_t sample, uint64_t alpha) {
  const uint64_t blended = sample * alpha + kMax * (kMax - alpha);  // of kMax * kMax
  return static_cast<uint8_t>((blended * 255 + kMax * kMax / 2) / (kMax * kMax));
}

// `decoded`: grey, BGR or BGRA of samples up to kMax.
template <typename Sample, uint64_t kMax>
void ConvertPixels(const cv::Mat& decoded, int transparent_grey, Image& image) {
  uint8_t* out = image.pixels.data();
  for (int y = 0; y < decoded.rows; ++y) {
    const Sample* in = decoded.ptr<Sample>(y);
    if (decoded.channels() == 1) {
      for (int x = 0; x < decoded.cols; ++x, ++in, out += 3) {
        out[0] = out[1] = out[2] = *in == transparent_grey ? 255 : BlendOnWhite<kMax>(*in, kMax);
      }
    } else if (decoded.channels() == 3) {
      for (int x = 0; x < decoded.cols; ++x, in += 3, out += 3) {
        for (int channel = 0; channel < 3; ++channel) {
          out[channel] = kMax == 255 ? in[2 - channel] : BlendOnWhite<kMax>(in[2 - channel], kMax);
        }
      }
    } else {
      for (int x = 0; x < decoded.cols; ++x, in += 4, out += 3) {
        for (int channel = 0; channel < 3; ++channel) out[channel] = BlendOnWhite<kMax>(in[2 - channel], in[3]);
      }
    }
  }
}

// The picture as it was held when it was taken. EXIF numbers the eight ways by where the first row and column lie.
Image Upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool transposed = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image result{transposed ? image.height : image.width, transposed ? image.width : image.height, {}};
  result.pixels.resize(image.pixels.size());
  uint8_t* out = result.pixels.data();
  for (int64_t y = 0; y < result.height; ++y) {
    for (int64_t x = 0; x < result.width; ++x, out += 3) {
      int64_t from_x = transposed ? y : x, from_y = transposed ? x : y;
      if (flip_x) from_x = image.width - 1 - from_x;
      if (flip_y) from_y = image.height - 1 - from_y;
      const uint8_t* in = &image.pixels[3 * (from_y * image.width + from_x)];
      std::copy(in, in + 3, out);
    }
  }
  return result;
}

absl::Status Undecodable(const ImageHeader& header) {
  return absl::InvalidArgumentError(
      absl::StrCat("The ", ImageFormatName(header.format),
                   " image is damaged: its pixels cannot be decoded. Send an intact file, or save the picture again."));
}

absl::StatusOr<Image> DecodePixels(std::string_view bytes, const ImageHeader& header) {
  static const bool quiet = (cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT), true);
  static_cast<void>(quiet);
  cv::Mat decoded;
  try {
    const cv::Mat file(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<char*>(bytes.data()));
    decoded = cv::imdecode(file, cv::IMREAD_UNCHANGED);  // unchanged: alpha and 16 bits stay, no rotation
  } catch (const cv::Exception&) {
    return Undecodable(header);
  }
  if (decoded.cols != header.width || decoded.rows != header.height) return Undecodable(header);
  const int channels = decoded.channels();
  if (channels != 1 && channels != 3 && channels != 4) return Undecodable(header);
  Image image{header.width, header.height, std::vector<uint8_t>(3 * header.width * header.height)};
  int transparent_grey = -1;
  if (header.transparent_grey.has_value()) {
    const int levels = (1 << header.bit_depth) - 1;  // samples of fewer than 8 bits arrive spread over 0 to 255
    transparent_grey = header.bit_depth < 8 ? *header.transparent_grey * 255 / levels : *header.transparent_grey;
  }
  if (decoded.depth() == CV_8U) {
    ConvertPixels<uint8_t, 255>(decoded, transparent_grey, image);
  } else if (decoded.depth() == CV_16U) {
    ConvertPixels<uint16_t, 65535>(decoded, transparent_grey, image);
  } else {
    return Undecodable(header);
  }
  return image;
}

}  // namespace

absl::StatusOr<Image> DecodeImage(std::string_view bytes, const DecodeLimits& limits) {
  try {
    absl::StatusOr<ImageHeader> header = ReadImageHeader(bytes, limits);
    if (!header.ok()) return header.status();
    absl::StatusOr<Image> image = DecodePixels(header->essential.empty() ? bytes : header->essential, *header);
    if (!image.ok()) return image.status();
    return Upright(*std::move(image), header->orientation);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "There is not enough memory to decode the image. Try again later, or send a smaller one.");
  }
}

}  // namespace blazon::vision
