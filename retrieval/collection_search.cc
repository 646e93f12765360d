// Reading a collection: views of the vectors, search, lists.
#include <algorithm>
#include <functional>
#include <numeric>
#include <system_error>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "retrieval/chunk_texts.h"
#include "retrieval/collection_impl.h"
#include "retrieval/filter_evaluator.h"
#include "retrieval/fusion.h"
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

}  // namespace

Box ParseBox(const std::string& text) {
  const std::vector<std::string> numbers = absl::StrSplit(text, ' ');
  Box box;
  if (numbers.size() != 4 || !absl::SimpleAtod(numbers[0], &box.left) || !absl::SimpleAtod(numbers[1], &box.top) ||
      !absl::SimpleAtod(numbers[2], &box.width) || !absl::SimpleAtod(numbers[3], &box.height))
    return {};
  return box;
}

Document DocumentOfRow(const Rows& rows) {
  Document document;
  document.source = rows.Text(1);
  document.path = rows.Text(2);
  document.title = rows.Text(3);
  document.parser = rows.Text(4);
  document.encoding = rows.Text(5);
  document.content_digest = rows.Text(6);
  document.text = rows.Text(7);
  document.language = rows.Text(8);
  return document;
}

// --- views ---

absl::StatusOr<std::shared_ptr<const Segment>> Collection::Impl::SegmentOf(int64_t number, int64_t dimension,
                                                                           const std::string& checksum) const {
  {
    const std::lock_guard<std::mutex> lock(view_mutex_);
    const auto known = view_ ? view_->segments.find(number) : std::map<int64_t, LiveSegment>::const_iterator();
    if (view_ && known != view_->segments.end()) return known->second.segment;
  }
  return Segment::Read(folder_, number, dimension, checksum);
}

absl::StatusOr<std::shared_ptr<const Collection::Impl::View>> Collection::Impl::ViewOf(
    Database& database, std::shared_ptr<const Segment> fresh) const {
  absl::StatusOr<std::string> generation_text = ManifestValue(database, "generation");
  if (!generation_text.ok()) return generation_text.status();
  int64_t generation = 0;
  if (!absl::SimpleAtoi(*generation_text, &generation))
    return absl::DataLossError(absl::StrCat(database_file().string(), " has no generation in its manifest"));
  std::shared_ptr<const View> known;
  {
    const std::lock_guard<std::mutex> lock(view_mutex_);
    known = view_;
  }
  if (known && known->generation == generation) return known;

  const absl::StatusOr<int64_t> dimension = DimensionOf(database);
  if (!dimension.ok()) return dimension.status();
  auto view = std::make_shared<View>();
  view->generation = generation;
  absl::StatusOr<IndexKind> asked = AskedIndex(database);
  if (!asked.ok()) return asked.status();
  Rows rows = database.Query("SELECT number, checksum FROM segments");
  while (rows.Next()) {
    const int64_t number = rows.Int(0);
    LiveSegment entry;
    entry.checksum = rows.Text(1);
    if (fresh && fresh->number() == number) {
      entry.segment = fresh;
    } else if (known && known->segments.contains(number)) {
      entry.segment = known->segments.at(number).segment;
      entry.index = known->segments.at(number).index;
    } else {
      absl::StatusOr<std::shared_ptr<const Segment>> segment = Segment::Read(folder_, number, *dimension, rows.Text(1));
      if (!segment.ok()) return segment.status();
      entry.segment = std::move(*segment);
    }
    if (!entry.index) AttachIndex(*asked, entry);
    const int64_t size = entry.segment->size();
    entry.live.assign(static_cast<size_t>((size + 7) / 8), 0xff);
    if (size % 8) entry.live.back() = static_cast<uint8_t>((1 << (size % 8)) - 1);
    entry.live_count = size;
    view->segments.emplace(number, std::move(entry));
  }
  if (!rows.status().ok()) return rows.status();
  Rows dead = database.Query("SELECT segment, chunk FROM tombstones");
  while (dead.Next()) {
    const auto found = view->segments.find(dead.Int(0));
    const int64_t row = found == view->segments.end() ? -1 : found->second.segment->Find(dead.Int(1));
    if (row < 0)
      return absl::DataLossError(absl::StrCat(
          database_file().string(), " has a tombstone for a vector that does not exist", RepairRemedy(folder_)));
    found->second.live[static_cast<size_t>(row / 8)] &= static_cast<uint8_t>(~(1 << (row % 8)));
    --found->second.live_count;
  }
  if (!dead.status().ok()) return dead.status();
  for (const auto& [number, entry] : view->segments) view->live_count += entry.live_count;
  const std::lock_guard<std::mutex> lock(view_mutex_);
  if (!view_ || view_->generation < generation) view_ = view;
  return std::shared_ptr<const View>(view);
}

