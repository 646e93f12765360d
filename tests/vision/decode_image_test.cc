// Picture files of every kind against Pillow's pixels, and every kind of bad file against a refusal that says what to
// do.
#include "vision/decode_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "tests/vision/test_images.h"

namespace blazon::vision {
namespace {

using ::testing::HasSubstr;

std::string Fixture(const std::string& name) { return ReadFile(Goldens() / "images" / name); }

// Files that have Pillow's pixels beside them.
std::vector<std::string> Readable() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Goldens() / "images")) {
    if (entry.path().extension() == ".ppm") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The message of the refusal; fails the test when there is none.
std::string Refusal(std::string_view bytes, const DecodeLimits& limits = {}) {
  const absl::StatusOr<Image> image = DecodeImage(bytes, limits);
  EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument) << image.status();
  return std::string(image.status().message());
}

void PutLittle32(std::string& bytes, size_t at, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> 8 * i);
}

TEST(DecodeImage, EqualsPillow) {
  const std::vector<std::string> names = Readable();
  ASSERT_GE(names.size(), 40u);
  for (const std::string& name : names) {
    const absl::StatusOr<Image> image = DecodeImage(Fixture(name));
    ASSERT_TRUE(image.ok()) << name << ": " << image.status();
    // Lossy formats may round differently in another version of their library; OpenCV leaves the low bits of 5 and 6
    // bit samples at 0.
    const bool lossy = name.ends_with(".jpg") || name.starts_with("lossy");
    const bool coarse = name == "rgb_555.bmp" || name == "rgb_565.bmp";
    const int difference = LargestDifference(*image, ReadPpm(Goldens() / "images" / (name + ".ppm")));
    EXPECT_LE(difference, coarse  ? 7
                          : lossy ? 3
                                  : 1)
        << name << "; regenerate with tests/reference/make_image_goldens.py";
    std::printf("%-28s %d\n", name.c_str(), difference);
  }
}

TEST(DecodeImage, TurnsEachOrientationUpright) {
  const absl::StatusOr<Image> upright = DecodeImage(Fixture("orientation_1.jpg"));
  ASSERT_TRUE(upright.ok());
  for (int orientation = 2; orientation <= 8; ++orientation) {
    const absl::StatusOr<Image> image = DecodeImage(Fixture("orientation_" + std::to_string(orientation) + ".jpg"));
    ASSERT_TRUE(image.ok());
    EXPECT_EQ(image->width, orientation < 5 ? upright->width : upright->height);
    EXPECT_NE(image->pixels, upright->pixels) << orientation;
  }
}

TEST(DecodeImage, RefusesWhatIsNoPicture) {
  EXPECT_THAT(Refusal(""),
              HasSubstr("The image is empty: it has 0 bytes. Send the bytes of a JPEG, PNG, WebP or BMP file."));
  for (const std::string bytes : {"hello", "\xff", "\xff\xd8", "RIFF", "RIFF\1\0\0\0WAVE", "{}", "B"}) {
    EXPECT_THAT(Refusal(bytes), HasSubstr("JPEG, PNG, WebP and BMP can be read. Convert it to one of these.")) << bytes;
  }
  EXPECT_THAT(Refusal(Fixture("still.gif")), HasSubstr("is a GIF file"));
  EXPECT_THAT(Refusal(Fixture("still.tiff")), HasSubstr("is a TIFF file"));
  EXPECT_THAT(Refusal("%PDF-1.7"), HasSubstr("is a PDF file"));
}

TEST(DecodeImage, RefusesAnimation) {
  EXPECT_EQ(Refusal(Fixture("animated.webp")),
            "The WebP image is animated; the limit is one frame. Send a single frame as a still image.");
  EXPECT_EQ(Refusal(Fixture("animated.png")),
            "The PNG image is animated; the limit is one frame. Send a single frame as a still image.");
}

TEST(DecodeImage, RefusesAHugePictureFromItsHeader) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Refusal(Fixture("huge.png")),
            "The PNG image is 32768 x 32768 pixels; the limit is 32767 a side. Send a smaller image.");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(100));
  DecodeLimits sides;
  sides.max_side = 1 << 20;
  EXPECT_EQ(Refusal(Fixture("huge.png"), sides),
            "The PNG image is 32768 x 32768 pixels; the limit is 67108864 in all. Send a smaller image.");
}

TEST(DecodeImage, RefusesWhatIsOverALimit) {
  const std::vector<std::string> kinds = {"baseline.jpg",       "rgb.png", "lossy.webp", "lossless.webp",
                                          "orientation_8.webp", "rgb.bmp"};
  for (const std::string& name : kinds) {
    const std::string bytes = Fixture(name);
    DecodeLimits exact{static_cast<int64_t>(bytes.size()), 37 * 26, 37};
    EXPECT_TRUE(DecodeImage(bytes, exact).ok()) << name;
    DecodeLimits limits = exact;
    limits.max_bytes -= 1;
    EXPECT_THAT(Refusal(bytes, limits),
                HasSubstr("bytes; the limit is " + std::to_string(limits.max_bytes) + ". Send a smaller"));
    limits = exact;
    limits.max_side -= 1;
    EXPECT_THAT(Refusal(bytes, limits), HasSubstr("is 37 x 26 pixels; the limit is 36 a side. Send a smaller image."));
    limits = exact;
    limits.max_pixels -= 1;
    EXPECT_THAT(Refusal(bytes, limits), HasSubstr("is 37 x 26 pixels; the limit is 961 in all. Send a smaller image."));
  }
}

