// The word indexes of a collection's segments: seen as of one generation, and made from the stored texts.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/chunk_texts.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {

absl::StatusOr<std::vector<int64_t>> RowsOfSegment(Database& database, int64_t number) {
  std::vector<int64_t> ids;
  Rows rows = database.Query(
      "SELECT id FROM chunks WHERE segment = ?1 UNION SELECT chunk FROM tombstones WHERE segment = ?1 ORDER BY 1",
      number);
  while (rows.Next()) ids.push_back(rows.Int(0));
  if (!rows.status().ok()) return rows.status();
  return ids;
}

absl::StatusOr<std::shared_ptr<const WordIndex>> BuildWords(Database& database, int64_t format, int64_t number,
                                                            absl::Span<const int64_t> ids) {
  WordIndexBuilder builder;
  ChunkTexts texts(database);
  const std::string select =
      absl::StrCat("SELECT d.title, ", HeadingsOf(format), ", c.document, c.span_begin, c.span_end, ",
                   format >= kFirstFormatWithWordFiles ? "d.language" : "''",
                   " FROM chunks AS c JOIN documents AS d ON d.key = c.document "
                   "WHERE c.id = ?");
  for (const int64_t id : ids) {
    Rows rows = database.Query(select, id);
    if (rows.Next()) {
      const absl::StatusOr<std::string> text = texts.Read(rows.Int(2), rows.Int(3), rows.Int(4));
      if (!text.ok()) return text.status();
      builder.Add(id, rows.Text(5), rows.Text(0), rows.Text(1), *text);
    } else if (rows.status().ok()) {
      builder.AddWithoutWords(id);
    } else {
      return rows.status();
    }
  }
  return builder.Build(number);
}

absl::StatusOr<std::shared_ptr<const Collection::Impl::WordView>> Collection::Impl::WordsOf(
    Database& database, std::shared_ptr<const WordIndex> fresh) const {
  absl::StatusOr<std::string> generation_text = ManifestValue(database, "generation");
  if (!generation_text.ok()) return generation_text.status();
  int64_t generation = 0;
  if (!absl::SimpleAtoi(*generation_text, &generation))
    return absl::DataLossError(absl::StrCat(database_file().string(), " has no generation in its manifest"));
  std::shared_ptr<const WordView> known;
  {
    const std::lock_guard<std::mutex> lock(view_mutex_);
    known = word_view_;
  }
  if (known && known->generation == generation) return known;

  const bool has_files = format_ >= kFirstFormatWithWordFiles;
  std::map<int64_t, WordSearch::Part> parts;
  Rows rows = database.Query(has_files ? "SELECT number, words FROM segments" : "SELECT number, '' FROM segments");
  while (rows.Next()) {
    const int64_t number = rows.Int(0);
    WordSearch::Part& part = parts[number];
    absl::StatusOr<std::shared_ptr<const WordIndex>> index;
    if (fresh && fresh->number() == number) {
      index = fresh;
    } else if (known && known->search.parts().contains(number)) {
      index = known->search.parts().at(number).index;
    } else if (has_files) {
      index = WordIndex::Read(folder_, number, rows.Text(1));
    } else {  // a format that kept words otherwise, and that only a writer may change: in memory
      absl::StatusOr<std::vector<int64_t>> ids = RowsOfSegment(database, number);
      if (!ids.ok()) return ids.status();
      index = BuildWords(database, format_, number, *ids);
    }
    if (!index.ok()) return index.status();
    part.index = *std::move(index);
    const int64_t size = part.index->size();
    part.live.assign(static_cast<size_t>((size + 7) / 8), 0xff);
    if (size % 8) part.live.back() = static_cast<uint8_t>((1 << (size % 8)) - 1);
    part.live_count = size;
    part.live_length = part.index->total_length();
  }
  if (!rows.status().ok()) return rows.status();
  Rows dead = database.Query("SELECT segment, chunk FROM tombstones");
  while (dead.Next()) {
    const auto found = parts.find(dead.Int(0));
    const int64_t row = found == parts.end() ? -1 : found->second.index->Find(dead.Int(1));
    if (row < 0)
      return absl::DataLossError(absl::StrCat(database_file().string(), " has a tombstone for words that do not exist",
                                              RepairRemedy(folder_)));
    found->second.live[static_cast<size_t>(row / 8)] &= static_cast<uint8_t>(~(1 << (row % 8)));
    --found->second.live_count;
    found->second.live_length -= found->second.index->lengths()[static_cast<size_t>(row)];
  }
  if (!dead.status().ok()) return dead.status();
  auto view = std::make_shared<const WordView>(generation, std::move(parts));
  const std::lock_guard<std::mutex> lock(view_mutex_);
  if (!word_view_ || word_view_->generation < generation) word_view_ = view;
  return view;
}

}  // namespace blazon::retrieval