absl::StatusOr<std::unique_ptr<Collection::Impl::Reading>> Collection::Impl::Reading::Start(const Impl& impl,
                                                                                            bool vectors, bool words) {
  // A writer may remove a merged segment between our look at the manifest and the opening of the file: then there is a
  // new generation to see.
  absl::Status status;
  for (int attempt = 0; attempt < 20; ++attempt) {
    std::unique_ptr<Reading> reading(new Reading(impl));
    {
      const std::lock_guard<std::mutex> lock(impl.readers_mutex_);
      if (!impl.idle_readers_.empty()) {
        reading->database_ = std::move(impl.idle_readers_.back());
        impl.idle_readers_.pop_back();
      }
    }
    if (!reading->database_) {
      absl::StatusOr<std::unique_ptr<Database>> database = impl.Connect(false);
      if (!database.ok()) return database.status();
      reading->database_ = std::move(*database);
    }
    reading->transaction_ = std::make_unique<Transaction>(*reading->database_, Transaction::Kind::kRead);
    if (!reading->transaction_->status().ok()) return reading->transaction_->status();
    status = absl::OkStatus();
    if (vectors) {
      absl::StatusOr<std::shared_ptr<const View>> view = impl.ViewOf(*reading->database_);
      status = view.status();
      if (view.ok()) reading->view_ = *std::move(view);
    }
    if (words && status.ok()) {
      absl::StatusOr<std::shared_ptr<const WordView>> view = impl.WordsOf(*reading->database_);
      status = view.status();
      if (view.ok()) reading->words_ = *std::move(view);
    }
    if (status.ok()) return reading;
    if (!absl::IsNotFound(status)) return status;
    status = MissingIsLost(status, impl.folder_);
  }
  return status;
}

Collection::Impl::Reading::~Reading() {
  transaction_.reset();
  if (!database_) return;
  const std::lock_guard<std::mutex> lock(impl_.readers_mutex_);
  impl_.idle_readers_.push_back(std::move(database_));
}

// --- search ---