TEST(DecodeImage, RefusesEveryTruncation) {
  for (const std::string& name : Readable()) {
    const std::string bytes = Fixture(name);
    for (size_t size = 1; size<bytes.size(); size += bytes.size()> 2000 ? 7 : 1) {
      const absl::StatusOr<Image> image = DecodeImage(std::string_view(bytes).substr(0, size));
      ASSERT_FALSE(image.ok()) << name << " cut to " << size << " of " << bytes.size() << " bytes was read";
      ASSERT_THAT(std::string(image.status().message()), ::testing::AnyOf(HasSubstr("Send "), HasSubstr("Convert ")))
          << name;
    }
    const std::string half = Refusal(std::string_view(bytes).substr(0, bytes.size() / 2));
    EXPECT_THAT(half, HasSubstr("is truncated: it ends after " + std::to_string(bytes.size() / 2) + " bytes, before"))
        << name;
  }
}

TEST(DecodeImage, RefusesABmpThatLies) {
  std::string bytes = Fixture("rgb.bmp");
  const std::string good = bytes;
  PutLittle32(bytes, 18, 20000);
  EXPECT_THAT(Refusal(bytes), HasSubstr("bytes that its header announces. Send the whole file."));
  bytes = good;
  PutLittle32(bytes, 22, 0x80000000);
  EXPECT_THAT(Refusal(bytes), HasSubstr("37 x 2147483648 pixels; the limit is 32767 a side"));
  bytes = good;
  PutLittle32(bytes, 18, 0xffffffff);
  EXPECT_THAT(Refusal(bytes), HasSubstr("-1 x 26 pixels; the least is 1 x 1"));
  bytes = good;
  PutLittle32(bytes, 10, 20);
  EXPECT_THAT(Refusal(bytes), HasSubstr("its pixels begin inside its header"));
  bytes = good;
  PutLittle32(bytes, 10, 0xfffffff0);
  EXPECT_THAT(Refusal(bytes), HasSubstr("is truncated"));
  bytes = good;
  PutLittle32(bytes, 14, 41);
  EXPECT_THAT(Refusal(bytes), HasSubstr("its header has an unknown length"));
  EXPECT_THAT(Refusal(Fixture("run_length.bmp")),
              HasSubstr("is compressed, which is not supported. Save it as an uncompressed BMP"));
}

// A small file of many scans makes the decoder walk all its pixels once a scan.
TEST(DecodeImage, RefusesAJpegOfTooManyScans) {
  const std::string bytes = Fixture("progressive.jpg");
  const size_t last = bytes.rfind("\xff\xda");
  const std::string scan = bytes.substr(last, bytes.size() - 2 - last);
  std::string many = bytes.substr(0, bytes.size() - 2);
  for (int i = 0; i < 200; ++i) many += scan;
  many += "\xff\xd9";
  EXPECT_EQ(Refusal(many),
            "The JPEG image has more than 100 scans, the limit for its size. Save it as a baseline JPEG.");
}

TEST(DecodeImage, RefusesAJpegWithoutPixels) {
  EXPECT_THAT(Refusal("\xff\xd8\xff\xd9"), HasSubstr("it has no picture data. Send an intact file"));
}

TEST(DecodeImage, RefusesADamagedPng) {
  std::string bytes = Fixture("rgb.png");
  bytes[bytes.find("IDAT") + 30] ^= 0x55;
  EXPECT_EQ(Refusal(bytes),
            "The PNG image is damaged: its pixels cannot be decoded. Send an intact file, or save the picture again.");
}

// Whatever the bytes, the answer is a picture within the limits or a refusal.
TEST(DecodeImage, SurvivesMutation) {
  constexpr int kMutations = 300;
  std::mt19937 random(20);
  int read = 0, refused = 0;
  for (const std::string& name : Readable()) {
    const std::string bytes = Fixture(name);
    for (int i = 0; i < kMutations; ++i) {
      std::string mutated = bytes;
      const int changes = 1 + random() % 8;
      for (int j = 0; j < changes; ++j) {
        // Headers more often than the rest.
        const size_t at = random() % (random() % 2 ? mutated.size() : std::min<size_t>(mutated.size(), 64));
        switch (random() % 4) {
          case 0:
            mutated[at] ^= 1 << random() % 8;
            break;
          case 1:
            mutated[at] = static_cast<char>(random());
            break;
          case 2:
            mutated[at] = random() % 2 ? '\xff' : '\0';
            break;
          case 3:
            mutated.erase(at, 1 + random() % 4);
            if (mutated.empty()) mutated = "x";
            break;
        }
      }
      DecodeLimits limits;
      limits.max_pixels = 1 << 20;
      const absl::StatusOr<Image> image = DecodeImage(mutated, limits);
      if (image.ok()) {
        ASSERT_EQ(static_cast<int64_t>(image->pixels.size()), 3 * image->width * image->height) << name;
        ASSERT_LE(image->width * image->height, limits.max_pixels) << name;
        ++read;
      } else {
        ASSERT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument) << name << ": " << image.status();
        ++refused;
      }
    }
  }
  std::printf("mutated files: %d read, %d refused\n", read, refused);
  EXPECT_GT(read, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace blazon::vision
