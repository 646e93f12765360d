#include "service/training/scene_composer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/families/colour_reading.h"

namespace blazon::service {
namespace {

constexpr const char* kShapes[] = {"circle", "square", "triangle", "star", "heart"};

cv::Scalar Jittered(const NamedColour& colour, RandomSource& random) {
  auto vary = [&](int value) { return std::clamp(value + random.Between(-14, 14), int64_t{0}, int64_t{255}); };
  return cv::Scalar(static_cast<double>(vary(colour.blue)), static_cast<double>(vary(colour.green)),
                    static_cast<double>(vary(colour.red)), 255);
}

// A filled shape in one colour, 200 x 200.
cv::Mat DrawShape(const std::string& shape, const NamedColour& colour, RandomSource& random) {
  cv::Mat patch(200, 200, CV_8UC4, cv::Scalar(0, 0, 0, 0));
  const cv::Scalar fill = Jittered(colour, random);
  std::vector<cv::Point> points;
  if (shape == "circle") {
    cv::circle(patch, {100, 100}, 94, fill, cv::FILLED, cv::LINE_AA);
    return patch;
  }
  if (shape == "square") points = {{10, 10}, {190, 10}, {190, 190}, {10, 190}};
  if (shape == "triangle") points = {{100, 8}, {194, 186}, {6, 186}};
  if (shape == "star") {
    for (int i = 0; i < 10; ++i) {
      const double angle = std::numbers::pi * i / 5, radius = i % 2 == 0 ? 96 : 40;
      points.emplace_back(cvRound(100 + radius * std::sin(angle)), cvRound(100 - radius * std::cos(angle)));
    }
  }
  if (shape == "heart") {
    for (int i = 0; i < 60; ++i) {
      const double t = 2 * std::numbers::pi * i / 60;
      const double x = 16 * std::pow(std::sin(t), 3);
      const double y = 13 * std::cos(t) - 5 * std::cos(2 * t) - 2 * std::cos(3 * t) - std::cos(4 * t);
      points.emplace_back(cvRound(100 + 5.7 * x), cvRound(94 - 5.7 * y));
    }
  }
  cv::fillPoly(patch, std::vector<std::vector<cv::Point>>{points}, fill, cv::LINE_AA);
  return patch;
}

// The cut-out at a longer side of `size` pixels, turned and changed. Keeps alpha.
cv::Mat Varied(const cv::Mat& source, double size, Augmentation augmentation, bool keep_colours, RandomSource& random) {
  const bool strong = augmentation == Augmentation::kStrong;
  cv::Mat patch;
  const double scale = size / std::max(source.cols, source.rows);
  const double stretch = strong ? random.Uniform(0.88, 1.12) : 1.0;
  cv::resize(source, patch,
             {std::max(4, cvRound(source.cols * scale * stretch)), std::max(4, cvRound(source.rows * scale))}, 0, 0,
             scale < 1 ? cv::INTER_AREA : cv::INTER_CUBIC);
  if (random.Chance(0.5)) cv::flip(patch, patch, 1);

  const double angle = strong ? random.Uniform(-25, 25) : random.Uniform(-10, 10);
  const double radians = std::abs(angle) * std::numbers::pi / 180;
  const int width = cvCeil(patch.cols * std::cos(radians) + patch.rows * std::sin(radians));
  const int height = cvCeil(patch.rows * std::cos(radians) + patch.cols * std::sin(radians));
  cv::Mat turn = cv::getRotationMatrix2D({patch.cols / 2.0F, patch.rows / 2.0F}, angle, 1);
  turn.at<double>(0, 2) += (width - patch.cols) / 2.0;
  turn.at<double>(1, 2) += (height - patch.rows) / 2.0;
  cv::Mat turned;
  cv::warpAffine(patch, turned, turn, {width, height}, cv::INTER_LINEAR, cv::BORDER_CONSTANT, cv::Scalar(0, 0, 0, 0));

  cv::Mat planes[4], colour;
  cv::split(turned, planes);
  cv::merge(std::vector<cv::Mat>{planes[0], planes[1], planes[2]}, colour);
  const double contrast = strong ? random.Uniform(0.75, 1.25) : random.Uniform(0.9, 1.1);
  const double light = strong ? random.Uniform(-30, 30) : random.Uniform(-12, 12);
  colour.convertTo(colour, CV_8U, contrast, 128 * (1 - contrast) + light);
  if (strong && !keep_colours && random.Chance(0.6)) {
    cv::Mat hsv;
    cv::cvtColor(colour, hsv, cv::COLOR_BGR2HSV);
    const int shift = static_cast<int>(random.Between(-14, 14));  // of 180
    const double saturation = random.Uniform(0.5, 1.3);
    for (int y = 0; y < hsv.rows; ++y) {
      for (int x = 0; x < hsv.cols; ++x) {
        cv::Vec3b& pixel = hsv.at<cv::Vec3b>(y, x);
        pixel[0] = static_cast<uint8_t>((pixel[0] + shift + 180) % 180);
        pixel[1] = cv::saturate_cast<uint8_t>(pixel[1] * saturation);
      }
    }
    cv::cvtColor(hsv, colour, cv::COLOR_HSV2BGR);
  }
  if (strong && !keep_colours && random.Chance(0.06)) {
    cv::Mat grey;
    cv::cvtColor(colour, grey, cv::COLOR_BGR2GRAY);
    cv::cvtColor(grey, colour, cv::COLOR_GRAY2BGR);
  }
  if (strong && random.Chance(0.15)) {  // partly hidden
    const int w = std::max(1, cvRound(width * random.Uniform(0.2, 0.45))),
              h = std::max(1, cvRound(height * random.Uniform(0.2, 0.45)));
    planes[3](
        cv::Rect(static_cast<int>(random.Below(width - w + 1)), static_cast<int>(random.Below(height - h + 1)), w, h))
        .setTo(0);
  }
  cv::split(colour, planes);
  cv::merge(std::vector<cv::Mat>{planes[0], planes[1], planes[2], planes[3]}, turned);
  return turned;
}

// Lays `patch` on `canvas` with its middle at (x, y), and adds its share of each of the 3 x 3 cells to `coverage`.
void Paste(cv::Mat& canvas, const cv::Mat& patch, double x, double y, std::vector<float>& coverage) {
  // The windows of adaptive pooling from 7 to 3: [0, 3), [2, 5), [4, 7).
  constexpr int kSide = SceneComposer::kSide;
  coverage.resize(9, 0);
  const int left = cvRound(x - patch.cols / 2.0), top = cvRound(y - patch.rows / 2.0);
  for (int row = std::max(0, -top); row < std::min(patch.rows, kSide - top); ++row) {
    for (int column = std::max(0, -left); column < std::min(patch.cols, kSide - left); ++column) {
      const cv::Vec4b& from = patch.at<cv::Vec4b>(row, column);
      const int alpha = from[3];
      if (alpha == 0) continue;
      cv::Vec3b& to = canvas.at<cv::Vec3b>(top + row, left + column);
      for (int channel = 0; channel < 3; ++channel) {
        to[channel] = static_cast<uint8_t>((from[channel] * alpha + to[channel] * (255 - alpha) + 127) / 255);
      }
      const int line = (top + row) / 32, place = (left + column) / 32;
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
          if (line >= 2 * i && line < 2 * i + 3 && place >= 2 * j && place < 2 * j + 3) {
            coverage[static_cast<size_t>(3 * i + j)] += static_cast<float>(alpha) / 255.0F / (96.0F * 96.0F);
          }
        }
      }
    }
  }
}

}  // namespace

