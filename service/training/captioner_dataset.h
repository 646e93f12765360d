// What the captioner learns from, as features: composed scenes, photographs, and pictures with captions beside them.
//
// The encoder is frozen, so each picture is encoded once and kept as its cells, in fp16.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "service/training/picture_texts.h"
#include "service/training/scene_composer.h"
#include "vision/image_encoder.h"

namespace blazon::service {

struct SceneFeatures {
  at::Tensor cells;                  // fp16 [S, kCells, C]
  std::vector<std::string> colours;  // DescribeColours of each
  std::vector<SceneDescription> descriptions;
};

// `count` scenes of `composer`, drawn with `seed`. progress, called now and then with the number done, returns false to
// stop.
absl::StatusOr<SceneFeatures> EncodeScenes(const SceneComposer& composer, const vision::ImageEncoder& encoder,
                                           int64_t count, uint64_t seed, const std::function<bool(int64_t)>& progress);

// A cache of EncodeScenes: a safetensors file that is only valid for the same `key` (options and seeds, spelled out).
// kFailedPrecondition: another key.
absl::Status WriteSceneFeatures(const std::filesystem::path& file, const std::string& key,
                                const SceneFeatures& features);
absl::StatusOr<SceneFeatures> ReadSceneFeatures(const std::filesystem::path& file, const std::string& key);

// The pictures of a folder and its subfolders (JPEG, PNG, WebP, BMP), in BGR, at most `side` pixels on their longer
// side; for backgrounds.
std::vector<cv::Mat> ReadPhotos(const std::filesystem::path& folder, int side);

struct CropFeatures {
  at::Tensor cells;                  // fp16 [P, kCells, C]; undefined when there are none
  std::vector<std::string> colours;  // DescribeColours of each
};

// At least `count` random crops of `photos`.
CropFeatures EncodeCrops(const std::vector<cv::Mat>& photos, const vision::ImageEncoder& encoder, int64_t count,
                         uint64_t seed);

// Pictures with what is to be said of them. Each is encoded once, however many texts it has.
struct CaptionedPictures {
  at::Tensor cells;                  // fp16 [P, kCells, C]
  std::vector<std::string> colours;  // DescribeColours of each
  std::vector<PictureText> texts;    // captions, and answers to questions
  int64_t without_text = 0;          // pictures that were left out
};

// Of a source as ReadPictureTexts takes it. Errors: its own; kInvalidArgument: a picture cannot be decoded; the message
// names the file.
absl::StatusOr<CaptionedPictures> EncodeCaptioned(const std::string& source, const vision::ImageEncoder& encoder);

// Adds `more` behind `pictures`.
void Append(CaptionedPictures more, CaptionedPictures& pictures);

}  // namespace blazon::service
