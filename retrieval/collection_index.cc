// Approximate indexes of a collection's large segments: made on request, put to use when they are there.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {

absl::StatusOr<IndexKind> Collection::Impl::AskedIndex(Database& database) const {
  absl::StatusOr<std::string> name = ManifestValue(database, "index");
  if (!name.ok()) return name.status();
  if (name->empty()) return IndexKind::kAuto;  // of before there were any
  const std::optional<IndexKind> kind = ParseIndexKind(*name);
  if (!kind)
    return absl::FailedPreconditionError(
        absl::StrCat(folder_.string(), " asks for an index of kind '", *name, "', which this program does not know"));
  return *kind;
}

void Collection::Impl::AttachIndex(IndexKind asked, LiveSegment& entry) const {
  if (SegmentIndex::KindFor(asked, entry.segment->size(), options_.index_limits) == IndexKind::kExact) return;
  // What is missing or damaged costs time, not results; BuildIndexes makes it again.
  absl::StatusOr<std::shared_ptr<const SegmentIndex>> index =
      SegmentIndex::Read(folder_, *entry.segment, entry.checksum);
  if (index.ok() && (*index)->facts().asked == asked) entry.index = *std::move(index);
}

absl::Status Collection::Impl::BuildIndexes(const std::function<bool()>& stop) {
  if (options_.mode != OpenMode::kWrite)
    return absl::FailedPreconditionError(
        "the collection is open for reading; open it for writing to build its indexes");
  const std::lock_guard<std::mutex> building(index_mutex_);
  while (true) {
    IndexKind asked = IndexKind::kAuto;
    LiveSegment next;
    {
      absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, true);
      if (!reading.ok()) return reading.status();
      absl::StatusOr<IndexKind> kind = AskedIndex((*reading)->database());
      if (!kind.ok()) return kind.status();
      asked = *kind;
      for (const auto& [number, entry] : (*reading)->view().segments) {
        if (!entry.index &&
            SegmentIndex::KindFor(asked, entry.segment->size(), options_.index_limits) != IndexKind::kExact)
          next = entry;
      }
    }
    if (!next.segment) return absl::OkStatus();
    absl::StatusOr<std::shared_ptr<const SegmentIndex>> built =
        SegmentIndex::Build(*next.segment, next.checksum, asked, options_.index_limits, stop);
    if (!built.ok()) return built.status();
    const int64_t number = next.segment->number();
    const std::lock_guard<std::mutex> lock(write_mutex_);
    Transaction transaction(*writer_, Transaction::Kind::kRead);
    if (!transaction.status().ok()) return transaction.status();
    {
      Rows rows = writer_->Query("SELECT 1 FROM segments WHERE number = ?", number);
      const bool there = rows.Next();
      if (!rows.status().ok()) return rows.status();
      if (!there) continue;  // a change took its vectors into another segment meanwhile
    }
    if (absl::Status status = (*built)->Write(folder_, *files_); !status.ok()) return status;
    absl::StatusOr<std::shared_ptr<const View>> view = ViewOf(*writer_);
    if (!view.ok()) return view.status();
    auto fresh = std::make_shared<View>(**view);
    fresh->segments.at(number).index = *std::move(built);
    const std::lock_guard<std::mutex> view_lock(view_mutex_);
    view_ = std::move(fresh);
  }
}

absl::Status Collection::Impl::AddIndexStats(Database& database, CollectionStats& stats) const {
  absl::StatusOr<IndexKind> asked = AskedIndex(database);
  if (!asked.ok()) return asked.status();
  stats.index = *asked;
  double found = 0;
  int64_t largest = 0;
  Rows rows = database.Query("SELECT number, vectors, checksum FROM segments");
  while (rows.Next()) {
    if (SegmentIndex::KindFor(*asked, rows.Int(1), options_.index_limits) == IndexKind::kExact) continue;
    const absl::StatusOr<SegmentIndex::Facts> facts = SegmentIndex::ReadFacts(folder_, rows.Int(0), rows.Text(2));
    if (!facts.ok() || facts->asked != *asked || facts->kind == IndexKind::kExact) continue;
    stats.indexed_vectors += rows.Int(1);
    found += facts->recall * static_cast<double>(rows.Int(1));
    if (rows.Int(1) > largest) stats.used_index = facts->kind;
    largest = std::max(largest, rows.Int(1));
  }
  if (stats.indexed_vectors > 0) stats.index_recall = found / static_cast<double>(stats.indexed_vectors);
  return rows.status();
}

}  // namespace blazon::retrieval