std::vector<std::string> ShapeNames() {
  std::vector<std::string> names;
  for (const char* shape : kShapes) {
    for (const NamedColour& colour : kNamedColours) names.push_back(absl::StrCat(colour.name, " ", shape));
  }
  return names;
}

vision::Image ToImage(const cv::Mat& bgr) {
  vision::Image image{bgr.cols, bgr.rows, {}};
  cv::Mat rgb;
  cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
  image.pixels.assign(rgb.data, rgb.data + rgb.total() * 3);
  return image;
}

cv::Mat RandomCrop(const cv::Mat& photo, int side, RandomSource& random) {
  const int shorter = std::min(photo.cols, photo.rows);
  const int size = std::max(1, cvRound(shorter * std::sqrt(random.Uniform(0.06, 1.0))));
  const cv::Rect part(static_cast<int>(random.Below(photo.cols - size + 1)),
                      static_cast<int>(random.Below(photo.rows - size + 1)), size, size);
  cv::Mat crop;
  cv::resize(photo(part), crop, {side, side}, 0, 0, size > side ? cv::INTER_AREA : cv::INTER_CUBIC);
  if (random.Chance(0.5)) cv::flip(crop, crop, 1);
  return crop;
}

SceneComposer::SceneComposer(const PictureLibrary& library, std::vector<cv::Mat> photos, SceneOptions options)
    : library_(library), photos_(std::move(photos)), options_(std::move(options)) {
  // Many pictures of one name (35 houses) are each drawn less often.
  std::map<std::string, int> of_name;
  std::map<std::string, double> of_library;
  for (const Cutout& cutout : library.cutouts()) ++of_name[cutout.name];
  auto weight = [&](const Cutout& cutout) { return 1 / std::sqrt(static_cast<double>(of_name[cutout.name])); };
  for (const Cutout& cutout : library.cutouts()) of_library[cutout.library] += weight(cutout);
  double total = 0;
  for (const Cutout& cutout : library.cutouts()) {
    double share = 1;
    if (!options_.libraries.empty()) {
      const auto found = options_.libraries.find(cutout.library);
      share = found == options_.libraries.end() ? 0 : found->second / of_library[cutout.library];
    }
    total += weight(cutout) * share;
    cumulative_.push_back(total);
  }
}

