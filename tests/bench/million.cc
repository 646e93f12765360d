// A collection of 1,000,000 made chunks: how long it takes to open, how fast it is searched by words and by both, and
// what it needs of memory and disk, beside the bars. `make million`.
//
// Texts are 180 words from a vocabulary of 200,000 in which the n-th word is n times rarer than the first (Zipf);
// vectors are random, so that searches by meaning look at every one (an approximate index of random vectors finds too
// little, and collections then do without).
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "retrieval/collection.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWidth = 384;
constexpr int kChunkWords = 180;
constexpr int kVocabulary = 200000;
constexpr int64_t kBatch = 5000;
constexpr int kQueries = 400;
constexpr double kOpenBar = 2, kWordsBar = 0.050, kBothBar = 0.100;  // seconds

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Of the processor, by this thread: what a search costs where others do not hold it up.
double Worked() {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) * 1e-9;
}

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

// Word number n: syllables, so that it looks like one.
std::string WordOf(int64_t number) {
  static constexpr const char* kSyllables[] = {"ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu",
                                               "ra", "se", "ti", "vo", "zu", "an", "el", "ir", "os", "um"};
  std::string word;
  for (int64_t rest = number + 20; rest > 0; rest /= 20) word += kSyllables[rest % 20];
  return word;
}

class Vocabulary {
 public:
  Vocabulary() {
    double sum = 0;
    for (int i = 0; i < kVocabulary; ++i) {
      words_.push_back(WordOf(i));
      shares_.push_back(sum += 1.0 / (i + 1));
    }
  }
  const std::string& Draw(std::mt19937_64& random) const {
    const double at = std::uniform_real_distribution<double>(0, shares_.back())(random);
    return words_[static_cast<size_t>(std::lower_bound(shares_.begin(), shares_.end(), at) - shares_.begin())];
  }
  // Of the ranks from 100 to 20,000, where the words that people ask for stand.
  const std::string& DrawTelling(std::mt19937_64& random) const {
    return words_[static_cast<size_t>(
        std::exp(std::uniform_real_distribution<double>(std::log(100), std::log(20000))(random)))];
  }
  std::string Text(int64_t chunk) const {
    std::mt19937_64 random(static_cast<uint64_t>(chunk) + 1);
    std::string text;
    for (int i = 0; i < kChunkWords; ++i) absl::StrAppend(&text, Draw(random), i % 12 == 11 ? ". " : " ");
    return text;
  }

 private:
  std::vector<std::string> words_;
  std::vector<double> shares_;
};

void RandomDirection(uint64_t& state, float* row) {
  double norm = 0;
  for (int64_t d = 0; d < kWidth; ++d) {
    float value = 0;
    for (int i = 0; i < 4; ++i) {  // near enough to a normal distribution
      state = state * 6364136223846793005u + 1442695040888963407u;
      value += static_cast<float>(static_cast<int32_t>(state >> 32));
    }
    row[d] = value;
    norm += static_cast<double>(value) * value;
  }
  for (int64_t d = 0; d < kWidth; ++d) row[d] = static_cast<float>(row[d] / std::sqrt(norm));
}

Embedder MadeEmbedder() {
  Embedder embedder;
  embedder.dimension = kWidth;
  embedder.max_tokens = 100000;
  embedder.fingerprint = "random/1";
  embedder.count_tokens = [](std::string_view text) { return static_cast<int64_t>(text.size() / 8); };
  embedder.embed =
      [state = uint64_t{1}](absl::Span<const std::string> texts) mutable -> absl::StatusOr<std::vector<float>> {
    std::vector<float> rows(texts.size() * kWidth);
    for (size_t i = 0; i < texts.size(); ++i) RandomDirection(state, rows.data() + i * kWidth);
    return rows;
  };
  return embedder;
}

int64_t MemoryOf(const char* field) {  // bytes
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::atoll(line.c_str() + line.find(':') + 1) * 1024;
  }
  return 0;
}

