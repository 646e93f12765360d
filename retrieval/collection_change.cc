// Changing a collection: embedding, deleting, and the commit with its new segment.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <tuple>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {
namespace {

constexpr double kRebuildDeadShare = 0.3;
// Vectors that one change gathers into one segment, beside its own, at most: what a change may need of disk and memory.
constexpr int64_t kMaxMergedBytes = 256 << 20;
// Bytes that stay free when segments are merged.
constexpr int64_t kHeadRoomBytes = 2 << 20;

}  // namespace

absl::StatusOr<std::vector<float>> EmbedAll(const CollectionOptions& options, const std::vector<std::string>& texts) {
  const size_t dimension = static_cast<size_t>(options.embedder.dimension);
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  // Texts of like length together, so that a batch is padded little.
  std::sort(order.begin(), order.end(),
            [&texts](size_t a, size_t b) { return std::pair(texts[a].size(), a) < std::pair(texts[b].size(), b); });
  std::vector<float> vectors(texts.size() * dimension);
  std::vector<std::string> batch;
  for (size_t begin = 0; begin < order.size(); begin += batch.size()) {
    batch.clear();
    for (size_t i = begin; i < order.size() && batch.size() < static_cast<size_t>(options.embed_batch); ++i)
      batch.push_back(texts[order[i]]);
    absl::StatusOr<std::vector<float>> rows = options.embedder.embed(batch);
    if (!rows.ok()) return rows.status();
    if (rows->size() != batch.size() * dimension) {
      return absl::InternalError(absl::StrCat("the embedder returned ", rows->size(), " numbers for ", batch.size(),
                                              " texts of dimension ", dimension));
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      const float* row = rows->data() + i * dimension;
      const double norm = std::inner_product(row, row + dimension, row, 0.0);
      if (!(std::abs(norm - 1) < 1e-2))
        return absl::InternalError("the embedder returned a vector that is not of unit length");
      std::copy(row, row + dimension, vectors.begin() + static_cast<ptrdiff_t>(order[begin + i] * dimension));
    }
  }
  return vectors;
}

absl::StatusOr<Collection::Impl::Change> Collection::Impl::StartChange() {
  if (unrecorded_ >= 0) {
    if (absl::Status status = RecordCommit(); !status.ok()) return status;
  }
  absl::StatusOr<std::shared_ptr<const WordView>> words = WordsOf(*writer_);
  if (!words.ok()) return MissingIsLost(words.status(), folder_);
  const absl::StatusOr<int64_t> dimension = DimensionOf(*writer_);
  if (!dimension.ok()) return dimension.status();
  Change change;
  change.generation = (*words)->generation;
  change.dimension = *dimension;
  change.words = std::move(*words);
  Rows segments = writer_->Query(
      "SELECT number, vectors, checksum, (SELECT count(*) FROM tombstones WHERE segment = number) FROM segments");
  while (segments.Next()) {
    change.segments[segments.Int(0)] = {segments.Text(2), segments.Int(1), segments.Int(1) - segments.Int(3)};
  }
  if (!segments.status().ok()) return segments.status();
  change.segment_number = next_segment_++;
  return change;
}