int64_t SceneComposer::DrawCutout(RandomSource& random) const {
  const double place = random.Uniform() * cumulative_.back();
  const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), place);
  return std::min<int64_t>(found - cumulative_.begin(), static_cast<int64_t>(cumulative_.size()) - 1);
}

cv::Mat SceneComposer::Background(RandomSource& random, std::string& words) const {
  cv::Mat canvas(kSide, kSide, CV_8UC3);
  const double choice = random.Uniform();
  const NamedColour& first = random.Pick(kNamedColours);
  const NamedColour* second = &random.Pick(kNamedColours);
  while (second == &first) second = &random.Pick(kNamedColours);
  const cv::Scalar from = Jittered(first, random), to = Jittered(*second, random);
  if (choice < 0.55) {
    canvas.setTo(from);
    words = first.name;
  } else if (choice < 0.72) {  // a gradient, in one of four directions
    const int direction = static_cast<int>(random.Below(4));
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const double t = (direction == 0   ? x
                          : direction == 1 ? y
                          : direction == 2 ? (x + y) / 2.0
                                           : (x + kSide - y) / 2.0) /
                         kSide;
        for (int channel = 0; channel < 3; ++channel) {
          canvas.at<cv::Vec3b>(y, x)[channel] = cv::saturate_cast<uint8_t>(from[channel] * (1 - t) + to[channel] * t);
        }
      }
    }
    words = absl::StrCat(first.name, " and ", second->name);
  } else if (choice < 0.84 || photos_.empty()) {  // noise, stripes or checks
    const int pattern = static_cast<int>(random.Below(3));
    const int period = static_cast<int>(random.Between(8, 40));
    const bool upright = random.Chance(0.5);
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const bool odd = pattern == 0   ? random.Chance(0.5)
                         : pattern == 1 ? (upright ? x : y) / period % 2 == 1
                                        : (x / period + y / period) % 2 == 1;
        const cv::Scalar& colour = odd ? to : from;
        canvas.at<cv::Vec3b>(y, x) = cv::Vec3b(static_cast<uint8_t>(colour[0]), static_cast<uint8_t>(colour[1]),
                                               static_cast<uint8_t>(colour[2]));
      }
    }
    words = "patterned";
  } else {
    cv::GaussianBlur(RandomCrop(random.Pick(photos_), kSide, random), canvas, {0, 0}, random.Uniform(4, 12));
    words = "blurred";
  }
  return canvas;
}

