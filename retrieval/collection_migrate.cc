// From older collection formats to 3: the database is copied into one whose pages have checksums, which then takes its
// place.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/checksum_vfs.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {

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
  if (status.ok()) status = files_->Remove(temporary);
  if (!status.ok()) return status;
  sqlite3_limit(database->handle(), SQLITE_LIMIT_ATTACHED, 1);  // VACUUM attaches the copy
  int reserve = kPageReserve;
  sqlite3_file_control(database->handle(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
  status = database->Run("VACUUM INTO ?", temporary.string());
  database.reset();
  if (!status.ok()) return status;
  {
    absl::StatusOr<std::unique_ptr<Database>> copy = Database::Open(temporary, false, options_.sqlite_vfs);
    if (!copy.ok()) return copy.status();
    Transaction transaction(**copy, Transaction::Kind::kWrite);
    if (status = transaction.status(); !status.ok()) return status;
    if (format_ == 1) {
      for (const char* statement : {"ALTER TABLE chunks ADD COLUMN place TEXT NOT NULL DEFAULT ''",
                                    "ALTER TABLE chunks ADD COLUMN box TEXT NOT NULL DEFAULT ''"}) {
        if (status.ok()) status = (*copy)->Run(statement);
      }
    }
    for (const char* statement :
         {"PRAGMA application_id = 1112300110",
          "CREATE INDEX IF NOT EXISTS metadata_by_value ON document_metadata (name, value)",
          "ALTER TABLE chunks ADD COLUMN prefix TEXT NOT NULL DEFAULT ''",
          "UPDATE chunks SET prefix = (SELECT CASE WHEN title = '' AND headings = '' THEN '' WHEN title = '' THEN "
          "headings || char(10) WHEN headings = '' OR headings = title THEN title || char(10) ELSE title || char(10) "
          "|| headings || char(10) END FROM chunk_words WHERE chunk_words.rowid = chunks.id)"}) {
      if (status.ok()) status = (*copy)->Run(statement);
    }
    if (status.ok()) status = SetManifest(**copy, "format", absl::StrCat(kFormat));
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