absl::StatusOr<std::vector<ScoredChunk>> Collection::Impl::Search(const Query& query) const {
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
  const bool by_meaning = query.mode != SearchMode::kWords;
  if (query.text.empty() && (by_words || query.vector.empty()))
    return absl::InvalidArgumentError("the question is empty");
  const std::vector<std::string> words = ContentWords(query.text);
  if (by_words && words.size() > kMaxQueryTerms) {
    return absl::InvalidArgumentError(
        absl::StrCat("the question has ", words.size(), " different words; at most ", kMaxQueryTerms, " are allowed"));
  }

  std::vector<float> vector = query.vector;
  if (by_meaning && vector.empty()) {
    const Embedder& embedder = options_.embedder;
    if (!embedder.embed)
      return absl::FailedPreconditionError(
          "search by meaning needs an embedder or the question's vector; without one, search by words");
    if (const int64_t tokens = embedder.count_tokens(query.text); tokens > embedder.max_tokens) {
      return absl::InvalidArgumentError(
          absl::StrCat("the question has ", tokens, " tokens; the embedder reads at most ", embedder.max_tokens));
    }
    absl::StatusOr<std::vector<float>> embedded = embedder.embed({query.text});
    if (!embedded.ok()) return embedded.status();
    vector = std::move(*embedded);
  }

  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, !vector.empty(), !words.empty());
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  if (!vector.empty()) {
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
  }
  std::shared_ptr<const Filtered> filtered;
  absl::flat_hash_map<int64_t, WordSearch::Allowed> allowed;  // by segment, when there is a filter
  if (!query.filter.empty()) {
    absl::StatusOr<std::shared_ptr<const Filtered>> evaluated = Evaluate(database, query.filter);
    if (!evaluated.ok()) return evaluated.status();
    filtered = *std::move(evaluated);
    // Vectors and words of a segment have the same rows.
    if (!vector.empty()) {
      for (const auto& [number, entry] : (*reading)->view().segments)
        allowed[number] = RowsOf(entry.segment->ids(), filtered->ids);
    } else if (!words.empty()) {
      for (const auto& [number, part] : (*reading)->words().parts())
        allowed[number] = RowsOf(part.index->ids(), filtered->ids);
    }
  }
  WordSearch::Weighed asked;
  if (!words.empty()) {
    absl::StatusOr<WordSearch::Weighed> weighed =
        (*reading)->words().Weigh(AnalyzeQuery(words, (*reading)->words().stems()));
    if (!weighed.ok()) return weighed.status();
    asked = *std::move(weighed);
  }

  // Of one document more may be found than are wanted; then the search goes deeper, to the end if need be.
  std::vector<Candidate> candidates;
  bool words_left_out = false;  // chunks with some of the words may be below the depth
  for (int64_t depth = std::max<int64_t>(100, 4 * query.count);; depth *= 4) {
    // Words and the vectors of each segment are searched side by side.
    std::vector<std::function<void()>> tasks;
    absl::StatusOr<std::vector<WordHit>> word_hits = std::vector<WordHit>();
    if (by_words && !words.empty()) {
      tasks.emplace_back([&] { word_hits = (*reading)->words().Best(asked, depth, filtered ? &allowed : nullptr); });
    }
    std::map<int64_t, absl::StatusOr<std::vector<VectorHit>>> vector_hits;  // by segment
    int64_t read = 0;                                                       // vectors that are looked at
    if (by_meaning && !vector.empty()) {
      for (const auto& [number, entry] : (*reading)->view().segments) {
        const WordSearch::Allowed* of_filter = filtered ? &allowed.at(number) : nullptr;
        const int64_t rows = of_filter ? of_filter->count : entry.live_count;
        if (!entry.index) read += rows;
        tasks.emplace_back([&vector, depth, &entry, of_filter, rows,
                            &hits = vector_hits.try_emplace(number, std::vector<VectorHit>()).first->second] {
          hits = entry.Search(vector, depth, of_filter ? of_filter->bits : entry.live, rows);
        });
      }
    }
    RunTasks(tasks, read < kRowsWorthThreads ? 1 : static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));

    absl::flat_hash_map<int64_t, Candidate> found;
    if (!word_hits.ok()) return word_hits.status();
    for (const WordHit& hit : *word_hits) found[hit.chunk_id] = Candidate{hit.chunk_id, hit.score, 0, 0, 0};
    words_left_out = static_cast<int64_t>(found.size()) == depth;
    bool left_out = words_left_out;
    if (!vector.empty()) {
      const View& view = (*reading)->view();
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
          candidate.cosine = std::inner_product(vector.begin(), vector.end(), entry.segment->vector(row), 0.0);
        }
      }
    }

    candidates.clear();
    for (const auto& [id, candidate] : found) candidates.push_back(candidate);
    if (query.mode == SearchMode::kBoth && query.fusion == Fusion::kReciprocalRank) {
      FuseReciprocalRank(candidates);
    } else {
      FuseWeightedSum(query.mode == SearchMode::kWords     ? 1
                      : query.mode == SearchMode::kMeaning ? 0
                                                           : query.word_weight,
                      candidates);
    }
    if (absl::Status status = Select(database, query, candidates); !status.ok()) return status;
    if (candidates.size() == static_cast<size_t>(query.count) || !left_out) break;
  }

  // A chunk found by meaning alone may hold words too: below the depth of the search by words, where they hardly count
  // for the order.
  for (Candidate& candidate : candidates) {
    if (words.empty()) break;
    absl::StatusOr<WordSearch::Match> match = (*reading)->words().MatchOf(asked, candidate.chunk_id);
    if (!match.ok()) return match.status();
    candidate.coverage = match->coverage;
    if (candidate.word_score == 0) candidate.word_score = match->score;
  }

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
  if (absl::Status status = AddNeighbours(database, query, results); !status.ok()) return status;
  return results;
}

// --- documents ---

absl::StatusOr<Document> Collection::Impl::Get(const std::string& document_id) const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  Document document;
  int64_t key = 0;
  {
    Rows rows = database.Query(absl::StrCat("SELECT key, source, path, title, parser, encoding, digest, text, ",
                                            LanguageColumn(format_), " FROM documents WHERE id = ?"),
                               document_id);
    if (!rows.Next()) {
      return rows.status().ok()
                 ? absl::NotFoundError(absl::StrCat("there is no document ", absl::CHexEscape(document_id)))
                 : rows.status();
    }
    key = rows.Int(0);
    document = DocumentOfRow(rows);
  }
  Rows rows = database.Query("SELECT name, value FROM document_metadata WHERE document = ?", key);
  while (rows.Next()) document.metadata[rows.Text(0)] = rows.Text(1);
  if (!rows.status().ok()) return rows.status();
  return document;
}

