// Composes pictures of cut-outs on varied backgrounds, and knows what they show.
//
// Thread safety: const; Compose may be called from several threads, each with a RandomSource of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "service/training/caption_grammar.h"
#include "service/training/picture_library.h"
#include "service/training/random_source.h"
#include "vision/image.h"

namespace blazon::service {

struct Scene {
  vision::Image image;
  SceneDescription description;
};

// How far the cut-outs are changed.
enum class Augmentation {
  kMild,    // flipped, turned by up to 10 degrees, a little lighter or darker
  kStrong,  // turned by up to 25 degrees, other hues, blurred, partly hidden, grey, noisy, compressed
};

struct SceneOptions {
  Augmentation augmentation = Augmentation::kStrong;
  // Shares of the layouts; they need not add up to one.
  double one = 0.45, side_by_side = 0.30, stacked = 0.12, count = 0.13;
  double shapes = 0.07;                     // the chance that an object is a drawn shape with a colour
  std::map<std::string, double> libraries;  // library -> share; empty: every picture alike
};

class SceneComposer {
 public:
  static constexpr int kSide = 224;

  // photos: BGR pictures whose blurred parts serve as backgrounds; may be empty. library must outlive the composer.
  SceneComposer(const PictureLibrary& library, std::vector<cv::Mat> photos, SceneOptions options);

  // kSide x kSide. When `only` is 0 or more, the one object is that cut-out.
  Scene Compose(RandomSource& random, int64_t only = -1) const;

 private:
  int64_t DrawCutout(RandomSource& random) const;
  cv::Mat Background(RandomSource& random, std::string& words) const;

  const PictureLibrary& library_;
  std::vector<cv::Mat> photos_;
  SceneOptions options_;
  std::vector<double> cumulative_;  // of the cut-outs' weights
};

// "red circle", ...: every shape in every colour.
std::vector<std::string> ShapeNames();

// A part of `photo`, square, of a random place and size, at `side` x `side`.
cv::Mat RandomCrop(const cv::Mat& photo, int side, RandomSource& random);

vision::Image ToImage(const cv::Mat& bgr);

}  // namespace blazon::service
