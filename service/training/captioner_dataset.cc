#include "service/training/captioner_dataset.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/safetensors.h"
#include "service/families/colour_reading.h"
#include "service/families/tagger.h"
#include "vision/decode_image.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kScenesPerBatch = 16;

at::Tensor EncodeBatch(const vision::ImageEncoder& encoder, absl::Span<const vision::Image> images) {
  const at::NoGradGuard no_grad;
  return PoolCells(encoder.Encode(encoder.Preprocess(images))).to(at::kHalf);
}

nlohmann::json ToJson(const SceneDescription& scene) {
  nlohmann::json objects = nlohmann::json::array();
  for (const SceneObject& object : scene.objects)
    objects.push_back({object.name, object.kind, object.library, object.path, object.coverage});
  return {static_cast<int>(scene.layout), scene.count, scene.background, objects};
}

SceneDescription FromJson(const nlohmann::json& json) {
  SceneDescription scene{
      static_cast<Layout>(json.at(0).get<int>()), {}, json.at(1).get<int64_t>(), json.at(2).get<std::string>()};
  for (const nlohmann::json& object : json.at(3)) {
    scene.objects.push_back({object.at(0).get<std::string>(), object.at(1).get<std::string>(),
                             object.at(2).get<std::string>(), object.at(3).get<std::string>(),
                             object.at(4).get<std::vector<float>>()});
  }
  return scene;
}

}  // namespace

absl::StatusOr<SceneFeatures> EncodeScenes(const SceneComposer& composer, const vision::ImageEncoder& encoder,
                                           int64_t count, uint64_t seed, const std::function<bool(int64_t)>& progress) {
  RandomSource random(seed);
  SceneFeatures features;
  std::vector<at::Tensor> parts;
  auto compose = [&](int64_t number) {
    std::vector<Scene> scenes;
    for (int64_t i = 0; i < number; ++i) scenes.push_back(composer.Compose(random));
    return scenes;
  };
  std::future<std::vector<Scene>> next = std::async(std::launch::async, compose, std::min(kScenesPerBatch, count));
  for (int64_t done = 0; done < count;) {
    std::vector<Scene> scenes = next.get();
    done += static_cast<int64_t>(scenes.size());
    if (done < count) next = std::async(std::launch::async, compose, std::min(kScenesPerBatch, count - done));
    std::vector<vision::Image> images;
    for (Scene& scene : scenes) {
      features.colours.push_back(DescribeColours(scene.image));
      images.push_back(std::move(scene.image));
      features.descriptions.push_back(std::move(scene.description));
    }
    parts.push_back(EncodeBatch(encoder, images));
    if (!progress(done)) {
      if (done < count) next.wait();
      return absl::CancelledError("stopped while encoding scenes");
    }
  }
  features.cells = at::cat(parts);
  return features;
}

absl::Status WriteSceneFeatures(const fs::path& file, const std::string& key, const SceneFeatures& features) {
  nlohmann::json scenes = nlohmann::json::array();
  for (size_t i = 0; i < features.descriptions.size(); ++i)
    scenes.push_back({ToJson(features.descriptions[i]), features.colours[i]});
  const std::string text = scenes.dump();
  at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), bytes.data_ptr<uint8_t>());
  return WriteSafetensors(file, {{"cells", features.cells}, {"scenes", bytes}}, {{"key", key}});
}

absl::StatusOr<SceneFeatures> ReadSceneFeatures(const fs::path& file, const std::string& key) {
  std::map<std::string, std::string> metadata;
  absl::StatusOr<TensorMap> tensors = ReadSafetensors(file, &metadata);
  if (!tensors.ok()) return tensors.status();
  if (metadata["key"] != key || !tensors->contains("cells") || !tensors->contains("scenes")) {
    return absl::FailedPreconditionError(
        absl::StrCat(file.string(), " holds the features of other scenes; delete it, or name another file"));
  }
  const at::Tensor bytes = tensors->at("scenes").contiguous();
  SceneFeatures features{tensors->at("cells"), {}, {}};
  const nlohmann::json scenes = nlohmann::json::parse(
      std::string(reinterpret_cast<const char*>(bytes.data_ptr<uint8_t>()), static_cast<size_t>(bytes.numel())),
      nullptr, false);
  try {
    for (const nlohmann::json& scene : scenes) {
      features.descriptions.push_back(FromJson(scene.at(0)));
      features.colours.push_back(scene.at(1).get<std::string>());
    }
  } catch (const nlohmann::json::exception&) {
    return absl::DataLossError(absl::StrCat(file.string(), " is broken; delete it"));
  }
  if (static_cast<int64_t>(features.descriptions.size()) != features.cells.size(0)) {
    return absl::DataLossError(absl::StrCat(file.string(), " is broken; delete it"));
  }
  return features;
}

std::vector<cv::Mat> ReadPhotos(const fs::path& folder, int side) {
  std::vector<cv::Mat> photos;
  for (const fs::path& path : PicturesBelow(folder)) {
    cv::Mat photo = cv::imread(path.string(), cv::IMREAD_COLOR);
    if (photo.empty()) continue;
    const double scale = static_cast<double>(side) / std::max(photo.cols, photo.rows);
    if (scale < 1) cv::resize(photo, photo, {}, scale, scale, cv::INTER_AREA);
    photos.push_back(photo);
  }
  return photos;
}

CropFeatures EncodeCrops(const std::vector<cv::Mat>& photos, const vision::ImageEncoder& encoder, int64_t count,
                         uint64_t seed) {
  CropFeatures features;
  RandomSource random(seed);
  std::vector<at::Tensor> parts;
  for (int64_t done = 0; done < count; done += kScenesPerBatch) {
    std::vector<vision::Image> images;
    for (int64_t i = 0; i < kScenesPerBatch; ++i) {
      images.push_back(ToImage(RandomCrop(random.Pick(photos), SceneComposer::kSide, random)));
      features.colours.push_back(DescribeColours(images.back()));
    }
    parts.push_back(EncodeBatch(encoder, images));
  }
  features.cells = at::cat(parts);
  return features;
}

absl::StatusOr<CaptionedPictures> EncodeCaptioned(const std::string& source, const vision::ImageEncoder& encoder) {
  absl::StatusOr<PictureTexts> read = ReadPictureTexts(source);
  if (!read.ok()) return read.status();
  CaptionedPictures pictures;
  std::vector<at::Tensor> parts;
  for (const fs::path& path : read->pictures) {
    std::ostringstream bytes;
    bytes << std::ifstream(path, std::ios::binary).rdbuf();
    absl::StatusOr<vision::Image> image = vision::DecodeImage(bytes.str());
    if (!image.ok()) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", image.status().message()));
    parts.push_back(EncodeBatch(encoder, {&*image, 1}));
    pictures.colours.push_back(DescribeColours(*image));
  }
  pictures.cells = at::cat(parts);
  pictures.texts = std::move(read->texts);
  pictures.without_text = read->without_text;
  return pictures;
}

void Append(CaptionedPictures more, CaptionedPictures& pictures) {
  for (PictureText& text : more.texts) text.picture += pictures.colours.size();
  pictures.cells = pictures.cells.defined() ? at::cat({pictures.cells, more.cells}) : more.cells;
  pictures.colours.insert(pictures.colours.end(), more.colours.begin(), more.colours.end());
  pictures.texts.insert(pictures.texts.end(), more.texts.begin(), more.texts.end());
  pictures.without_text += more.without_text;
}

}  // namespace blazon::service