absl::StatusOr<DocumentPage> Collection::Impl::List(int64_t page_size, const std::string& page_token,
                                                    const Filter& filter) const {
  if (page_size < 1 || page_size > 10000)
    return absl::InvalidArgumentError(absl::StrCat("page_size is ", page_size, "; it must be 1 to 10000"));
  std::pair<std::string, std::string> after;  // source, path of the last document seen
  if (!page_token.empty()) {
    std::string token;
    if (!absl::WebSafeBase64Unescape(page_token, &token) || token.find('\0') == std::string::npos) {
      return absl::InvalidArgumentError("page_token is not one that a list returned");
    }
    after = absl::StrSplit(token, absl::MaxSplits('\0', 1));
  }
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  std::shared_ptr<const Filtered> filtered;
  if (!filter.empty()) {
    absl::StatusOr<std::shared_ptr<const Filtered>> evaluated = Evaluate(database, filter);
    if (!evaluated.ok()) return evaluated.status();
    filtered = *std::move(evaluated);
  }
  DocumentPage page;
  std::vector<int64_t> keys;
  {
    Rows rows = database.Query(
        absl::StrCat("SELECT key, id, source, path, title, parser, encoding, digest, bytes, chunks, ",
                     LanguageColumn(format_), " FROM documents WHERE (source, path) > (?, ?) ORDER BY source, path"),
        after.first, after.second);
    while (rows.Next()) {
      if (filtered && !std::binary_search(filtered->keys.begin(), filtered->keys.end(), rows.Int(0))) continue;
      if (keys.size() == static_cast<size_t>(page_size)) {
        const DocumentInfo& last = page.documents.back();
        page.next_page_token = absl::WebSafeBase64Escape(last.source + '\0' + last.path);
        break;
      }
      keys.push_back(rows.Int(0));
      page.documents.push_back({rows.Text(1),
                                rows.Text(2),
                                rows.Text(3),
                                rows.Text(4),
                                rows.Text(5),
                                rows.Text(6),
                                rows.Text(7),
                                rows.Text(10),
                                rows.Int(8),
                                rows.Int(9),
                                {}});
    }
    if (!rows.status().ok()) return rows.status();
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    Rows rows = database.Query("SELECT name, value FROM document_metadata WHERE document = ?", keys[i]);
    while (rows.Next()) page.documents[i].metadata[rows.Text(0)] = rows.Text(1);
    if (!rows.status().ok()) return rows.status();
  }
  return page;
}

absl::StatusOr<bool> Collection::Impl::IsCurrent(const std::string& source, const std::string& path,
                                                 const std::string& digest, const std::string& parser) const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Rows rows =
      (*reading)->database().Query("SELECT 1 FROM documents WHERE id = ? AND digest = ? AND parser = ? AND chunker = ?",
                                   DocumentId(source, path), digest, parser, ChunkerVersion(options_.chunker));
  const bool current = rows.Next();
  if (!rows.status().ok()) return rows.status();
  return current;
}

absl::StatusOr<std::string> Collection::Impl::Setting(const std::string& name) const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  return ManifestValue((*reading)->database(), absl::StrCat(kSettingKey, name));
}

absl::StatusOr<CollectionStats> Collection::Impl::Stats() const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  CollectionStats stats;
  {
    Rows rows = database.Query(
        "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks), (SELECT count(*) FROM segments), "
        "(SELECT coalesce(sum(vectors), 0) FROM segments), (SELECT count(*) FROM tombstones), "
        "(SELECT coalesce(sum(bytes), 0) FROM documents)");
    if (!rows.Next()) return rows.status();
    stats.documents = rows.Int(0);
    stats.chunks = rows.Int(1);
    stats.segments = rows.Int(2);
    stats.vectors = rows.Int(3);
    stats.dead_vectors = rows.Int(4);
    stats.text_bytes = rows.Int(5);
  }
  for (const auto& [key, place] :
       {std::pair("generation", &stats.generation), std::pair("dimension", &stats.dimension)}) {
    absl::StatusOr<std::string> value = ManifestValue(database, key);
    if (!value.ok()) return value.status();
    (void)absl::SimpleAtoi(*value, place);
  }
  absl::StatusOr<std::string> embedder = ManifestValue(database, "embedder");
  if (!embedder.ok()) return embedder.status();
  stats.embedder = *embedder;
  {
    Rows rows = database.Query("SELECT key, value FROM manifest WHERE key GLOB ?", absl::StrCat(kSettingKey, "*"));
    while (rows.Next()) stats.settings[rows.Text(0).substr(std::string(kSettingKey).size())] = rows.Text(1);
    if (!rows.status().ok()) return rows.status();
  }
  if (absl::Status status = AddIndexStats(database, stats); !status.ok()) return status;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const uintmax_t size = entry.file_size(error);
    if (error) continue;  // gone since
    const std::string extension = entry.path().extension().string();
    (extension == ".vec"     ? stats.segment_bytes
     : extension == ".idx"   ? stats.index_bytes
     : extension == ".words" ? stats.word_bytes
                             : stats.database_bytes) += static_cast<int64_t>(size);
  }
  return stats;
}

}  // namespace blazon::retrieval