CollectionOptions Options(OpenMode mode) {
  CollectionOptions options;
  options.mode = mode;
  options.create = mode == OpenMode::kWrite;
  options.embedder = MadeEmbedder();
  options.chunker.target_tokens = 400;
  return options;
}

void Make(const fs::path& folder, int64_t chunks, const Vocabulary& vocabulary) {
  absl::StatusOr<std::unique_ptr<Collection>> collection = Collection::Open(folder, Options(OpenMode::kWrite));
  if (!collection.ok()) Fail(collection.status());
  absl::StatusOr<CollectionStats> stats = (*collection)->Stats();
  if (!stats.ok()) Fail(stats.status());
  if (stats->chunks >= chunks) return;
  const double start = Now();
  double put = 0;
  std::vector<double> commits;
  const int64_t first = stats->chunks;
  for (int64_t begin = first; begin < chunks; begin += kBatch) {
    std::vector<Document> documents;
    for (int64_t i = begin; i < std::min(chunks, begin + kBatch); ++i) {
      Document& document = documents.emplace_back();
      document.source = "made";
      document.path = absl::StrCat(i, ".txt");
      document.text = vocabulary.Text(i);
      document.parser = "text/1";
      document.content_digest = absl::StrCat(i);
    }
    const double before = Now();
    const absl::StatusOr<std::vector<PutOutcome>> outcomes = (*collection)->Put(documents);
    if (!outcomes.ok()) Fail(outcomes.status());
    commits.push_back(Now() - before);
    put += commits.back();
    if (begin / kBatch % 20 == 19)
      std::fprintf(stderr, "%lld chunks after %.0f s\n", static_cast<long long>(begin + kBatch), Now() - start);
  }
  std::sort(commits.begin(), commits.end());
  std::printf(
      "made: %lld chunks in %.0f s, %.0f s of them in %zu changes of %lld documents: median %.2f s, longest %.2f s\n",
      static_cast<long long>(chunks - first), Now() - start, put, commits.size(), static_cast<long long>(kBatch),
      commits[commits.size() / 2], commits.back());
}

bool Report(const char* what, double seconds, double bar) {
  std::printf("%-58s %8.3f s   bar %.3f s   %s\n", what, seconds, bar, seconds <= bar ? "met" : "NOT MET");
  return seconds <= bar;
}

// Prints what searches take, and tells whether the bar is met.
bool SearchAll(const Collection& collection, const Vocabulary& vocabulary, SearchMode mode, bool telling) {
  const bool by_words = mode == SearchMode::kWords;
  std::mt19937_64 random(7);
  uint64_t direction = 99;
  std::vector<double> times, worked;
  for (int i = 0; i < kQueries; ++i) {
    Query query;
    query.mode = mode;
    std::vector<std::string> words;
    for (uint64_t n = 2 + random() % 7; n > 0; --n)
      words.push_back(telling ? vocabulary.DrawTelling(random) : vocabulary.Draw(random));
    query.text = absl::StrJoin(words, " ");
    if (mode != SearchMode::kWords) {
      query.vector.resize(kWidth);
      RandomDirection(direction, query.vector.data());
    }
    const double start = Now(), work = Worked();
    const absl::StatusOr<std::vector<ScoredChunk>> found = collection.Search(query);
    times.push_back(Now() - start);
    worked.push_back(Worked() - work);
    if (!found.ok()) Fail(found.status());
    if (found->empty()) Fail(absl::InternalError(absl::StrCat("nothing is found for '", query.text, "'")));
  }
  std::sort(times.begin(), times.end());
  std::sort(worked.begin(), worked.end());
  const size_t p99 = times.size() * 99 / 100;
  std::printf("by %s, %s: median %.1f ms, longest %.1f ms; of the processor: median %.1f ms, p99 %.1f ms\n",
              by_words ? "words" : "both", telling ? "words of ranks 100 to 20,000" : "words as texts have them",
              times[times.size() / 2] * 1e3, times.back() * 1e3, worked[worked.size() / 2] * 1e3, worked[p99] * 1e3);
  return Report("  p99", times[p99], by_words ? kWordsBar : kBothBar);
}

