#include "vision/image_header.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::vision {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n"sv;
constexpr int64_t kMaxJpegScans = 100;
constexpr int64_t kMaxFullScans = 16;  // scans of a picture of the largest size: a progressive JPEG has about 10

uint32_t Byte(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }
uint32_t Big16(std::string_view bytes, size_t at) { return Byte(bytes, at) << 8 | Byte(bytes, at + 1); }
uint32_t Big32(std::string_view bytes, size_t at) { return Big16(bytes, at) << 16 | Big16(bytes, at + 2); }
uint32_t Little16(std::string_view bytes, size_t at) { return Byte(bytes, at + 1) << 8 | Byte(bytes, at); }
uint32_t Little24(std::string_view bytes, size_t at) { return Byte(bytes, at + 2) << 16 | Little16(bytes, at); }
uint32_t Little32(std::string_view bytes, size_t at) { return Little16(bytes, at + 2) << 16 | Little16(bytes, at); }

absl::Status Truncated(ImageFormat format, std::string_view bytes, const std::string& missing) {
  return absl::InvalidArgumentError(absl::StrCat("The ", ImageFormatName(format), " image is truncated: it ends after ",
                                                 bytes.size(), " bytes, before ", missing, ". Send the whole file."));
}

absl::Status Damaged(ImageFormat format, const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("The ", ImageFormatName(format), " image is damaged: ", what,
                                                 ". Send an intact file, or save the picture again."));
}

absl::Status Unsupported(ImageFormat format, const char* what, const char* remedy) {
  return absl::InvalidArgumentError(
      absl::StrCat("The ", ImageFormatName(format), " image ", what, ", which is not supported. ", remedy));
}

absl::Status Animated(ImageFormat format) {
  return absl::InvalidArgumentError(
      absl::StrCat("The ", ImageFormatName(format),
                   " image is animated; the limit is one frame. Send a single frame as a still image."));
}

absl::Status CheckSize(const ImageHeader& header, const DecodeLimits& limits) {
  const std::string size =
      absl::StrCat("The ", ImageFormatName(header.format), " image is ", header.width, " x ", header.height, " pixels");
  if (header.width < 1 || header.height < 1)
    return absl::InvalidArgumentError(absl::StrCat(size, "; the least is 1 x 1. Send an intact file."));
  if (header.width > limits.max_side || header.height > limits.max_side) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, "; the limit is ", limits.max_side, " a side. Send a smaller image."));
  }
  if (header.width > limits.max_pixels / header.height) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, "; the limit is ", limits.max_pixels, " in all. Send a smaller image."));
  }
  return absl::OkStatus();
}

