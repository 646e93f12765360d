// The whole check of a collection: every page, every segment, and that both tell of the same chunks.
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {

absl::Status Collection::Impl::Verify() const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  const auto damaged = [this](const std::string& what) {
    return absl::DataLossError(
        absl::StrCat(database_file().string(), " is damaged: ", what,
                     "; restore the collection from a copy, or index its documents again into a new folder"));
  };
  {
    Rows rows = database.Query("PRAGMA integrity_check(1)");
    if (!rows.Next()) return rows.status().ok() ? damaged("its integrity check says nothing") : rows.status();
    if (rows.Text(0) != "ok") return damaged("its integrity check fails");
  }
  {
    // FTS5's own check of its index against its content; it writes nothing.
    Rows rows = database.Query("INSERT INTO chunk_words (chunk_words, rank) VALUES ('integrity-check', 0)");
    while (rows.Next()) {
    }
    if (absl::IsDataLoss(rows.status())) return damaged("the word index does not fit its text");
    if (!rows.status().ok()) return rows.status();
  }
  const std::pair<const char*, const char*> disagreements[] = {
      {"SELECT count(*) FROM chunks AS c LEFT JOIN documents AS d ON d.key = c.document WHERE d.key IS NULL",
       "chunks without a document"},
      {"SELECT count(*) FROM documents AS d WHERE d.chunks <> (SELECT count(*) FROM chunks AS c WHERE c.document = "
       "d.key)",
       "documents that lack chunks"},
      {"SELECT count(*) FROM documents WHERE bytes <> length(CAST(text AS BLOB))",
       "documents of another length than was written"},
      {"SELECT count(*) FROM chunks AS c LEFT JOIN chunk_words AS w ON w.rowid = c.id WHERE w.rowid IS NULL",
       "chunks without words"},
      {"SELECT (SELECT count(*) FROM chunk_words) - (SELECT count(*) FROM chunks)", "words without a chunk"},
      {"SELECT count(*) FROM chunks AS c JOIN documents AS d ON d.key = c.document JOIN chunk_words AS w ON w.rowid = "
       "c.id "
       "WHERE substr(CAST(d.text AS BLOB), c.span_begin + 1, c.span_end - c.span_begin) <> CAST(w.text AS BLOB)",
       "chunks that differ from their document's text"},
      {"SELECT count(*) FROM tombstones AS t JOIN chunks AS c ON c.id = t.chunk", "chunks that are dead and alive"},
      {"SELECT count(*) FROM chunks AS c LEFT JOIN segments AS s ON s.number = c.segment WHERE s.number IS NULL",
       "chunks without a segment"},
  };
  for (const auto& [sql, what] : disagreements) {
    Rows rows = database.Query(sql);
    if (!rows.Next()) return rows.status();
    if (rows.Int(0) != 0) return damaged(absl::StrCat("it has ", what));
  }
  absl::StatusOr<std::string> dimension_text = ManifestValue(database, "dimension");
  if (!dimension_text.ok()) return dimension_text.status();
  int64_t dimension = 0;
  (void)absl::SimpleAtoi(*dimension_text, &dimension);
  Rows segments = database.Query("SELECT number, checksum, vectors FROM segments");
  while (segments.Next()) {
    const int64_t number = segments.Int(0);
    absl::StatusOr<std::shared_ptr<const Segment>> segment =
        Segment::Read(folder_, number, dimension, segments.Text(1));
    if (!segment.ok()) {
      return absl::IsNotFound(segment.status()) ? damaged(absl::StrCat(Segment::FileName(number), " is missing"))
                                                : segment.status();
    }
    std::set<int64_t> expected;
    Rows chunks = database.Query(
        "SELECT id FROM chunks WHERE segment = ?1 UNION SELECT chunk FROM tombstones WHERE segment = ?1", number);
    while (chunks.Next()) expected.insert(chunks.Int(0));
    if (!chunks.status().ok()) return chunks.status();
    if (!std::equal(expected.begin(), expected.end(), (*segment)->ids().begin(), (*segment)->ids().end())) {
      return damaged(absl::StrCat("it and ", Segment::FileName(number), " tell of different chunks"));
    }
  }
  return segments.status();
}

}  // namespace blazon::retrieval