absl::Status Collection::Impl::RemoveDocument(int64_t key, Change& change) {
  std::vector<std::pair<int64_t, int64_t>> chunks;  // id, segment
  {
    Rows rows = writer_->Query("SELECT id, segment FROM chunks WHERE document = ?", key);
    while (rows.Next()) chunks.emplace_back(rows.Int(0), rows.Int(1));
    if (!rows.status().ok()) return rows.status();
  }
  for (const auto& [id, segment] : chunks) {
    if (absl::Status status = writer_->Run("INSERT INTO tombstones (segment, chunk) VALUES (?, ?)", segment, id);
        !status.ok())
      return status;
    ++change.newly_dead[segment];
  }
  for (const char* statement :
       {"DELETE FROM chunks WHERE document = ?", "DELETE FROM document_metadata WHERE document = ?",
        "DELETE FROM documents WHERE key = ?"}) {
    if (absl::Status status = writer_->Run(statement, key); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Collection::Impl::Delete(absl::Span<const std::string> document_ids) {
  if (options_.mode != OpenMode::kWrite) return ReadOnly();
  const std::lock_guard<std::mutex> lock(write_mutex_);
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  if (!transaction.status().ok()) return transaction.status();
  absl::StatusOr<Change> started = StartChange();
  if (!started.ok()) return started.status();
  Change& change = *started;
  int64_t removed = 0;
  for (const std::string& id : document_ids) {
    int64_t key = -1;
    {
      Rows rows = writer_->Query("SELECT key FROM documents WHERE id = ?", id);
      if (rows.Next()) key = rows.Int(0);
      if (!rows.status().ok()) return rows.status();
    }
    if (key < 0) continue;
    if (absl::Status status = RemoveDocument(key, change); !status.ok()) return status;
    ++removed;
  }
  if (removed == 0) return 0;
  if (absl::Status status = CommitChange(transaction, change); !status.ok()) return status;
  return removed;
}

absl::Status Collection::Impl::SetSetting(const std::string& name, const std::string& value) {
  if (options_.mode != OpenMode::kWrite) return ReadOnly();
  if (name.empty() || !std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_'; }))
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" does not name a setting: letters, digits and '_'"));
  const std::lock_guard<std::mutex> lock(write_mutex_);
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  if (!transaction.status().ok()) return transaction.status();
  absl::StatusOr<Change> change = StartChange();
  if (!change.ok()) return change.status();
  const std::string key = absl::StrCat(kSettingKey, name);
  absl::Status status =
      value.empty() ? writer_->Run("DELETE FROM manifest WHERE key = ?", key) : SetManifest(*writer_, key, value);
  return status.ok() ? CommitChange(transaction, *change) : status;
}

// New vectors go into one new segment, together with the live ones of segments that are mostly small or dead: each
// change takes in the segments that are no larger than what it has gathered so far, so their number stays logarithmic
// and a vector is rewritten O(log n) times (the logarithmic method: Bentley and Saxe, Journal of Algorithms 1, 1980),
// up to the size where segments are left alone. A merge that the disk has no room for is put off: deleting works on a
// full disk.
absl::StatusOr<std::set<int64_t>> Collection::Impl::ChooseMerged(const Change& change) const {
  struct Old {
    int64_t number, live, total;
    bool rebuild;  // many of its vectors are dead
  };
  std::vector<Old> old_segments;
  const int64_t row_bytes =
      static_cast<int64_t>(sizeof(int64_t)) + change.dimension * static_cast<int64_t>(sizeof(float));
  for (const auto& [number, row] : change.segments) {
    const auto dying = change.newly_dead.find(number);
    const int64_t total = row.total;
    const int64_t live = row.live - (dying == change.newly_dead.end() ? 0 : dying->second);
    old_segments.push_back(
        {number, live, total, static_cast<double>(total - live) > kRebuildDeadShare * static_cast<double>(total)});
  }
  std::sort(old_segments.begin(), old_segments.end(), [](const Old& a, const Old& b) {
    return std::tuple(!a.rebuild, a.live, a.number) < std::tuple(!b.rebuild, b.live, b.number);
  });
  std::set<int64_t> merged;
  const int64_t added = static_cast<int64_t>(change.added.size());
  int64_t gathered = added;
  for (const Old& old : old_segments) {
    if (!old.rebuild && old.live > gathered) break;
    // The first one is taken at any size: what is mostly dead shrinks, and what is not is no larger than the change.
    if (!merged.empty() && (gathered - added + old.live) * row_bytes > kMaxMergedBytes) break;
    merged.insert(old.number);
    gathered += old.live;
  }
  if (gathered > added) {
    int64_t word_bytes = 0;
    for (const int64_t number : merged) word_bytes += change.words->search.parts().at(number).index->bytes();
    absl::StatusOr<int64_t> free = files_->FreeBytes(folder_);
    if (!free.ok()) return free.status();
    if (*free < gathered * row_bytes + word_bytes + kHeadRoomBytes) {
      std::erase_if(merged, [&](int64_t number) {  // those without a live vector cost nothing to drop
        return std::any_of(old_segments.begin(), old_segments.end(),
                           [&](const Old& old) { return old.number == number && old.live > 0; });
      });
    }
  }
  return merged;
}

absl::Status Collection::Impl::RecordCommit() {
  absl::StatusOr<CommitRecord> record = RecordOf(database_file(), unrecorded_, writer_->log_frames());
  if (!record.ok()) return record.status();
  if (absl::Status status = WriteCommitRecord(folder_, *record, *files_); !status.ok()) return status;
  unrecorded_ = -1;
  return absl::OkStatus();
}

absl::Status Collection::Impl::CommitChange(Transaction& transaction, Change& change) {
  absl::StatusOr<std::set<int64_t>> chosen = ChooseMerged(change);
  if (!chosen.ok()) return chosen.status();
  const std::set<int64_t>& absorbed = *chosen;

  // Rows of absorbed segments that still have a chunk move; `added` has larger ids than any of them.
  std::vector<std::pair<int64_t, const float*>> rows;
  std::vector<std::shared_ptr<const Segment>> read;  // where those are
  std::vector<WordIndexBuilder::Source> words;
  for (const int64_t number : absorbed) {
    std::vector<int64_t> moving;
    {
      Rows ids_of_segment = writer_->Query("SELECT id FROM chunks WHERE segment = ?", number);
      while (ids_of_segment.Next()) moving.push_back(ids_of_segment.Int(0));
      if (!ids_of_segment.status().ok()) return ids_of_segment.status();
    }
    if (moving.empty()) continue;
    absl::StatusOr<std::shared_ptr<const Segment>> old =
        SegmentOf(number, change.dimension, change.segments.at(number).checksum);
    if (!old.ok()) return MissingIsLost(old.status(), folder_);
    const Segment& segment = *read.emplace_back(*std::move(old));
    WordIndexBuilder::Source& source = words.emplace_back();
    source.index = change.words->search.parts().at(number).index;
    source.live.resize(static_cast<size_t>((source.index->size() + 7) / 8));
    for (const int64_t id : moving) {
      const int64_t row = segment.Find(id);
      if (row < 0)
        return absl::DataLossError(
            absl::StrCat((folder_ / Segment::FileName(number)).string(), " lacks chunk ", id, RepairRemedy(folder_)));
      rows.emplace_back(id, segment.vector(row));
      source.live[static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << (row % 8));  // the rows are the same
    }
  }
  for (const int64_t number : absorbed) {
    if (absl::Status status =
            writer_->Run("UPDATE chunks SET segment = ? WHERE segment = ?", change.segment_number, number);
        !status.ok())
      return status;
    if (absl::Status status = writer_->Run("DELETE FROM tombstones WHERE segment = ?", number); !status.ok())
      return status;
    if (absl::Status status = writer_->Run("DELETE FROM segments WHERE number = ?", number); !status.ok())
      return status;
  }
  std::sort(rows.begin(), rows.end());
  rows.insert(rows.end(), change.added.begin(), change.added.end());

  std::shared_ptr<const Segment> fresh;
  std::shared_ptr<const WordIndex> fresh_words;
  // What was written takes no room when the rest cannot be.
  absl::Cleanup clear = [&] {
    for (const std::string& name :
         {Segment::FileName(change.segment_number), WordIndex::FileName(change.segment_number)})
      files_->Remove(folder_ / name).IgnoreError();
  };
  if (!rows.empty()) {
    const auto dimension = static_cast<size_t>(change.added.empty() ? change.dimension : change.kept.dimension);
    std::vector<int64_t> ids;
    std::vector<float> vectors;
    vectors.reserve(rows.size() * dimension);
    for (const auto& [id, vector] : rows) {
      ids.push_back(id);
      vectors.insert(vectors.end(), vector, vector + dimension);
    }
    fresh = std::make_shared<Segment>(change.segment_number, static_cast<int64_t>(dimension), std::move(ids), vectors);
    absl::StatusOr<std::string> checksum = fresh->Write(folder_, *files_);
    if (!checksum.ok()) return checksum.status();
    absl::StatusOr<std::shared_ptr<const WordIndex>> built = change.added_words.Build(change.segment_number, words);
    if (!built.ok()) return built.status();
    if (absl::Status status = (*built)->Write(folder_, *files_); !status.ok()) return status;
    // From the file, as its pages need no memory of ours.
    built = WordIndex::Read(folder_, change.segment_number, (*built)->checksum());
    if (!built.ok()) return built.status();
    fresh_words = *std::move(built);
    absl::Status status =
        writer_->Run("INSERT INTO segments (number, vectors, checksum, words) VALUES (?, ?, ?, ?)",
                     change.segment_number, fresh->size(), Blob{*checksum}, Blob{fresh_words->checksum()});
    if (status.ok() && !change.added.empty()) status = SetManifest(*writer_, "embedder", change.kept.embedder);
    if (status.ok()) status = SetManifest(*writer_, "dimension", absl::StrCat(dimension));
    if (!status.ok()) return status;
  }
  absl::Status status = SetManifest(*writer_, "next_segment", absl::StrCat(next_segment_));
  if (status.ok()) status = SetManifest(*writer_, "generation", absl::StrCat(change.generation + 1));
  if (!status.ok()) return status;
  std::move(clear).Cancel();
  status = transaction.Commit();
  // The new file stays for the next opening to judge: a failed commit may yet be found in the log.
  if (!status.ok()) return status;
  // The change is durable. Where its record cannot be written, the next change tries again before it starts.
  unrecorded_ = change.generation + 1;
  RecordCommit().IgnoreError();

  // One that stays is an orphan, which the next writer deletes.
  for (const int64_t number : absorbed) {
    files_->Remove(folder_ / Segment::FileName(number)).IgnoreError();
    files_->Remove(folder_ / SegmentIndex::FileName(number)).IgnoreError();
    files_->Remove(folder_ / WordIndex::FileName(number)).IgnoreError();
  }
  Transaction reading(*writer_, Transaction::Kind::kRead);
  // Where there are searches, the next one need not read the file.
  bool searched = false;
  {
    const std::lock_guard<std::mutex> lock(view_mutex_);
    searched = view_ != nullptr;
  }
  if (searched) ViewOf(*writer_, std::move(fresh)).IgnoreError();
  WordsOf(*writer_, std::move(fresh_words)).IgnoreError();
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
