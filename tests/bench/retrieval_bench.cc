// Workloads of retrieval: indexing, and search over 10,000 and 100,000 chunks with 384-wide vectors.
// The cheap embedder of the tests shows what Blazon itself costs; the one with MiniLM, what a user waits for.
#include <benchmark/benchmark.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "retrieval/collection.h"
#include "service/checkpoint/embedder_loader.h"
#include "tests/retrieval/sample_embedder.h"

namespace blazon::retrieval {
namespace {

constexpr int64_t kWidth = 384;

// About 160 words from a vocabulary in which few are common and most are rare, as in real text.
std::string Prose(std::mt19937& random) {
  std::string text;
  for (int w = 0; w < 160; ++w) {
    const double uniform = std::uniform_real_distribution<double>(0, 1)(random);
    absl::StrAppend(&text, "word", static_cast<int>(std::pow(uniform, 4.0) * 20000), w % 12 == 11 ? ". " : " ");
  }
  return text;
}

CollectionOptions Options(const Embedder& embedder) {
  CollectionOptions options;
  options.mode = OpenMode::kWrite;
  options.create = true;
  options.embedder = embedder;
  return options;
}

void IndexDocuments(benchmark::State& state, const Embedder& embedder, int documents_a_round) {
  std::mt19937 random(1);
  int64_t chunks = 0;
  for (auto _ : state) {
    state.PauseTiming();
    TemporaryFolder folder;
    std::vector<Document> documents;
    for (int i = 0; i < documents_a_round; ++i)
      documents.push_back(TextDocument(absl::StrCat(i, ".txt"), Prose(random)));
    auto collection = *Collection::Open(folder, Options(embedder));
    state.ResumeTiming();
    for (size_t i = 0; i < documents.size(); i += 32) {
      const auto outcomes =
          collection->Put(absl::MakeSpan(documents).subspan(i, std::min<size_t>(32, documents.size() - i)));
      if (!outcomes.ok()) state.SkipWithError(std::string(outcomes.status().message()).c_str());
    }
    state.PauseTiming();
    chunks += collection->Stats()->chunks;
    collection.reset();
    state.ResumeTiming();
  }
  state.counters["chunks/s"] = benchmark::Counter(static_cast<double>(chunks), benchmark::Counter::kIsRate);
}

void IndexWithSampleEmbedder(benchmark::State& state) { IndexDocuments(state, SampleEmbedder(kWidth), 512); }
BENCHMARK(IndexWithSampleEmbedder)->Name("retrieval/index_without_model")->Unit(benchmark::kMillisecond)->UseRealTime();

void IndexWithMiniLm(benchmark::State& state) {
  auto model = service::LoadTextEmbedder(BLAZON_SOURCE_DIR "/models/all-minilm-l6-v2");
  if (!model.ok()) {
    state.SkipWithError(std::string(model.status().message()).c_str());
    return;
  }
  Embedder embedder;
  embedder.dimension = (*model)->dimension();
  embedder.max_tokens = (*model)->max_tokens();
  embedder.fingerprint = (*model)->fingerprint();
  embedder.count_tokens = [&model](std::string_view text) { return (*model)->CountTokens(text); };
  embedder.embed = [&model](absl::Span<const std::string> texts) { return (*model)->Embed(texts); };
  IndexDocuments(state, embedder, 64);
}
BENCHMARK(IndexWithMiniLm)->Name("retrieval/index_with_minilm")->Unit(benchmark::kMillisecond)->UseRealTime();

// A collection of so many chunks with random unit vectors, made once.
Collection& Filled(int64_t chunks) {
  struct Made {
    TemporaryFolder folder;
    std::unique_ptr<Collection> collection;
  };
  static std::map<int64_t, std::unique_ptr<Made>> made;
  auto& entry = made[chunks];
  if (entry) return *entry->collection;
  entry = std::make_unique<Made>();
  std::mt19937 random(2);
  Embedder embedder = SampleEmbedder(kWidth);
  embedder.embed = [&random](absl::Span<const std::string> texts) -> absl::StatusOr<std::vector<float>> {
    std::vector<float> rows(texts.size() * kWidth);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < texts.size(); ++i) {
      double norm = 0;
      for (int64_t d = 0; d < kWidth; ++d) {
        float& value = rows[i * kWidth + static_cast<size_t>(d)];
        value = normal(random);
        norm += static_cast<double>(value) * value;
      }
      for (int64_t d = 0; d < kWidth; ++d)
        rows[i * kWidth + static_cast<size_t>(d)] /= static_cast<float>(std::sqrt(norm));
    }
    return rows;
  };
  auto writer = *Collection::Open(entry->folder, Options(embedder));
  std::vector<Document> documents;
  for (int64_t i = 0; i < chunks; ++i) {
    documents.push_back(TextDocument(absl::StrCat(i, ".txt"), Prose(random).substr(0, 400)));
    if (documents.size() == 5000 || i + 1 == chunks) {
      if (!writer->Put(documents).ok()) std::abort();
      documents.clear();
    }
  }
  writer.reset();
  CollectionOptions options;
  options.embedder = SampleEmbedder(kWidth);
  entry->collection = *Collection::Open(entry->folder, options);
  Query first;  // reads the vectors
  first.text = "word1";
  if (!entry->collection->Search(first).ok()) std::abort();
  return *entry->collection;
}

void Search(benchmark::State& state, SearchMode mode) {
  Collection& collection = Filled(state.range(0));
  std::mt19937 random(3);
  Query query;
  query.mode = mode;
  for (auto _ : state) {
    state.PauseTiming();
    query.text =
        absl::StrCat("what is word", random() % 20000, " and word", random() % 2000, " with word", random() % 200);
    query.vector = *SampleEmbedder(kWidth).embed({query.text});
    state.ResumeTiming();
    const auto found = collection.Search(query);
    if (!found.ok() || (mode != SearchMode::kWords && found->size() != 8)) state.SkipWithError("a search failed");
  }
  state.counters["queries/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(Search, meaning, SearchMode::kMeaning)
    ->Name("retrieval/search_by_meaning")
    ->Arg(10000)
    ->Arg(100000)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(Search, words, SearchMode::kWords)
    ->Name("retrieval/search_by_words")
    ->Arg(10000)
    ->Arg(100000)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(Search, both, SearchMode::kBoth)
    ->Name("retrieval/search_by_both")
    ->Arg(10000)
    ->Arg(100000)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace blazon::retrieval
