#include "retrieval/sqlite.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "retrieval/checksum_vfs.h"
#include "retrieval/files.h"

namespace blazon::retrieval {
namespace {

constexpr int kCheckpointFrames = 1000;  // SQLite's own default

}  // namespace

std::string RepairRemedy(const std::filesystem::path& folder) {
  return absl::StrCat("; run: blazon index repair --collection ", folder.string());
}

Rows::Rows(Rows&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      status_(std::move(other.status_)) {}

Rows::~Rows() {
  if (!statement_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  const auto [place, inserted] = database_->idle_.emplace(sqlite3_sql(statement_), statement_);
  if (!inserted) sqlite3_finalize(statement_);
}

bool Rows::Next() {
  if (!status_.ok()) return false;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) status_ = database_->Error(code, "use");
  return false;
}

std::string Rows::Text(int column) const {
  const char* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return bytes ? std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))) : std::string();
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& file, bool create,
                                                         const std::string& vfs) {
  sqlite3* handle = nullptr;
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | (create ? SQLITE_OPEN_CREATE : 0);
  const std::string checksums = ChecksumVfs(vfs);
  if (checksums.empty()) return absl::InternalError(absl::StrCat("SQLite has no VFS '", vfs, "'"));
  const int code = sqlite3_open_v2(file.c_str(), &handle, flags, checksums.c_str());
  std::unique_ptr<Database> database(new Database(file, handle));
  if (!handle) return absl::ResourceExhaustedError("no memory for a database connection");
  if (code != SQLITE_OK) return database->Error(code, "open");
  sqlite3_busy_timeout(handle, 10000);
  sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_wal_hook(
      handle,
      [](void* self, sqlite3* connection, const char* name, int frames) {
        static_cast<Database*>(self)->log_frames_ = frames;
        // One that fails is made up for by a later one.
        if (frames >= kCheckpointFrames)
          sqlite3_wal_checkpoint_v2(connection, name, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
        return SQLITE_OK;
      },
      database.get());
  return database;
}

Database::~Database() {
  for (const auto& [sql, statement] : idle_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

Rows Database::Prepare(std::string_view sql) {
  if (const auto found = idle_.find(std::string(sql)); found != idle_.end()) {
    sqlite3_stmt* statement = found->second;
    idle_.erase(found);
    return Rows(this, statement, absl::OkStatus());
  }
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                      &statement, nullptr);
  return Rows(this, statement, code == SQLITE_OK ? absl::OkStatus() : Error(code, "read"));
}

absl::Status Database::Error(int code, const std::string& action) const {
  const int cause = sqlite3_system_errno(handle_);
  const std::string message = absl::StrCat("cannot ", action, " ", file_.string(), ": ", sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(message, "; free some space and try again"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat(message, RepairRemedy(file_.parent_path())));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(absl::StrCat(message, "; another process holds it, try again"));
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(message);
    case SQLITE_CANTOPEN:
      return cause == EACCES ? absl::PermissionDeniedError(message) : absl::NotFoundError(message);
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(message);
    case SQLITE_IOERR:
      if (code == SQLITE_IOERR_DATA) {
        return absl::DataLossError(
            absl::StrCat(message, " (a page fails its checksum)", RepairRemedy(file_.parent_path())));
      }
      if (cause == ENOSPC || cause == EDQUOT) return FileError(action, file_, cause);
      return absl::InternalError(absl::StrCat(message, " (code ", code, ")"));
    default:
      return absl::InternalError(absl::StrCat(message, " (", sqlite3_errmsg(handle_), ")"));
  }
}

Transaction::Transaction(Database& database, Kind kind)
    : database_(database), status_(database.Run(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN")) {}

Transaction::~Transaction() {
  if (database_.InTransaction()) database_.Run("ROLLBACK").IgnoreError();
}

absl::Status Transaction::Commit() { return database_.Run("COMMIT"); }

}  // namespace blazon::retrieval