// JPEG (ITU-T T.81, annex B): segments that begin with a marker; after a start of scan, coded data up to the next
// marker.
absl::StatusOr<ImageHeader> ReadJpeg(std::string_view bytes, const DecodeLimits& limits) {
  constexpr ImageFormat kFormat = ImageFormat::kJpeg;
  ImageHeader header(kFormat);
  bool has_frame = false;
  int64_t scans = 0;
  size_t at = 2;
  while (true) {
    at = bytes.find('\xff', at);  // libjpeg, too, skips stray bytes between segments
    at = at == std::string_view::npos ? at : bytes.find_first_not_of('\xff', at);
    if (at == std::string_view::npos) return Truncated(kFormat, bytes, "its end marker");
    const uint32_t marker = Byte(bytes, at++);
    if (marker == 0xd9) break;  // end of image
    // Coded data goes on, or no content.
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd7)) continue;
    if (marker == 0xd8) return Damaged(kFormat, "a second picture begins inside the first");
    if (bytes.size() - at < 2) return Truncated(kFormat, bytes, "the end of a segment");
    const size_t length = Big16(bytes, at);
    if (length < 2) return Damaged(kFormat, "a segment is shorter than its own length");
    if (length > bytes.size() - at) return Truncated(kFormat, bytes, "the end of a segment");
    const std::string_view segment = bytes.substr(at + 2, length - 2);
    at += length;

    const bool is_frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (is_frame) {
      if (has_frame) return Damaged(kFormat, "it has more than one frame");
      if (marker > 0xc2)
        return Unsupported(kFormat, "is lossless, hierarchical or arithmetic-coded", "Save it as a baseline JPEG.");
      if (segment.size() < 6) return Damaged(kFormat, "its frame header is too short");
      if (Byte(segment, 0) != 8)
        return Unsupported(kFormat, "has more than 8 bits a sample", "Save it with 8 bits a sample.");
      header.height = Big16(segment, 1);
      header.width = Big16(segment, 3);
      const uint32_t components = Byte(segment, 5);
      if (components != 1 && components != 3 && components != 4) {
        return Unsupported(kFormat, "has neither 1, 3 nor 4 colour components", "Save it as RGB or grey.");
      }
      if (absl::Status status = CheckSize(header, limits); !status.ok()) return status;
      has_frame = true;
    } else if (marker == 0xe1 && segment.starts_with("Exif\0\0"sv)) {
      header.orientation = ReadExifOrientation(segment);
    } else if (marker == 0xda) {
      if (!has_frame) return Damaged(kFormat, "a scan comes before the frame header");
      ++scans;
      const int64_t most = std::min(
          kMaxJpegScans, std::max<int64_t>(1, kMaxFullScans * limits.max_pixels / (header.width * header.height)));
      if (scans > most) {
        return absl::InvalidArgumentError(absl::StrCat("The JPEG image has more than ", most,
                                                       " scans, the limit for its size. Save it as a baseline JPEG."));
      }
    }
  }
  if (scans == 0) return Damaged(kFormat, "it has no picture data");
  return header;
}

// PNG (ISO/IEC 15948): chunks of length, type, data and checksum. The checksums are left to the decoder.
absl::StatusOr<ImageHeader> ReadPng(std::string_view bytes, const DecodeLimits& limits) {
  constexpr ImageFormat kFormat = ImageFormat::kPng;
  ImageHeader header(kFormat);
  header.essential = std::string(kPngSignature);
  uint32_t colour_type = 0;
  bool has_data = false;
  for (size_t at = kPngSignature.size();;) {
    if (bytes.size() - at < 12) return Truncated(kFormat, bytes, "its end chunk");
    const size_t length = Big32(bytes, at);
    if (length > 0x7fffffff) return Damaged(kFormat, "a chunk is longer than the format allows");
    const std::string_view type = bytes.substr(at + 4, 4);
    const bool is_first = at == kPngSignature.size();
    if (is_first && (type != "IHDR" || length != 13)) return Damaged(kFormat, "it does not begin with a header chunk");
    if (length > bytes.size() - at - 12) return Truncated(kFormat, bytes, "the end of a chunk");
    const std::string_view data = bytes.substr(at + 8, length);
    const std::string_view chunk = bytes.substr(at, length + 12);
    at += chunk.size();

    if (is_first) {
      header.width = Big32(data, 0);
      header.height = Big32(data, 4);
      header.bit_depth = Byte(data, 8);
      colour_type = Byte(data, 9);
      if (absl::Status status = CheckSize(header, limits); !status.ok()) return status;
    } else if (type == "acTL" && length >= 4 && Big32(data, 0) > 1) {
      return Animated(kFormat);
    } else if (type == "eXIf") {
      header.orientation = ReadExifOrientation(data);
    } else if (type == "tRNS" && colour_type == 0 && length == 2) {
      header.transparent_grey = Big16(data, 0);
    }
    has_data |= type == "IDAT";
    // Text and profiles may unpack to gigabytes; the picture does not need them.
    if (type == "IHDR" || type == "PLTE" || type == "tRNS" || type == "IDAT" || type == "IEND")
      header.essential.append(chunk);
    if (type == "IEND") break;
  }
  if (!has_data) return Damaged(kFormat, "it has no picture data");
  return header;
}

