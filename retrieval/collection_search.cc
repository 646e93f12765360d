// Searching a collection: candidates by words and by meaning, fused, chosen and read.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "retrieval/chunk_texts.h"
#include "retrieval/collection_impl.h"
#include "retrieval/filter_evaluator.h"
#include "retrieval/fusion.h"
#include "retrieval/given_chunks.h"
#include "retrieval/run_tasks.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

constexpr int64_t kMaxCount = 1000;
// So many vectors take a thread some milliseconds to look at.
constexpr int64_t kRowsWorthThreads = 65536;

// One bit for each of the ids (ascending) that is among the wanted ones (ascending too). Wanted ones are live.
WordSearch::Allowed RowsOf(absl::Span<const int64_t> ids, const std::vector<int64_t>& wanted) {
  WordSearch::Allowed rows;
  std::vector<uint8_t>& bits = rows.bits;
  bits.resize((ids.size() + 7) / 8);
  auto place = ids.begin();
  for (const int64_t id : wanted) {
    // Steps of doubling length, then between the last two: as good for few wanted ids as for many.
    int64_t step = 1;
    while (ids.end() - place > step && place[step] < id) {
      place += step;
      step *= 2;
    }
    place = std::lower_bound(place, ids.end() - place > step ? place + step + 1 : ids.end(), id);
    if (place == ids.end()) break;
    const int64_t row = place - ids.begin();
    if (*place != id) continue;
    bits[static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << (row % 8));
    ++rows.count;
  }
  return rows;
}

bool Bit(const std::vector<uint8_t>& bits, int64_t row) { return bits[static_cast<size_t>(row / 8)] >> (row % 8) & 1; }

absl::Status CheckQuery(const Query& query) {
  if (query.count < 1 || query.count > kMaxCount)
    return absl::InvalidArgumentError(absl::StrCat("count is ", query.count, "; it must be 1 to ", kMaxCount));
  if (!(query.word_weight >= 0 && query.word_weight <= 1))
    return absl::InvalidArgumentError("word_weight must be 0 to 1");
  if (query.max_per_document < 0) return absl::InvalidArgumentError("max_per_document must be at least 0");
  if (query.neighbours < 0 || query.neighbours > kMaxNeighbours) {
    return absl::InvalidArgumentError(
        absl::StrCat("neighbours is ", query.neighbours, "; it must be 0 to ", kMaxNeighbours));
  }
  if (query.text.size() > kMaxQueryBytes)
    return absl::InvalidArgumentError(
        absl::StrCat("the question has ", query.text.size(), " bytes; at most ", kMaxQueryBytes, " are allowed"));
  if (!IsValidUtf8(query.text)) return absl::InvalidArgumentError("the question is not valid UTF-8");
  const bool by_words = query.mode != SearchMode::kMeaning;
  if (query.text.empty() && (by_words || query.vector.empty()))
    return absl::InvalidArgumentError("the question is empty");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<float>> Collection::Impl::VectorOf(const Query& query) const {
  if (query.mode == SearchMode::kWords || !query.vector.empty()) return query.vector;
  const Embedder& embedder = options_.embedder;
  if (!embedder.embed)
    return absl::FailedPreconditionError(
        "search by meaning needs an embedder or the question's vector; without one, search by words");
  if (const int64_t tokens = embedder.count_tokens(query.text); tokens > embedder.max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("the question has ", tokens, " tokens; the embedder reads at most ", embedder.max_tokens));
  }
  return embedder.embed({query.text});
}

