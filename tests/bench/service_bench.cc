// Whole requests in process: a caption by stage, an answer, peak memory.
#include <benchmark/benchmark.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "retrieval/indexer.h"
#include "service/answerer.h"
#include "service/captioner.h"
#include "service/model_store.h"
#include "tests/service/default_models.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;

ModelStore& Models() {
  static ModelStore& models = []() -> ModelStore& {
    return **new auto(std::move(*ModelStore::Open(DefaultModelOptions())));
  }();
  return models;
}

double PeakMegabytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// The first sample photo, as its file.
std::string Photo() {
  for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(BLAZON_SOURCE_DIR) / "assets/photos")) {
    if (entry.path().extension() != ".jpg") continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }
  return "";
}

void BM_Caption(benchmark::State& state) {
  Captioner captioner(Models());
  CaptionRequest request;
  request.image = Photo();
  request.options.seed = 1;
  if (const auto warm = captioner.Caption(request); !warm.ok())
    return state.SkipWithError(std::string(warm.status().message()).c_str());
  double decode = 0, encode = 0, prefill = 0, generate = 0, tokens = 0;
  for (auto _ : state) {
    const auto caption = captioner.Caption(request);
    decode += caption->decode_ms;
    encode += caption->encode_ms;
    prefill += caption->result.prefill_ms;
    generate += caption->result.generate_ms;
    tokens += static_cast<double>(caption->result.tokens.size());
  }
  using benchmark::Counter;
  state.counters["decode_ms"] = Counter(decode, Counter::kAvgIterations);
  state.counters["encode_ms"] = Counter(encode, Counter::kAvgIterations);
  state.counters["prefill_ms"] = Counter(prefill, Counter::kAvgIterations);
  state.counters["generate_ms"] = Counter(generate, Counter::kAvgIterations);
  state.counters["tokens"] = Counter(tokens, Counter::kAvgIterations);
  state.counters["peak_MB"] = PeakMegabytes();
}
BENCHMARK(BM_Caption)->Unit(benchmark::kMillisecond)->UseRealTime();

void Ask(benchmark::State& state, bool extractive) {
  const fs::path folder =
      fs::temp_directory_path() / absl::StrCat("blazon_bench.", getpid(), extractive ? ".extractive" : ".generated");
  const auto embedder = Models().CollectionEmbedder();
  if (!embedder.ok()) return state.SkipWithError(std::string(embedder.status().message()).c_str());
  retrieval::CollectionOptions options;
  options.mode = retrieval::OpenMode::kWrite;
  options.create = true;
  options.embedder = *embedder;
  {
    const auto collection = retrieval::Collection::Open(folder, options);
    const fs::path documents = fs::path(BLAZON_SOURCE_DIR) / "assets/documents";
    if (!collection.ok() || !retrieval::Indexer(**collection, {}).Add({&documents, 1}).ok())
      return state.SkipWithError("the sample documents were not indexed");
    Answerer answerer(Models());
    AskRequest request;
    request.question = "What is the elevation of Mount Larkspur?";
    request.extractive = extractive;
    request.options.seed = 1;
    if (const auto warm = answerer.Ask(request, **collection); !warm.ok())
      return state.SkipWithError(std::string(warm.status().message()).c_str());
    double retrieve = 0, generate = 0, support = 0;
    for (auto _ : state) {
      const auto answer = answerer.Ask(request, **collection);
      support += answer->support_ms;
      retrieve += answer->retrieve_ms;
      generate += answer->result.prefill_ms + answer->result.generate_ms;
    }
    using benchmark::Counter;
    state.SetItemsProcessed(state.iterations());  // questions a second
    state.counters["retrieve_ms"] = Counter(retrieve, Counter::kAvgIterations);
    state.counters["generate_ms"] = Counter(generate, Counter::kAvgIterations);
    state.counters["support_ms"] = Counter(support, Counter::kAvgIterations);
    state.counters["peak_MB"] = PeakMegabytes();
  }
  fs::remove_all(folder);
}
void BM_Ask(benchmark::State& state) { Ask(state, false); }
void BM_AskExtractive(benchmark::State& state) { Ask(state, true); }
BENCHMARK(BM_Ask)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(BM_AskExtractive)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace blazon::service
