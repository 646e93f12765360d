// Reading a whole collection, document by document.
#include "absl/strings/str_cat.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {

absl::Status Collection::Impl::Export(const std::function<absl::Status(const ExportedTotals&)>& begin,
                                      const std::function<absl::Status(const Document&)>& visit) const {
  if (format_ < kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder_.string(), " has collection format ", format_, ", and only format ", kFormat,
                     " can be exported; the next 'blazon index add' brings it up to date"));
  }
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, true);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  const View& view = (*reading)->view();
  absl::StatusOr<Kept> kept = KeptVectors(database);
  if (!kept.ok()) return kept.status();
  ExportedTotals totals;
  totals.embedder = kept->embedder;
  totals.dimension = kept->dimension;
  {
    Rows rows = database.Query("SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)");
    if (!rows.Next()) return rows.status();
    totals.documents = rows.Int(0);
    totals.chunks = rows.Int(1);
  }
  absl::StatusOr<IndexKind> index = AskedIndex(database);
  if (!index.ok()) return index.status();
  totals.index = *index;
  if (absl::Status status = begin(totals); !status.ok()) return status;

  Rows documents = database.Query(
      "SELECT key, source, path, title, parser, encoding, digest, text, language, chunker FROM documents ORDER BY "
      "source, path");
  while (documents.Next()) {
    const int64_t key = documents.Int(0);
    Document document = DocumentOfRow(documents);
    Rows metadata = database.Query("SELECT name, value FROM document_metadata WHERE document = ?", key);
    while (metadata.Next()) document.metadata[metadata.Text(0)] = metadata.Text(1);
    if (!metadata.status().ok()) return metadata.status();
    GivenChunks& given = document.given.emplace();
    given.embedder = kept->embedder;
    given.chunker = documents.Text(9);
    Rows chunks = database.Query(
        "SELECT c.id, c.segment, c.span_begin, c.span_end, c.line, c.place, c.box, c.prefix, c.headings FROM chunks AS "
        "c "
        "WHERE c.document = ? ORDER BY c.id",
        key);
    while (chunks.Next()) {
      GivenChunk& chunk = given.chunks.emplace_back();
      chunk.span = {static_cast<size_t>(chunks.Int(2)), static_cast<size_t>(chunks.Int(3))};
      chunk.line = chunks.Int(4);
      chunk.place = chunks.Text(5);
      chunk.box = ParseBox(chunks.Text(6));
      chunk.prefix = chunks.Text(7);
      chunk.heading_path = chunks.Text(8);
      const auto entry = view.segments.find(chunks.Int(1));
      const int64_t row = entry == view.segments.end() ? -1 : entry->second.segment->Find(chunks.Int(0));
      if (row < 0) {
        return absl::DataLossError(absl::StrCat((folder_ / Segment::FileName(chunks.Int(1))).string(), " lacks chunk ",
                                                chunks.Int(0), RepairRemedy(folder_)));
      }
      const float* vector = entry->second.segment->vector(row);
      given.vectors.insert(given.vectors.end(), vector, vector + kept->dimension);
    }
    if (!chunks.status().ok()) return chunks.status();
    if (absl::Status status = visit(document); !status.ok()) return status;
  }
  return documents.status();
}

}  // namespace blazon::retrieval