absl::Status Collection::Impl::CheckVector(Database& database, const Query& query,
                                           const std::vector<float>& vector) const {
  absl::StatusOr<Kept> kept = KeptVectors(database);
  if (!kept.ok()) return kept.status();
  if ((query.vector.empty() || !query.vector_is_given) && IsGivenEmbedder(kept->embedder)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "this collection's vectors come from ", kept->embedder,
        ", which only callers have; give the question's vector, search by words, or have its pieces embedded here: "
        "'blazon index export', then 'blazon index import --without-vectors' into a new collection"));
  }
  if (kept->dimension > 0 && static_cast<int64_t>(vector.size()) != kept->dimension) {
    return absl::InvalidArgumentError(absl::StrCat("the question's vector has ", vector.size(),
                                                   " dimensions; those of the collection have ", kept->dimension));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Collection::Impl::FindCandidates(const Sought& sought, int64_t depth,
                                                      std::vector<Candidate>& candidates) const {
  // Words and the vectors of each segment are searched side by side.
  std::vector<std::function<void()>> tasks;
  absl::StatusOr<std::vector<WordHit>> word_hits = std::vector<WordHit>();
  if (sought.by_words) {
    tasks.emplace_back([&] {
      word_hits = sought.reading.words().Best(sought.words, depth, sought.filtered ? &sought.allowed : nullptr);
    });
  }
  std::map<int64_t, absl::StatusOr<std::vector<VectorHit>>> vector_hits;  // by segment
  int64_t read = 0;                                                       // vectors that are looked at
  if (sought.by_meaning) {
    for (const auto& [number, entry] : sought.reading.view().segments) {
      const WordSearch::Allowed* of_filter = sought.filtered ? &sought.allowed.at(number) : nullptr;
      const int64_t rows = of_filter ? of_filter->count : entry.live_count;
      if (!entry.index) read += rows;
      tasks.emplace_back([&sought, depth, &entry, of_filter, rows,
                          &hits = vector_hits.try_emplace(number, std::vector<VectorHit>()).first->second] {
        hits = entry.Search(sought.vector, depth, of_filter ? of_filter->bits : entry.live, rows);
      });
    }
  }
  RunTasks(tasks, read < kRowsWorthThreads ? 1 : static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));

  absl::flat_hash_map<int64_t, Candidate> found;
  if (!word_hits.ok()) return word_hits.status();
  for (const WordHit& hit : *word_hits) found[hit.chunk_id] = Candidate{hit.chunk_id, hit.score, 0, 0, 0};
  bool left_out = static_cast<int64_t>(found.size()) == depth;
  if (!sought.vector.empty()) {
    const View& view = sought.reading.view();
    std::vector<std::pair<float, int64_t>> best;  // minus cosine, chunk
    for (const auto& [number, hits] : vector_hits) {
      if (!hits.ok()) return hits.status();
      const absl::Span<const int64_t> ids = view.segments.at(number).segment->ids();
      for (const VectorHit& hit : *hits) best.emplace_back(-hit.cosine, ids[static_cast<size_t>(hit.row)]);
    }
    std::sort(best.begin(), best.end());
    if (best.size() >= static_cast<size_t>(depth)) {
      best.resize(static_cast<size_t>(depth));
      left_out = true;
    }
    for (const auto& [cosine, id] : best) found.emplace(id, Candidate{id, 0, 0, -cosine, 0});
    for (auto& [id, candidate] : found) {
      for (const auto& [number, entry] : view.segments) {
        const int64_t row = entry.segment->Find(id);
        if (row < 0 || !Bit(entry.live, row)) continue;
        candidate.cosine =
            std::inner_product(sought.vector.begin(), sought.vector.end(), entry.segment->vector(row), 0.0);
      }
    }
  }
  candidates.clear();
  for (const auto& [id, candidate] : found) candidates.push_back(candidate);
  return left_out;
}

absl::StatusOr<std::vector<ScoredChunk>> Collection::Impl::ChunksOf(Database& database,
                                                                    absl::Span<const Candidate> candidates) const {
  std::vector<ScoredChunk> results;
  ChunkTexts texts(database);
  const std::string select =
      absl::StrCat("SELECT d.id, d.source, d.path, d.title, ", HeadingsOf(format_),
                   ", c.span_begin, c.span_end, c.line, c.document, ", format_ >= 2 ? "c.place, c.box" : "'', ''",
                   " FROM chunks AS c JOIN documents AS d ON d.key = c.document WHERE c.id = ?");
  for (const Candidate& candidate : candidates) {
    Rows rows = database.Query(select, candidate.chunk_id);
    if (!rows.Next()) {
      if (!rows.status().ok()) return rows.status();
      return absl::DataLossError(
          absl::StrCat(database_file().string(), " lacks chunk ", candidate.chunk_id, RepairRemedy(folder_)));
    }
    ScoredChunk& result = results.emplace_back();
    result.chunk_id = candidate.chunk_id;
    result.document_id = rows.Text(0);
    result.source = rows.Text(1);
    result.path = rows.Text(2);
    result.title = rows.Text(3);
    result.heading_path = rows.Text(4);
    result.span = {static_cast<size_t>(rows.Int(5)), static_cast<size_t>(rows.Int(6))};
    result.line = rows.Int(7);
    absl::StatusOr<std::string> text = texts.Read(rows.Int(8), rows.Int(5), rows.Int(6));
    if (!text.ok()) return text.status();
    result.text = *std::move(text);
    result.place = rows.Text(9);
    result.box = ParseBox(rows.Text(10));
    result.word_score = candidate.word_score;
    result.coverage = candidate.coverage;
    result.cosine = candidate.cosine;
    result.score = candidate.score;
  }
  return results;
}

