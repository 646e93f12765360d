// Putting documents into a collection: what must hold of them, what is unchanged, and the rows that they become.
#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "retrieval/collection_impl.h"
#include "retrieval/document_loader.h"
#include "retrieval/given_chunks.h"
#include "retrieval/text_language.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

// What was given, else what its metadata say, else what its text looks like.
std::string LanguageOf(const Document& document) {
  if (!document.language.empty()) return document.language;
  const auto given = document.metadata.find("language");
  return given != document.metadata.end() && IsLanguageCode(given->second) ? given->second
                                                                           : DetectLanguage(document.text);
}

absl::Status CheckDocument(const Document& document) {
  if (document.path.empty()) return absl::InvalidArgumentError("a document has no path");
  std::vector<const std::string*> parts = {&document.source, &document.path, &document.title, &document.text};
  for (const Place& place : document.places) parts.push_back(&place.name);
  for (const std::string* part : parts) {
    if (!IsValidUtf8(*part) || part->find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("document ", absl::CHexEscape(document.path),
                       ": source, path, title, text and places must be UTF-8 without NUL"));
    }
  }
  return document.language.empty() ? absl::OkStatus() : CheckLanguage(document.language);
}

}  // namespace

std::string BoxText(const Box& box) {
  return box.empty() ? "" : absl::StrFormat("%.2f %.2f %.2f %.2f", box.left, box.top, box.width, box.height);
}

absl::StatusOr<Collection::Impl::Kept> Collection::Impl::KeptVectors(Database& database) {
  Kept kept;
  absl::StatusOr<std::string> embedder = ManifestValue(database, "embedder");
  if (!embedder.ok()) return embedder.status();
  kept.embedder = *std::move(embedder);
  const absl::StatusOr<int64_t> dimension = DimensionOf(database);
  if (!dimension.ok()) return dimension.status();
  kept.dimension = *dimension;
  return kept;
}

absl::Status Collection::Impl::Fits(const Document& document, const Kept& kept) const {
  const bool has_vectors = document.given && !document.given->vectors.empty();
  if (!options_.embedder.embed && !has_vectors && !(document.given && document.given->chunks.empty()))
    return absl::FailedPreconditionError("the collection was opened without an embedder; nothing can be added");
  if (absl::Status status = CheckDocument(document); !status.ok()) return status;
  return CheckEmbedder(document, options_.embedder, kept.embedder, kept.dimension);
}

absl::Status Collection::Impl::Check(const Document& document) const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  absl::StatusOr<Kept> kept = KeptVectors((*reading)->database());
  if (!kept.ok()) return kept.status();
  if (absl::Status status = Fits(document, *kept); !status.ok()) return status;
  if (!document.given) return absl::OkStatus();
  if (absl::Status status = PiecesOf(document, options_.embedder, options_.chunker).status(); !status.ok())
    return status;
  return UnitVectors(document).status();
}

absl::StatusOr<bool> Collection::Impl::HasPieces(int64_t key, const std::vector<GivenChunk>& pieces,
                                                 const std::vector<float>& vectors) const {
  std::shared_ptr<const View> view;
  if (!vectors.empty()) {
    absl::StatusOr<std::shared_ptr<const View>> read = ViewOf(*writer_);
    if (!read.ok()) return MissingIsLost(read.status(), folder_);
    view = *std::move(read);
  }
  size_t count = 0;
  Rows rows = writer_->Query(
      "SELECT c.id, c.segment, c.span_begin, c.span_end, c.line, c.place, c.box, c.prefix, c.headings FROM chunks AS c "
      "WHERE c.document = ? ORDER BY c.id",
      key);
  while (rows.Next()) {
    if (count == pieces.size()) return false;
    const GivenChunk& piece = pieces[count];
    if (rows.Int(2) != static_cast<int64_t>(piece.span.begin) || rows.Int(3) != static_cast<int64_t>(piece.span.end) ||
        rows.Int(4) != piece.line || rows.Text(5) != piece.place || rows.Text(6) != BoxText(piece.box) ||
        rows.Text(7) != *piece.prefix || rows.Text(8) != piece.heading_path)
      return false;
    if (!vectors.empty()) {
      const size_t dimension = vectors.size() / pieces.size();
      const auto entry = view->segments.find(rows.Int(1));
      const int64_t row = entry == view->segments.end() ? -1 : entry->second.segment->Find(rows.Int(0));
      if (row < 0) return false;
      const float* kept = entry->second.segment->vector(row);
      if (!std::equal(kept, kept + dimension, vectors.begin() + static_cast<ptrdiff_t>(count * dimension)))
        return false;
    }
    ++count;
  }
  if (!rows.status().ok()) return rows.status();
  return count == pieces.size();
}