Scene SceneComposer::Compose(RandomSource& random, int64_t only) const {
  Scene scene;
  SceneDescription& description = scene.description;
  const bool strong = options_.augmentation == Augmentation::kStrong;
  const double total = options_.one + options_.side_by_side + options_.stacked + options_.count;
  const double choice = random.Uniform() * total;
  description.layout = only >= 0 || choice < options_.one              ? Layout::kOne
                       : choice < options_.one + options_.side_by_side ? Layout::kSideBySide
                       : choice < total - options_.count               ? Layout::kStacked
                                                                       : Layout::kCount;
  cv::Mat canvas = Background(random, description.background);

  const bool two = description.layout == Layout::kSideBySide || description.layout == Layout::kStacked;
  std::vector<cv::Mat> sources;
  while (sources.size() < (two ? 2U : 1U)) {
    SceneObject object;
    cv::Mat pixels;
    if (only < 0 && random.Chance(options_.shapes)) {
      const NamedColour& colour = random.Pick(kNamedColours);
      if (description.background.find(colour.name) != std::string::npos) continue;  // it could not be seen
      const std::string shape = random.Pick(kShapes);
      object.name = absl::StrCat(colour.name, " ", shape);
      pixels = DrawShape(shape, colour, random);
    } else {
      const Cutout& cutout = library_.cutouts()[static_cast<size_t>(only >= 0 ? only : DrawCutout(random))];
      object = {cutout.name, cutout.kind, cutout.library, cutout.path, {}};
      pixels = cutout.pixels;
    }
    if (!description.objects.empty() && description.objects[0].name == object.name) continue;
    object.coverage.assign(9, 0);
    description.objects.push_back(object);
    sources.push_back(pixels);
  }

  auto varied = [&](size_t index, double size) {
    return Varied(sources[index], size, options_.augmentation, description.objects[index].path.empty(), random);
  };
  switch (description.layout) {
    case Layout::kOne: {
      const double size = kSide * (strong ? random.Uniform(0.45, 1.0) : random.Uniform(0.6, 0.95));
      const double slack = std::max(0.0, (kSide - size) / 2) + 6;
      Paste(canvas, varied(0, size), kSide / 2.0 + random.Uniform(-slack, slack),
            kSide / 2.0 + random.Uniform(-slack, slack), description.objects[0].coverage);
      break;
    }
    case Layout::kSideBySide:
    case Layout::kStacked: {
      const bool beside = description.layout == Layout::kSideBySide;
      for (size_t i = 0; i < 2; ++i) {
        const double size = kSide * (strong ? random.Uniform(0.34, 0.54) : random.Uniform(0.42, 0.52));
        const double along = kSide * ((i == 0 ? 0.25 : 0.75) + random.Uniform(-0.03, 0.03));
        const double across = kSide * random.Uniform(0.38, 0.62);
        Paste(canvas, varied(i, size), beside ? along : across, beside ? across : along,
              description.objects[i].coverage);
      }
      break;
    }
    case Layout::kCount: {
      description.count = random.Between(2, 5);
      static constexpr std::array<std::array<std::pair<double, double>, 5>, 6> kPlaces = {{
          {},
          {},
          {{{0.26, 0.5}, {0.74, 0.5}}},
          {{{0.27, 0.28}, {0.73, 0.28}, {0.5, 0.74}}},
          {{{0.26, 0.26}, {0.74, 0.26}, {0.26, 0.74}, {0.74, 0.74}}},
          {{{0.2, 0.2}, {0.8, 0.2}, {0.5, 0.5}, {0.2, 0.8}, {0.8, 0.8}}},
      }};
      const double size = kSide * (description.count == 5 ? 0.34 : 0.43) * random.Uniform(0.88, 1.05);
      for (int64_t i = 0; i < description.count; ++i) {
        const auto& [x, y] = kPlaces[static_cast<size_t>(description.count)][static_cast<size_t>(i)];
        Paste(canvas, varied(0, size * random.Uniform(0.94, 1.06)), kSide * (x + random.Uniform(-0.03, 0.03)),
              kSide * (y + random.Uniform(-0.03, 0.03)), description.objects[0].coverage);
      }
      break;
    }
  }

  if (strong && random.Chance(0.2)) cv::GaussianBlur(canvas, canvas, {0, 0}, random.Uniform(0.5, 1.6));
  if (strong && random.Chance(0.25)) {
    const double deviation = random.Uniform(3, 16);
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const double noise = deviation * random.Normal();
        for (int channel = 0; channel < 3; ++channel) {
          uint8_t& value = canvas.at<cv::Vec3b>(y, x)[channel];
          value = cv::saturate_cast<uint8_t>(value + noise);
        }
      }
    }
  }
  if (strong && random.Chance(0.3)) {
    std::vector<uint8_t> bytes;
    cv::imencode(".jpg", canvas, bytes, {cv::IMWRITE_JPEG_QUALITY, static_cast<int>(random.Between(30, 90))});
    canvas = cv::imdecode(bytes, cv::IMREAD_COLOR);
  }
  scene.image = ToImage(canvas);
  return scene;
}

}  // namespace blazon::service
