// What a collection's readers share: the vectors and words of one generation.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {

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

}  // namespace blazon::retrieval