// WebP (RFC 9649): a RIFF container with one VP8 or VP8L frame and, in the extended form, a header and metadata.
absl::StatusOr<ImageHeader> ReadWebp(std::string_view bytes, const DecodeLimits& limits) {
  constexpr ImageFormat kFormat = ImageFormat::kWebp;
  ImageHeader header(kFormat);
  const size_t end = size_t{Little32(bytes, 4)} + 8;
  if (end > bytes.size()) return Truncated(kFormat, bytes, "the end that its header announces");
  bool has_canvas = false, has_frame = false;
  for (size_t at = 12; at < end;) {
    if (end - at < 8) return Damaged(kFormat, "its last chunk has no header");
    const std::string_view type = bytes.substr(at, 4);
    const size_t length = Little32(bytes, at + 4);
    if (length > end - at - 8) return Damaged(kFormat, "a chunk reaches past the end");
    const std::string_view data = bytes.substr(at + 8, length);
    at += 8 + length + length % 2;

    int64_t width = 0, height = 0;
    if (type == "ANIM" || type == "ANMF") return Animated(kFormat);
    if (type == "EXIF") {
      header.orientation = ReadExifOrientation(data);
      continue;
    } else if (type == "VP8X") {
      if (length < 10) return Damaged(kFormat, "its header is too short");
      if (Byte(data, 0) & 2) return Animated(kFormat);
      has_canvas = true;
      width = Little24(data, 4) + 1;
      height = Little24(data, 7) + 1;
    } else if (type == "VP8 ") {
      if (length < 10 || Little24(data, 3) != 0x2a019d)
        return Damaged(kFormat, "its frame does not begin with a key frame");
      width = Little16(data, 6) & 0x3fff;
      height = Little16(data, 8) & 0x3fff;
    } else if (type == "VP8L") {
      if (length < 5 || Byte(data, 0) != 0x2f) return Damaged(kFormat, "its frame has no signature");
      width = (Little32(data, 1) & 0x3fff) + 1;
      height = (Little32(data, 1) >> 14 & 0x3fff) + 1;
    } else {
      continue;
    }
    if (header.width != 0 && (width != header.width || height != header.height)) {
      return Damaged(kFormat, "its header and its frame differ in size");
    }
    if (type != "VP8X" && has_frame) return Damaged(kFormat, "it has more than one frame");
    has_frame |= type != "VP8X";
    header.width = width;
    header.height = height;
    if (absl::Status status = CheckSize(header, limits); !status.ok()) return status;
  }
  if (!has_frame) return Damaged(kFormat, has_canvas ? "it has no frame" : "it has no picture data");
  return header;
}

// BMP: a file header of 14 bytes, an information header whose length tells its version, a palette, rows of pixels.
absl::StatusOr<ImageHeader> ReadBmp(std::string_view bytes, const DecodeLimits& limits) {
  constexpr ImageFormat kFormat = ImageFormat::kBmp;
  ImageHeader header(kFormat);
  if (bytes.size() < 26) return Truncated(kFormat, bytes, "the end of its header");
  const size_t data_at = Little32(bytes, 10), information = Little32(bytes, 14);
  constexpr size_t kInformationSizes[] = {12, 40, 52, 56, 64, 108, 124};
  if (std::find(std::begin(kInformationSizes), std::end(kInformationSizes), information) ==
      std::end(kInformationSizes)) {
    return Damaged(kFormat, "its header has an unknown length");
  }
  if (bytes.size() < 14 + information) return Truncated(kFormat, bytes, "the end of its header");
  const bool is_old = information == 12;
  header.width = is_old ? Little16(bytes, 18) : int64_t{static_cast<int32_t>(Little32(bytes, 18))};
  header.height = is_old ? Little16(bytes, 20) : int64_t{static_cast<int32_t>(Little32(bytes, 22))};
  if (header.height < 0) header.height = -header.height;  // rows from the top
  if (absl::Status status = CheckSize(header, limits); !status.ok()) return status;
  const int64_t bits = Little16(bytes, is_old ? 24 : 28);
  const uint32_t compression = is_old ? 0 : Little32(bytes, 30);
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    return Damaged(kFormat, "its number of bits a pixel is not 1, 4, 8, 16, 24 or 32");
  }
  if (compression != 0 && !(compression == 3 && (bits == 16 || bits == 32))) {
    return Unsupported(kFormat, "is compressed", "Save it as an uncompressed BMP or as PNG.");
  }
  if (data_at < 14 + information) return Damaged(kFormat, "its pixels begin inside its header");
  const uint64_t needed = data_at + static_cast<uint64_t>((header.width * bits + 31) / 32 * 4) * header.height;
  if (needed > bytes.size())
    return Truncated(kFormat, bytes, absl::StrCat("the ", needed, " bytes that its header announces"));
  return header;
}

