// SQLite behind absl::Status: one connection, and the rows of a statement.
//
// Thread safety: a connection and its rows belong to one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::retrieval {

class Database;

// The rows of a running statement. An error ends them: Next() is false and status() tells.
//   Rows rows = database.Query("SELECT id FROM chunks WHERE document = ?", key);
//   while (rows.Next()) Use(rows.Int(0));
//   if (!rows.status().ok()) return rows.status();
class Rows {
 public:
  Rows(Rows&& other) noexcept;
  Rows(const Rows&) = delete;
  ~Rows();  // the statement goes back to its connection

  bool Next();
  const absl::Status& status() const { return status_; }
  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  double Real(int column) const { return sqlite3_column_double(statement_, column); }
  std::string Text(int column) const;  // text or blob
  // The value, whatever its type; sqlite3_value_free it.
  sqlite3_value* Copy(int column) const { return sqlite3_value_dup(sqlite3_column_value(statement_, column)); }

 private:
  friend class Database;
  Rows(Database* database, sqlite3_stmt* statement, absl::Status status)
      : database_(database), statement_(statement), status_(std::move(status)) {}
  Database* database_;
  sqlite3_stmt* statement_;
  absl::Status status_;
};

// Bytes to store as a BLOB; plain strings are stored as TEXT.
struct Blob {
  std::string_view bytes;
};

// A pointer for a function of ours, which asks for it by type; what it points to must outlive the rows.
struct Pointer {
  const void* pointer;
  const char* type;  // a string literal
};

class Database {
 public:
  // Opens `file` (made when `create`) with checks on what is read (checksum_vfs.h), over the VFS of that name, "" for
  // the default one.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& file, bool create,
                                                        const std::string& vfs);
  ~Database();
  Database(const Database&) = delete;

  // `sql` must be a string literal or live as long as the connection's use of it; statements are prepared once and
  // kept.
  template <typename... Arguments>
  Rows Query(std::string_view sql, const Arguments&... arguments) {
    Rows rows = Prepare(sql);
    int index = 0;
    if (rows.status_.ok()) (Bind(rows, ++index, arguments), ...);
    return rows;
  }
  // Runs a statement to its end.
  template <typename... Arguments>
  absl::Status Run(std::string_view sql, const Arguments&... arguments) {
    Rows rows = Query(sql, arguments...);
    while (rows.Next()) {
    }
    return rows.status();
  }
  int64_t LastRowId() const { return sqlite3_last_insert_rowid(handle_); }
  bool InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }
  sqlite3* handle() const { return handle_; }
  // Frames in the write-ahead log after this connection's last commit, 0 before one.
  int64_t log_frames() const { return log_frames_; }

  // A result code of the connection as a status that names the file.
  absl::Status Error(int code, const std::string& action) const;

 private:
  friend class Rows;
  Database(std::filesystem::path file, sqlite3* handle) : file_(std::move(file)), handle_(handle) {}
  Rows Prepare(std::string_view sql);
  void Bind(Rows& rows, int index, int64_t value) { Check(rows, sqlite3_bind_int64(rows.statement_, index, value)); }
  void Bind(Rows& rows, int index, int value) { Bind(rows, index, static_cast<int64_t>(value)); }
  void Bind(Rows& rows, int index, size_t value) { Bind(rows, index, static_cast<int64_t>(value)); }
  void Bind(Rows& rows, int index, std::string_view value) {
    Check(rows, sqlite3_bind_text64(rows.statement_, index, value.data() ? value.data() : "", value.size(),
                                    SQLITE_TRANSIENT, SQLITE_UTF8));
  }
  void Bind(Rows& rows, int index, const std::string& value) { Bind(rows, index, std::string_view(value)); }
  void Bind(Rows& rows, int index, const char* value) { Bind(rows, index, std::string_view(value)); }
  void Bind(Rows& rows, int index, Blob value) {
    Check(rows, sqlite3_bind_blob64(rows.statement_, index, value.bytes.data() ? value.bytes.data() : "",
                                    value.bytes.size(), SQLITE_TRANSIENT));
  }
  void Bind(Rows& rows, int index, Pointer value) {
    Check(rows, sqlite3_bind_pointer(rows.statement_, index, const_cast<void*>(value.pointer), value.type, nullptr));
  }
  void Check(Rows& rows, int code) {
    if (code != SQLITE_OK) rows.status_ = Error(code, "bind a value in");
  }

  std::filesystem::path file_;
  sqlite3* handle_;
  int64_t log_frames_ = 0;
  std::unordered_map<std::string, sqlite3_stmt*> idle_;  // prepared and not in use
};

// What to do about a damaged collection; the end of a message.
std::string RepairRemedy(const std::filesystem::path& folder);

// A transaction that is rolled back unless Commit succeeded. A read transaction sees one state of the database
// throughout.
class Transaction {
 public:
  enum class Kind { kRead, kWrite };
  Transaction(Database& database, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  const absl::Status& status() const { return status_; }  // of the BEGIN
  absl::Status Commit();

 private:
  Database& database_;
  absl::Status status_;
};

}  // namespace blazon::retrieval