absl::StatusOr<std::vector<PutOutcome>> Collection::Impl::Put(absl::Span<const Document> documents) {
  if (options_.mode != OpenMode::kWrite) return ReadOnly();
  const std::lock_guard<std::mutex> lock(write_mutex_);
  absl::StatusOr<Kept> kept = KeptVectors(*writer_);
  if (!kept.ok()) return kept.status();

  struct Pending {
    const Document* document;
    std::string id, digest, chunker;
    int64_t old_key = -1;
    std::vector<GivenChunk> chunks = {};
    std::vector<float> vectors = {};  // those it brings
  };
  std::vector<PutOutcome> outcomes;
  std::vector<Pending> pending;
  std::vector<std::string> texts;
  std::set<std::string> ids;
  for (const Document& document : documents) {
    if (absl::Status status = Fits(document, *kept); !status.ok()) return status;
    const bool has_vectors = document.given && !document.given->vectors.empty();
    Pending next{&document, DocumentId(document.source, document.path), document.content_digest,
                 ChunkerOf(document, options_.chunker)};
    if (next.digest.empty()) next.digest = ContentDigest(document.text);
    if (!ids.insert(next.id).second)
      return absl::InvalidArgumentError(absl::StrCat("document ", document.path, " is given twice"));
    bool unchanged = false;
    {
      Rows rows =
          writer_->Query("SELECT key, title, digest, parser, chunker, language FROM documents WHERE id = ?", next.id);
      if (rows.Next()) {
        next.old_key = rows.Int(0);
        unchanged = rows.Text(1) == document.title && rows.Text(2) == next.digest && rows.Text(3) == document.parser &&
                    rows.Text(4) == next.chunker && (document.language.empty() || rows.Text(5) == document.language);
      }
      if (!rows.status().ok()) return rows.status();
    }
    if (unchanged) {
      std::map<std::string, std::string> metadata;
      Rows rows = writer_->Query("SELECT name, value FROM document_metadata WHERE document = ?", next.old_key);
      while (rows.Next()) metadata[rows.Text(0)] = rows.Text(1);
      if (!rows.status().ok()) return rows.status();
      unchanged = metadata == document.metadata;
    }
    if (!unchanged || document.given) {
      absl::StatusOr<std::vector<GivenChunk>> chunks = PiecesOf(document, options_.embedder, options_.chunker);
      if (!chunks.ok()) return chunks.status();
      next.chunks = *std::move(chunks);
      absl::StatusOr<std::vector<float>> vectors = UnitVectors(document);
      if (!vectors.ok()) return vectors.status();
      next.vectors = *std::move(vectors);
      if (unchanged) {
        const absl::StatusOr<bool> same = HasPieces(next.old_key, next.chunks, next.vectors);
        if (!same.ok()) return same.status();
        unchanged = *same;
      }
    }
    outcomes.push_back(unchanged           ? PutOutcome::kUnchanged
                       : next.old_key >= 0 ? PutOutcome::kReplaced
                                           : PutOutcome::kAdded);
    if (unchanged) continue;
    // What comes later in this call must fit what came before.
    if (kept->embedder.empty() && !next.chunks.empty()) {
      kept->embedder = has_vectors ? document.given->embedder : options_.embedder.fingerprint;
      kept->dimension =
          has_vectors ? static_cast<int64_t>(next.vectors.size() / next.chunks.size()) : options_.embedder.dimension;
    }
    if (!has_vectors) {
      for (const GivenChunk& chunk : next.chunks)
        texts.push_back(*chunk.prefix + document.text.substr(chunk.span.begin, chunk.span.size()));
    }
    pending.push_back(std::move(next));
  }
  if (pending.empty()) return outcomes;
  std::vector<float> embedded;
  if (!texts.empty()) {
    absl::StatusOr<std::vector<float>> vectors = EmbedAll(options_, texts);
    if (!vectors.ok()) return vectors.status();
    embedded = *std::move(vectors);
  }

  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  if (!transaction.status().ok()) return transaction.status();
  absl::StatusOr<Change> started = StartChange();
  if (!started.ok()) return started.status();
  Change& change = *started;
  change.kept = *std::move(kept);
  const float* next_embedded = embedded.data();
  for (const Pending& next : pending) {
    const Document& document = *next.document;
    const float* vector = next.vectors.empty() ? next_embedded : next.vectors.data();
    if (next.old_key >= 0) {
      if (absl::Status status = RemoveDocument(next.old_key, change); !status.ok()) return status;
    }
    const std::string language = LanguageOf(document);
    absl::Status status = writer_->Run(
        "INSERT INTO documents (id, source, path, title, parser, encoding, digest, chunker, chunks, bytes, language, "
        "text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        next.id, document.source, document.path, document.title, document.parser, document.encoding, next.digest,
        next.chunker, next.chunks.size(), document.text.size(), language, document.text);
    if (!status.ok()) return status;
    const int64_t key = writer_->LastRowId();
    for (const auto& [name, value] : document.metadata) {
      status = writer_->Run("INSERT INTO document_metadata (document, name, value) VALUES (?, ?, ?)", key, name, value);
      if (!status.ok()) return status;
    }
    for (const GivenChunk& chunk : next.chunks) {
      status = writer_->Run(
          "INSERT INTO chunks (document, span_begin, span_end, line, segment, place, box, prefix, headings) VALUES (?, "
          "?, ?, ?, ?, ?, ?, ?, ?)",
          key, chunk.span.begin, chunk.span.end, chunk.line, change.segment_number, chunk.place, BoxText(chunk.box),
          *chunk.prefix, chunk.heading_path);
      if (!status.ok()) return status;
      const int64_t chunk_id = writer_->LastRowId();
      change.added_words.Add(chunk_id, language, document.title, chunk.heading_path,
                             std::string_view(document.text).substr(chunk.span.begin, chunk.span.size()));
      change.added.emplace_back(chunk_id, vector);
      vector += change.kept.dimension;
    }
    if (next.vectors.empty()) next_embedded = vector;
  }
  if (absl::Status status = CommitChange(transaction, change); !status.ok()) return status;
  return outcomes;
}

}  // namespace blazon::retrieval
