// What narrows a search beside its query: filters, results of one document, and what stands around a result.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "retrieval/chunk_texts.h"
#include "retrieval/collection_impl.h"
#include "retrieval/filter_evaluator.h"

namespace blazon::retrieval {
namespace {

constexpr size_t kRemembered = 8;

}  // namespace

absl::StatusOr<std::shared_ptr<const Collection::Impl::Filtered>> Collection::Impl::Evaluate(
    Database& database, const Filter& filter) const {
  const Condition condition = AsCondition(filter);
  if (absl::Status status = CheckCondition(condition); !status.ok()) return status;
  absl::StatusOr<std::string> generation = ManifestValue(database, "generation");
  if (!generation.ok()) return generation.status();
  const std::string key = absl::StrCat(*generation, " ", ConditionText(condition));
  {
    const std::lock_guard<std::mutex> lock(filtered_mutex_);
    const auto known =
        std::find_if(filtered_.begin(), filtered_.end(), [&key](const auto& entry) { return entry->key == key; });
    if (known != filtered_.end()) {
      std::rotate(filtered_.begin(), known, known + 1);
      return filtered_.front();
    }
  }
  auto fresh = std::make_shared<Filtered>();
  fresh->key = key;
  absl::StatusOr<std::vector<int64_t>> keys = MatchingDocuments(database, condition);
  if (!keys.ok()) return keys.status();
  fresh->keys = *std::move(keys);
  absl::StatusOr<std::vector<int64_t>> ids = ChunksOfDocuments(database, fresh->keys);
  if (!ids.ok()) return ids.status();
  fresh->ids = *std::move(ids);
  const std::lock_guard<std::mutex> lock(filtered_mutex_);
  filtered_.insert(filtered_.begin(), fresh);
  if (filtered_.size() > kRemembered) filtered_.pop_back();
  return std::shared_ptr<const Filtered>(fresh);
}

absl::Status Collection::Impl::Select(Database& database, const Query& query,
                                      std::vector<Candidate>& candidates) const {
  const size_t count = static_cast<size_t>(query.count);
  if (query.max_per_document > 0) {
    absl::flat_hash_map<int64_t, int64_t> taken;  // by document
    std::vector<Candidate> selected;
    for (const Candidate& candidate : candidates) {
      if (selected.size() == count) break;
      Rows rows = database.Query("SELECT document FROM chunks WHERE id = ?", candidate.chunk_id);
      const bool there = rows.Next();
      if (!rows.status().ok()) return rows.status();
      if (there && ++taken[rows.Int(0)] > query.max_per_document) continue;
      selected.push_back(candidate);
    }
    candidates = std::move(selected);
  }
  if (candidates.size() > count) candidates.resize(count);
  return absl::OkStatus();
}

absl::Status Collection::Impl::AddNeighbours(Database& database, const Query& query,
                                             std::vector<ScoredChunk>& results) const {
  if (query.neighbours == 0) return absl::OkStatus();
  ChunkTexts texts(database);
  for (ScoredChunk& result : results) {
    // The chunks of a document are written in reading order, and together.
    Rows before = database.Query(
        "SELECT id, span_begin, span_end, line, document FROM chunks WHERE document = (SELECT document FROM chunks "
        "WHERE id = ?1) AND id < ?1 ORDER BY id DESC LIMIT ?2",
        result.chunk_id, query.neighbours);
    Rows after = database.Query(
        "SELECT id, span_begin, span_end, line, document FROM chunks WHERE document = (SELECT document FROM chunks "
        "WHERE id = ?1) AND id > ?1 ORDER BY id LIMIT ?2",
        result.chunk_id, query.neighbours);
    for (const auto& [rows, place] : {std::pair(&before, &result.before), std::pair(&after, &result.after)}) {
      while (rows->Next()) {
        absl::StatusOr<std::string> text = texts.Read(rows->Int(4), rows->Int(1), rows->Int(2));
        if (!text.ok()) return text.status();
        place->push_back({rows->Int(0),
                          {static_cast<size_t>(rows->Int(1)), static_cast<size_t>(rows->Int(2))},
                          rows->Int(3),
                          *std::move(text)});
      }
      if (!rows->status().ok()) return rows->status();
    }
    std::reverse(result.before.begin(), result.before.end());
  }
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