// Formats that people send and that are not read, by their first bytes.
const char* ForeignFormat(std::string_view bytes) {
  const std::string_view brand = bytes.substr(0, 12);
  if (bytes.starts_with("GIF8")) return "a GIF";
  if (bytes.starts_with("II*\0"sv) || bytes.starts_with("MM\0*"sv)) return "a TIFF";
  if (bytes.starts_with("%PDF")) return "a PDF";
  if (brand.ends_with("ftypavif")) return "an AVIF";
  if (brand.ends_with("ftypheic") || brand.ends_with("ftypheix") || brand.ends_with("ftypmif1")) return "a HEIC";
  if (bytes.starts_with("\xff\x0a") || bytes.starts_with("\0\0\0\x0cJXL "sv)) return "a JPEG XL";
  if (bytes.starts_with("\0\0\0\x0cjP  "sv)) return "a JPEG 2000";
  if (bytes.starts_with("<svg") || bytes.starts_with("<?xml")) return "an SVG or XML";
  return "not a known picture";
}

}  // namespace

const char* ImageFormatName(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
    case ImageFormat::kBmp:
      return "BMP";
  }
  return "";
}

absl::StatusOr<ImageHeader> ReadImageHeader(std::string_view bytes, const DecodeLimits& limits) {
  if (bytes.empty()) {
    return absl::InvalidArgumentError(
        "The image is empty: it has 0 bytes. Send the bytes of a JPEG, PNG, WebP or BMP file.");
  }
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("The image has ", bytes.size(), " bytes; the limit is ",
                                                   limits.max_bytes,
                                                   ". Send a smaller or more strongly compressed file."));
  }
  if (bytes.starts_with("\xff\xd8\xff")) return ReadJpeg(bytes, limits);
  if (bytes.starts_with(kPngSignature)) return ReadPng(bytes, limits);
  if (bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP") return ReadWebp(bytes, limits);
  if (bytes.starts_with("BM")) return ReadBmp(bytes, limits);
  return absl::InvalidArgumentError(
      absl::StrCat("The image is ", ForeignFormat(bytes),
                   " file; JPEG, PNG, WebP and BMP can be read. Convert it to one of these."));
}

int ReadExifOrientation(std::string_view exif) {
  if (exif.starts_with("Exif\0\0"sv)) exif.remove_prefix(6);
  const bool big = exif.starts_with("MM\0*"sv);
  if (exif.size() < 8 || (!big && !exif.starts_with("II*\0"sv))) return 1;
  const auto read16 = [&](size_t at) { return big ? Big16(exif, at) : Little16(exif, at); };
  const auto read32 = [&](size_t at) { return big ? Big32(exif, at) : Little32(exif, at); };
  const size_t directory = read32(4);
  if (directory > exif.size() - 2) return 1;
  const size_t count = read16(directory);
  for (size_t i = 0; i < count; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > exif.size()) return 1;
    if (read16(entry) != 0x0112) continue;  // Orientation
    const uint32_t value = read16(entry + 2) == 4 ? read32(entry + 8) : read16(entry + 8);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

}  // namespace blazon::vision
