// Workloads of the picture path: decode, resize, preprocess, encode.
// Compare resize and decode_and_resize with Pillow side by side: tests/reference/pillow_speed.py.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "service/checkpoint/image_encoder_loader.h"
#include "vision/decode_image.h"
#include "vision/preprocessor.h"
#include "vision/resize.h"

namespace blazon::vision {
namespace {

std::string ReadPhoto(const std::string& name) {
  std::ifstream file(std::string(BLAZON_SOURCE_DIR) + "/assets/photos/" + name, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A photograph of 640 x 427 pixels.
const std::string& Photo() {
  static const std::string photo = ReadPhoto("temple.jpg");
  return photo;
}

const Image& DecodedPhoto() {
  static const Image image = *DecodeImage(Photo());
  return image;
}

void DecodeJpeg(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(DecodeImage(Photo()));
}
BENCHMARK(DecodeJpeg)->Name("vision/decode_jpeg_640x427")->Unit(benchmark::kMillisecond);

void ResizeBicubic(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Resize(DecodedPhoto(), 224, 224, ResizeFilter::kBicubic));
}
BENCHMARK(ResizeBicubic)->Name("vision/resize_640x427_to_224_bicubic")->Unit(benchmark::kMillisecond);

// CLIP's, with Pillow's arithmetic (0) or torchvision's (1).
void Preprocess(benchmark::State& state) {
  PreprocessorConfig config;
  config.size_rule = SizeRule::kShortestEdge;
  config.edge = 224;
  config.center_crop = {224, 224};
  config.arithmetic = state.range(0) == 0 ? ResizeArithmetic::kPillow13 : ResizeArithmetic::kTorchvision;
  const absl::StatusOr<Preprocessor> preprocessor = Preprocessor::Create(config);
  const Image image = Resize(DecodedPhoto(), 640, 480, ResizeFilter::kBicubic);
  for (auto _ : state) benchmark::DoNotOptimize(preprocessor->Run(image));
  state.counters["images/s"] = benchmark::Counter(state.iterations(), benchmark::Counter::kIsRate);
}
BENCHMARK(Preprocess)
    ->Name("vision/preprocess_640x480_to_224_bicubic")
    ->ArgName("torchvision")
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMillisecond);

void DecodeAndResize(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Resize(*DecodeImage(Photo()), 224, 224, ResizeFilter::kBicubic));
  state.counters["images/s"] = benchmark::Counter(state.iterations(), benchmark::Counter::kIsRate);
}
BENCHMARK(DecodeAndResize)->Name("vision/decode_and_resize")->Unit(benchmark::kMillisecond);

// Arguments: pictures in the batch, threads.
void Encode(benchmark::State& state) {
  const auto encoder = service::LoadImageEncoder(std::string(BLAZON_SOURCE_DIR) + "/models/efficientnet-lite0");
  if (!encoder.ok()) {
    state.SkipWithError(std::string(encoder.status().message()).c_str());
    return;
  }
  at::set_num_threads(state.range(1));
  const at::Tensor pixels = (*encoder)->Preprocess(std::vector<Image>(state.range(0), DecodedPhoto()));
  for (auto _ : state) benchmark::DoNotOptimize((*encoder)->Classify((*encoder)->Encode(pixels)));
  state.counters["images/s"] = benchmark::Counter(state.iterations() * state.range(0), benchmark::Counter::kIsRate);
}
BENCHMARK(Encode)
    ->Name("vision/encode")
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 8}, {1, 2}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace blazon::vision
