// From older collection formats to this one: rows go into a new database, words into files beside the segments, and
// then the new database takes the place of the old one. Until then the old one is as it was.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection_impl.h"
#include "retrieval/text_language.h"

namespace blazon::retrieval {
namespace {

// From the database `older`, of an older format, into one with this format's schema.
std::vector<std::string> CopyStatements(int64_t format) {
  // What the embedder was given before the text; formats 1 and 2 did not keep it.
  const char* prefix =
      format >= kFirstCheckedFormat
          ? "c.prefix"
          : "CASE WHEN w.c0 = '' AND w.c1 = '' THEN '' WHEN w.c0 = '' THEN w.c1 || char(10) WHEN w.c1 = '' OR w.c1 = "
            "w.c0 THEN w.c0 || char(10) ELSE w.c0 || char(10) || w.c1 || char(10) END";
  return {
      "INSERT INTO manifest SELECT key, value FROM older.manifest WHERE key NOT IN ('format', 'generation')",
      "UPDATE manifest SET value = (SELECT value FROM older.manifest WHERE key = 'generation') WHERE key = "
      "'generation'",
      "INSERT INTO segments (number, vectors, checksum, words) SELECT number, vectors, checksum, x'' FROM "
      "older.segments",
      "INSERT INTO tombstones SELECT segment, chunk FROM older.tombstones",
      "INSERT INTO documents (key, id, source, path, title, parser, encoding, digest, chunker, chunks, bytes, text) "
      "SELECT key, id, source, path, title, parser, encoding, digest, chunker, chunks, bytes, text FROM "
      "older.documents",
      "INSERT INTO document_metadata SELECT document, name, value FROM older.document_metadata",
      absl::StrCat("INSERT INTO chunks (id, document, span_begin, span_end, line, segment, place, box, prefix, "
                   "headings) SELECT c.id, c.document, c.span_begin, c.span_end, c.line, c.segment, ",
                   format >= 2 ? "c.place, c.box, " : "'', '', ", prefix,
                   ", w.c1 FROM older.chunks AS c JOIN older.chunk_words_content AS w ON w.id = c.id ORDER BY c.id"),
      "DELETE FROM main.sqlite_sequence",
      "INSERT INTO main.sqlite_sequence SELECT name, seq FROM older.sqlite_sequence",
  };
}

// Of all documents, from their texts.
absl::Status DetectLanguages(Database& database) {
  std::vector<int64_t> keys;
  {
    Rows rows = database.Query("SELECT key FROM documents");
    while (rows.Next()) keys.push_back(rows.Int(0));
    if (!rows.status().ok()) return rows.status();
  }
  for (const int64_t key : keys) {
    std::string language;
    {
      Rows rows = database.Query("SELECT text FROM documents WHERE key = ?", key);
      if (rows.Next()) language = DetectLanguage(rows.Text(0));
      if (!rows.status().ok()) return rows.status();
    }
    if (language.empty()) continue;
    if (absl::Status status = database.Run("UPDATE documents SET language = ? WHERE key = ?", language, key);
        !status.ok())
      return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Collection::Impl::IndexWords(Database& database) {
  std::vector<int64_t> numbers;
  {
    Rows rows = database.Query("SELECT number FROM segments ORDER BY number");
    while (rows.Next()) numbers.push_back(rows.Int(0));
    if (!rows.status().ok()) return rows.status();
  }
  for (const int64_t number : numbers) {
    absl::StatusOr<std::vector<int64_t>> ids = RowsOfSegment(database, number);
    if (!ids.ok()) return ids.status();
    absl::StatusOr<std::shared_ptr<const WordIndex>> words = BuildWords(database, kFormat, number, *ids);
    if (!words.ok()) return words.status();
    absl::Status status = (*words)->Write(folder_, *files_);
    if (status.ok())
      status = database.Run("UPDATE segments SET words = ? WHERE number = ?", Blob{(*words)->checksum()}, number);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Collection::Impl::Migrate(std::unique_ptr<Database> database) {
  absl::StatusOr<std::string> generation_text = ManifestValue(*database, "generation");
  if (!generation_text.ok()) return generation_text.status();
  CommitRecord record;
  if (!absl::SimpleAtoi(*generation_text, &record.generation))
    return absl::DataLossError(absl::StrCat(database_file().string(), " has no generation in its manifest"));
  // Without a log beside it, the old file is whole by itself and nothing is left to be laid over the new one.
  absl::Status status = database->Run("PRAGMA journal_mode = DELETE");
  if (absl::IsUnavailable(status)) {
    return absl::UnavailableError(absl::StrCat(folder_.string(),
                                               " has an older collection format and is to be brought to ", kFormat,
                                               ", which needs it for itself; end its readers and try again"));
  }
  const std::filesystem::path temporary = folder_ / "collection.db.new";
  for (const char* ending : {"", "-wal", "-shm", "-journal"}) {
    if (status.ok()) status = files_->Remove(temporary.string() + ending);
  }
  database.reset();
  if (!status.ok()) return status;
  {
    absl::StatusOr<std::unique_ptr<Database>> copy = ConnectDatabase(temporary, true, options_.sqlite_vfs);
    if (!copy.ok()) return copy.status();
    if (status = (*copy)->Run("PRAGMA journal_mode = DELETE"); !status.ok()) return status;
    sqlite3_limit((*copy)->handle(), SQLITE_LIMIT_ATTACHED, 1);
    if (status = (*copy)->Run("ATTACH ? AS older", database_file().string()); !status.ok()) return status;
    Transaction transaction(**copy, Transaction::Kind::kWrite);
    if (status = transaction.status(); !status.ok()) return status;
    status = CreateSchema(**copy);
    for (const std::string& statement : CopyStatements(format_)) {
      if (status.ok()) status = (*copy)->Run(statement);
    }
    if (status.ok()) status = DetectLanguages(**copy);
    if (status.ok()) status = IndexWords(**copy);
    if (status.ok()) status = transaction.Commit();
    if (!status.ok()) return status;
  }
  const int descriptor = open(temporary.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 || fsync(descriptor) != 0) status = FileError("flush", temporary, errno);
  if (descriptor >= 0) close(descriptor);
  if (status.ok()) status = CreateCommitRecord(folder_, record, *files_);
  if (status.ok()) status = files_->Rename(temporary, database_file());
  if (status.ok()) status = files_->SyncFolder(folder_);
  if (status.ok()) format_ = kFormat;
  return status;
}

}  // namespace blazon::retrieval