int Run(const fs::path& folder, int64_t chunks) {
  const Vocabulary vocabulary;
  Make(folder, chunks, vocabulary);
  bool met = true;
  double start = Now();
  {
    absl::StatusOr<std::unique_ptr<Collection>> writer = Collection::Open(folder, Options(OpenMode::kWrite));
    if (!writer.ok()) Fail(writer.status());
    met &= Report("open for writing", Now() - start, kOpenBar);
    Document document;
    document.source = "made";
    document.path = "0.txt";
    document.text = vocabulary.Text(0) + absl::StrCat(start);
    document.parser = "text/1";
    start = Now();
    const absl::StatusOr<std::vector<PutOutcome>> outcomes = (*writer)->Put({document});
    if (!outcomes.ok()) Fail(outcomes.status());
    std::printf("%-58s %8.3f s\n", "one document replaced", Now() - start);
  }
  const int64_t before = MemoryOf("VmRSS");
  start = Now();
  absl::StatusOr<std::unique_ptr<Collection>> collection = Collection::Open(folder, Options(OpenMode::kRead));
  if (!collection.ok()) Fail(collection.status());
  met &= Report("open for reading", Now() - start, kOpenBar);
  Query first;
  first.text = WordOf(500);
  first.mode = SearchMode::kWords;
  if (const auto found = (*collection)->Search(first); !found.ok()) Fail(found.status());
  met &= Report("open for reading and first search by words", Now() - start, kOpenBar);
  const int64_t words_memory = MemoryOf("RssAnon"), words_mapped = MemoryOf("RssFile");
  for (const bool telling : {true, false}) met &= SearchAll(**collection, vocabulary, SearchMode::kWords, telling);
  first.mode = SearchMode::kMeaning;
  first.vector.assign(kWidth, 0.0f);
  first.vector[0] = 1;
  start = Now();
  if (const auto found = (*collection)->Search(first); !found.ok()) Fail(found.status());
  std::printf("%-58s %8.3f s\n", "first search by meaning: vectors read and checked", Now() - start);
  for (const bool telling : {true, false}) met &= SearchAll(**collection, vocabulary, SearchMode::kBoth, telling);
  const absl::StatusOr<CollectionStats> stats = (*collection)->Stats();
  if (!stats.ok()) Fail(stats.status());
  const double megabyte = 1 << 20;
  std::printf(
      "memory: %.0f MB before, %.0f MB after searches by words (and %.0f MB of files in the page cache), %.0f MB "
      "(%.0f MB) after searches by both\n",
      static_cast<double>(before) / megabyte, static_cast<double>(words_memory) / megabyte,
      static_cast<double>(words_mapped) / megabyte, static_cast<double>(MemoryOf("RssAnon")) / megabyte,
      static_cast<double>(MemoryOf("RssFile")) / megabyte);
  std::printf("disk: %lld chunks in %lld segments: database %.0f MB (texts %.0f MB), vectors %.0f MB, words %.0f MB\n",
              static_cast<long long>(stats->chunks), static_cast<long long>(stats->segments),
              static_cast<double>(stats->database_bytes) / megabyte, static_cast<double>(stats->text_bytes) / megabyte,
              static_cast<double>(stats->segment_bytes) / megabyte, static_cast<double>(stats->word_bytes) / megabyte);
  std::printf(met ? "all bars are met\n" : "a bar is not met\n");
  return met ? 0 : 1;
}

}  // namespace
}  // namespace blazon::retrieval

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [CHUNKS]\n", argv[0]);
    return 2;
  }
  return blazon::retrieval::Run(argv[1], argc > 2 ? std::atoll(argv[2]) : 1000000);
}
