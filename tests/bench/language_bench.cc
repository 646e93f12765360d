// Language workloads: prefill, decode, training step, embedding. Weights are those of the set-up, made ready once.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/ops/quantized_matmul.h"
#include "service/checkpoint/embedder_loader.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon {
namespace {

using language::Dtype;

const std::string kModels = std::string(BLAZON_SOURCE_DIR) + "/models";
const std::string kSmolLm2 = kModels + "/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";

// Null when the weights are not there; the workload then says so.
const language::LanguageModel* Model(benchmark::State& state, Dtype dtype) {
  static auto& models = *new std::map<Dtype, std::unique_ptr<language::LanguageModel>>;
  if (!models.contains(dtype)) {
    auto loaded = service::LoadLanguageModel(kSmolLm2, {.dtype = dtype});
    if (!loaded.ok()) {
      state.SkipWithError(std::string(loaded.status().message()).c_str());
      return nullptr;
    }
    models[dtype] = std::move(loaded->model);
  }
  return models[dtype].get();
}

void Prefill(benchmark::State& state, Dtype dtype) {
  const language::LanguageModel* model = Model(state, dtype);
  if (model == nullptr) return;
  c10::InferenceMode inference;
  const at::Tensor tokens = at::arange(512, at::kLong) * 31 % 40000;
  for (auto _ : state) {
    const auto cache = model->NewState();
    at::Tensor hidden;
    for (int64_t begin = 0; begin < 512; begin += 256) {  // the scheduler's chunks
      hidden = model->Forward({{.tokens = tokens.narrow(0, begin, 256), .state = cache.get()}});
    }
    benchmark::DoNotOptimize(model->Logits(hidden.narrow(0, 255, 1)));
  }
  state.counters["tokens/s"] = benchmark::Counter(512, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(Prefill, 512_tokens_auto, Dtype::kAuto)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(Prefill, 512_tokens_fp32, Dtype::kFp32)->Unit(benchmark::kMillisecond)->UseRealTime();

// 64 tokens after a prompt of 64, greedy, for one sequence and for eight at once.
void Decode(benchmark::State& state, Dtype dtype) {
  const language::LanguageModel* model = Model(state, dtype);
  if (model == nullptr) return;
  c10::InferenceMode inference;
  const int64_t sequences = state.range(0);
  const at::Tensor prompt = at::arange(64, at::kLong) * 31 % 40000;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<std::unique_ptr<language::ModelState>> caches;
    std::vector<language::ModelInput> batch;
    for (int64_t i = 0; i < sequences; ++i) {
      caches.push_back(model->NewState());
      batch.push_back({.tokens = prompt, .state = caches.back().get()});
    }
    model->Forward(batch);
    for (auto& input : batch) input.tokens = prompt.narrow(0, 0, 1);
    state.ResumeTiming();
    for (int step = 0; step < 64; ++step) {
      const at::Tensor next = model->Logits(model->Forward(batch)).argmax(-1);  // [B]
      for (int64_t i = 0; i < sequences; ++i) batch[i].tokens = next.narrow(0, i, 1);
    }
  }
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(64 * sequences), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(Decode, 64_tokens_auto, Dtype::kAuto)->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(Decode, 64_tokens_fp32, Dtype::kFp32)->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond)->UseRealTime();

// Forward and backward of 16 sequences of 48 tokens, gradients to the embeddings.
void TrainStep(benchmark::State& state) {
  const language::LanguageModel* model = Model(state, Dtype::kFp32);
  if (model == nullptr) return;
  for (auto _ : state) {
    const at::Tensor embeddings = (at::randn({16 * 48, model->config().width}) * 0.1).requires_grad_();
    std::vector<language::ModelInput> batch;
    for (int64_t i = 0; i < 16; ++i) batch.push_back({.embeddings = embeddings.narrow(0, i * 48, 48)});
    model->Forward(batch).square().mean().backward();
    benchmark::DoNotOptimize(embeddings.grad());
  }
  state.counters["sequences/s"] = benchmark::Counter(16, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(TrainStep)->Unit(benchmark::kMillisecond)->UseRealTime();

// One layer's down_proj with few rows: where rows and tiles cross decides language/ops/quantized_matmul.cc.
void QuantizedProduct(benchmark::State& state, bool by_rows) {
  auto file = service::GgufFile::Open(kSmolLm2);
  if (!file.ok()) return state.SkipWithError(std::string(file.status().message()).c_str());
  const auto weight = (*file)->Tensor("blk.0.ffn_down.weight");
  if (!weight.ok()) return state.SkipWithError(std::string(weight.status().message()).c_str());
  const auto& matrix = std::get<language::QuantizedTensor>(*weight);
  const auto kernels = language::IsSupported(language::QuantKernels::kAvx2) ? language::QuantKernels::kAvx2
                                                                            : language::QuantKernels::kPortable;
  c10::InferenceMode inference;
  const at::Tensor x = at::randn({state.range(0), matrix.columns});
  for (auto _ : state) {
    benchmark::DoNotOptimize(by_rows ? language::QuantizedMatmulByRows(x, matrix, kernels)
                                     : language::QuantizedMatmulByTiles(x, matrix, kernels));
  }
}
BENCHMARK_CAPTURE(QuantizedProduct, by_rows, true)
    ->RangeMultiplier(2)
    ->Range(1, 64)
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(QuantizedProduct, by_tiles, false)
    ->RangeMultiplier(2)
    ->Range(1, 64)
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime();

// Passages of 100 words, 32 at a time.
void EmbedPassages(benchmark::State& state) {
  const auto embedder = service::LoadTextEmbedder(kModels + "/all-minilm-l6-v2");
  if (!embedder.ok()) return state.SkipWithError(std::string(embedder.status().message()).c_str());
  const char* const words[] = {"the",     "river",  "carries", "cold",   "water", "from",  "mountains",
                               "through", "fields", "where",   "people", "grow",  "barley"};
  std::vector<std::string> passages(32);
  for (size_t i = 0; i < passages.size(); ++i) {
    for (size_t j = 0; j < 100; ++j) absl::StrAppend(&passages[i], words[(i * 7 + j * j) % 13], " ");
  }
  for (auto _ : state) benchmark::DoNotOptimize((*embedder)->Embed(passages));
  state.counters["passages/s"] = benchmark::Counter(32, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(EmbedPassages)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace blazon