absl::StatusOr<std::vector<ScoredChunk>> Collection::Impl::Search(const Query& query) const {
  if (absl::Status status = CheckQuery(query); !status.ok()) return status;
  const std::vector<std::string> words = ContentWords(query.text);
  const bool by_words = query.mode != SearchMode::kMeaning && !words.empty();
  if (by_words && words.size() > kMaxQueryTerms) {
    return absl::InvalidArgumentError(
        absl::StrCat("the question has ", words.size(), " different words; at most ", kMaxQueryTerms, " are allowed"));
  }
  absl::StatusOr<std::vector<float>> vector = VectorOf(query);
  if (!vector.ok()) return vector.status();
  const bool with_vector = !vector->empty();
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, with_vector, !words.empty());
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  Sought sought{.reading = **reading,
                .by_words = by_words,
                .by_meaning = query.mode != SearchMode::kWords && with_vector,
                .vector = *std::move(vector)};
  if (with_vector) {
    if (absl::Status status = CheckVector(database, query, sought.vector); !status.ok()) return status;
  }
  if (!query.filter.empty()) {
    absl::StatusOr<std::shared_ptr<const Filtered>> evaluated = Evaluate(database, query.filter);
    if (!evaluated.ok()) return evaluated.status();
    sought.filtered = *std::move(evaluated);
    // Vectors and words of a segment have the same rows.
    if (with_vector) {
      for (const auto& [number, entry] : (*reading)->view().segments)
        sought.allowed[number] = RowsOf(entry.segment->ids(), sought.filtered->ids);
    } else if (!words.empty()) {
      for (const auto& [number, part] : (*reading)->words().parts())
        sought.allowed[number] = RowsOf(part.index->ids(), sought.filtered->ids);
    }
  }
  if (!words.empty()) {
    absl::StatusOr<WordSearch::Weighed> weighed =
        (*reading)->words().Weigh(AnalyzeQuery(words, (*reading)->words().stems()));
    if (!weighed.ok()) return weighed.status();
    sought.words = *std::move(weighed);
  }

  // Of one document more may be found than are wanted; then the search goes deeper, to the end if need be.
  std::vector<Candidate> candidates;
  for (int64_t depth = std::max<int64_t>(100, 4 * query.count);; depth *= 4) {
    const absl::StatusOr<bool> left_out = FindCandidates(sought, depth, candidates);
    if (!left_out.ok()) return left_out.status();
    if (query.mode == SearchMode::kBoth && query.fusion == Fusion::kReciprocalRank) {
      FuseReciprocalRank(candidates);
    } else {
      FuseWeightedSum(query.mode == SearchMode::kWords     ? 1
                      : query.mode == SearchMode::kMeaning ? 0
                                                           : query.word_weight,
                      candidates);
    }
    if (absl::Status status = Select(database, query, candidates); !status.ok()) return status;
    if (candidates.size() == static_cast<size_t>(query.count) || !*left_out) break;
  }

  // A chunk found by meaning alone may hold words too: below the depth of the search by words, where they hardly count
  // for the order.
  for (Candidate& candidate : candidates) {
    if (words.empty()) break;
    absl::StatusOr<WordSearch::Match> match = (*reading)->words().MatchOf(sought.words, candidate.chunk_id);
    if (!match.ok()) return match.status();
    candidate.coverage = match->coverage;
    if (candidate.word_score == 0) candidate.word_score = match->score;
  }
  absl::StatusOr<std::vector<ScoredChunk>> results = ChunksOf(database, candidates);
  if (!results.ok()) return results;
  if (absl::Status status = AddNeighbours(database, query, *results); !status.ok()) return status;
  return results;
}

}  // namespace blazon::retrieval
