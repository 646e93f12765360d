#include "retrieval/salvage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "retrieval/checksum_vfs.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {
namespace {

// --- flipped bits ---

// A file whose parts are looked through and put right in place.
class PatchedFile {
 public:
  static absl::StatusOr<std::unique_ptr<PatchedFile>> Open(const std::filesystem::path& path) {
    std::unique_ptr<PatchedFile> file(new PatchedFile);
    file->path_ = path;
    file->descriptor_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file->descriptor_ < 0) return FileError("open", path, errno);
    struct stat information {};
    if (fstat(file->descriptor_, &information) != 0) return FileError("examine", path, errno);
    file->size_ = information.st_size;
    return file;
  }
  ~PatchedFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int64_t size() const { return size_; }
  absl::Status Read(unsigned char* to, int64_t size, int64_t at) const {
    if (pread(descriptor_, to, static_cast<size_t>(size), at) != size) return FileError("read", path_, errno);
    return absl::OkStatus();
  }
  absl::Status Write(const unsigned char* from, int64_t size, int64_t at) const {
    if (pwrite(descriptor_, from, static_cast<size_t>(size), at) != size) return FileError("write", path_, errno);
    return absl::OkStatus();
  }
  absl::Status Sync() const { return fsync(descriptor_) == 0 ? absl::OkStatus() : FileError("flush", path_, errno); }

 private:
  PatchedFile() = default;
  std::filesystem::path path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

constexpr int kBytesTriedParts = 64;  // of so many parts each byte is tried too: a third of a second a part

// Changes each bit, then each byte in turn until `fits`; leaves the bytes as they were when nothing does. bytes_tried:
// of how many parts bytes were tried.
template <typename Predicate>
bool CorrectByte(unsigned char* bytes, int64_t size, int& bytes_tried, const Predicate& fits) {
  for (int64_t bit = 0; bit < size * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<unsigned char>(1 << (bit % 8));
    if (fits()) return true;
    bytes[bit / 8] ^= static_cast<unsigned char>(1 << (bit % 8));
  }
  if (++bytes_tried > kBytesTriedParts) return false;
  for (int64_t at = 0; at < size; ++at) {
    const unsigned char byte = bytes[at];
    for (int change = 1; change < 256; ++change) {
      bytes[at] = static_cast<unsigned char>(byte ^ change);
      if (fits()) return true;
    }
    bytes[at] = byte;
  }
  return false;
}

absl::StatusOr<int64_t> CorrectPages(const std::filesystem::path& path) {
  absl::StatusOr<std::unique_ptr<PatchedFile>> file = PatchedFile::Open(path);
  if (!file.ok()) return absl::IsNotFound(file.status()) ? absl::StatusOr<int64_t>(0) : file.status();
  int64_t corrected = 0;
  int bytes_tried = 0;
  unsigned char page[kPageBytes];
  for (int64_t number = 1; number * kPageBytes <= (*file)->size(); ++number) {
    const int64_t at = (number - 1) * kPageBytes;
    if (absl::Status status = (*file)->Read(page, kPageBytes, at); !status.ok()) return status;
    if (PageIsWhole(page, number)) continue;
    if (!CorrectByte(page, kPageBytes, bytes_tried, [&] { return PageIsWhole(page, number); })) continue;
    if (absl::Status status = (*file)->Write(page, kPageBytes, at); !status.ok()) return status;
    ++corrected;
  }
  absl::Status status = (*file)->Sync();
  if (!status.ok()) return status;
  return corrected;
}

bool FrameFits(const unsigned char* frame, const unsigned char* header, const uint32_t before[2]) {
  uint32_t sum[2] = {before[0], before[1]};
  AddToLogSum(frame, 8, sum);
  AddToLogSum(frame + kFrameHeaderBytes, kPageBytes, sum);
  return std::memcmp(frame + 8, header + 16, 8) == 0 && sum[0] == BigEndian(frame + 16) &&
         sum[1] == BigEndian(frame + 20);
}

// Each frame's sum goes on from the one before; two frames tell which of them a bit belongs to.
absl::StatusOr<int64_t> CorrectLog(const std::filesystem::path& path) {
  absl::StatusOr<std::unique_ptr<PatchedFile>> file = PatchedFile::Open(path);
  if (!file.ok()) return absl::IsNotFound(file.status()) ? absl::StatusOr<int64_t>(0) : file.status();
  if ((*file)->size() < kLogHeaderBytes) return 0;
  unsigned char header[kLogHeaderBytes], frame[kFrameBytes], next[kFrameBytes];
  if (absl::Status status = (*file)->Read(header, kLogHeaderBytes, 0); !status.ok()) return status;
  int64_t corrected = 0;
  int bytes_tried = 0;
  const auto header_fits = [&] {
    uint32_t sum[2] = {0, 0};
    AddToLogSum(header, 24, sum);
    return sum[0] == BigEndian(header + 24) && sum[1] == BigEndian(header + 28);
  };
  if (!header_fits()) {
    if (!CorrectByte(header, kLogHeaderBytes, bytes_tried, header_fits)) return 0;
    if (absl::Status status = (*file)->Write(header, kLogHeaderBytes, 0); !status.ok()) return status;
    ++corrected;
  }
  uint32_t before[2] = {BigEndian(header + 24), BigEndian(header + 28)};
  for (int64_t i = 0; kLogHeaderBytes + (i + 1) * kFrameBytes <= (*file)->size(); ++i) {
    const int64_t at = kLogHeaderBytes + i * kFrameBytes;
    if (absl::Status status = (*file)->Read(frame, kFrameBytes, at); !status.ok()) return status;
    if (!FrameFits(frame, header, before)) {
      if (std::memcmp(frame + 8, header + 16, 4) != 0 && std::memcmp(frame + 12, header + 20, 4) != 0) break;  // older
      const bool has_next = at + 2 * kFrameBytes <= (*file)->size();
      if (has_next) {
        if (absl::Status status = (*file)->Read(next, kFrameBytes, at + kFrameBytes); !status.ok()) return status;
      }
      const bool next_is_of_log = has_next && std::memcmp(next + 8, header + 16, 8) == 0;
      const auto fits = [&] {
        if (!FrameFits(frame, header, before)) return false;
        const uint32_t sum[2] = {BigEndian(frame + 16), BigEndian(frame + 20)};
        return !next_is_of_log || FrameFits(next, header, sum);
      };
      if (!CorrectByte(frame, kFrameBytes, bytes_tried, fits)) break;
      if (absl::Status status = (*file)->Write(frame, kFrameBytes, at); !status.ok()) return status;
      ++corrected;
    }
    before[0] = BigEndian(frame + 16);
    before[1] = BigEndian(frame + 20);
  }
  absl::Status status = (*file)->Sync();
  if (!status.ok()) return status;
  return corrected;
}

// Pages of committed transactions in the log are newer than the database's, and would be laid over them anyway.
absl::StatusOr<int64_t> TakePagesFromLog(const std::filesystem::path& database, const std::filesystem::path& path) {
  absl::StatusOr<std::unique_ptr<PatchedFile>> log = PatchedFile::Open(path);
  if (!log.ok()) return absl::IsNotFound(log.status()) ? absl::StatusOr<int64_t>(0) : log.status();
  absl::StatusOr<std::unique_ptr<PatchedFile>> file = PatchedFile::Open(database);
  if (!file.ok()) return absl::IsNotFound(file.status()) ? absl::StatusOr<int64_t>(0) : file.status();
  if ((*log)->size() < kLogHeaderBytes) return 0;
  unsigned char header[kLogHeaderBytes], frame[kFrameBytes], page[kPageBytes];
  if (absl::Status status = (*log)->Read(header, kLogHeaderBytes, 0); !status.ok()) return status;
  std::map<int64_t, int64_t> committed, pending;  // page -> its last frame
  uint32_t before[2] = {BigEndian(header + 24), BigEndian(header + 28)};
  for (int64_t i = 0; kLogHeaderBytes + (i + 1) * kFrameBytes <= (*log)->size(); ++i) {
    if (absl::Status status = (*log)->Read(frame, kFrameBytes, kLogHeaderBytes + i * kFrameBytes); !status.ok())
      return status;
    if (!FrameFits(frame, header, before)) break;
    pending[BigEndian(frame)] = i;
    if (BigEndian(frame + 4) != 0) {  // the last frame of a transaction
      for (const auto& [number, last] : pending) committed[number] = last;
      pending.clear();
    }
    before[0] = BigEndian(frame + 16);
    before[1] = BigEndian(frame + 20);
  }
  int64_t taken = 0;
  for (const auto& [number, last] : committed) {
    const int64_t at = (number - 1) * kPageBytes;
    if (number < 1 || at + kPageBytes > (*file)->size()) continue;
    if (absl::Status status = (*file)->Read(page, kPageBytes, at); !status.ok()) return status;
    if (PageIsWhole(page, number)) continue;
    const int64_t in_log = kLogHeaderBytes + last * kFrameBytes + kFrameHeaderBytes;
    if (absl::Status status = (*log)->Read(page, kPageBytes, in_log); !status.ok()) return status;
    SealPage(page, number);
    if (absl::Status status = (*file)->Write(page, kPageBytes, at); !status.ok()) return status;
    ++taken;
  }
  absl::Status status = (*file)->Sync();
  if (!status.ok()) return status;
  return taken;
}

// --- rows ---

using SalvagedRow = std::vector<std::unique_ptr<sqlite3_value, void (*)(sqlite3_value*)>>;

// Rows of one table by a key, from one database to another.
class TableCopy {
 public:
  // `name`'s columns are those of `to`; `from_name` and `from_columns` may call them otherwise.
  TableCopy(Database& from, Database& to, const std::string& name, const std::string& key,
            const std::vector<std::string>& columns, const std::string& from_name = "",
            const std::vector<std::string>& from_columns = {})
      : from_(from), to_(to) {
    const std::vector<std::string>& read = from_columns.empty() ? columns : from_columns;
    select_ = absl::StrCat("SELECT ", absl::StrJoin(read, ", "), " FROM ", from_name.empty() ? name : from_name,
                           " WHERE ", key, " = ?");
    insert_ = absl::StrCat("INSERT INTO ", name, " (", absl::StrJoin(columns, ", "), ") VALUES (",
                           absl::StrJoin(std::vector<std::string>(columns.size(), "?"), ", "), ")");
    count_ = columns.size();
  }
  absl::StatusOr<std::vector<SalvagedRow>> Read(int64_t key) {
    std::vector<SalvagedRow> rows;
    Rows found = from_.Query(select_, key);
    while (found.Next()) {
      SalvagedRow row;
      for (size_t i = 0; i < count_; ++i) row.emplace_back(found.Copy(static_cast<int>(i)), sqlite3_value_free);
      rows.push_back(std::move(row));
    }
    if (!found.status().ok()) return found.status();
    return rows;
  }
  absl::Status Write(const std::vector<SalvagedRow>& rows) {
    for (const SalvagedRow& row : rows) {
      sqlite3_stmt* statement = nullptr;
      int code = sqlite3_prepare_v2(to_.handle(), insert_.c_str(), -1, &statement, nullptr);
      const absl::Cleanup finalize = [&statement] { sqlite3_finalize(statement); };
      for (size_t i = 0; code == SQLITE_OK && i < row.size(); ++i)
        code = sqlite3_bind_value(statement, static_cast<int>(i) + 1, row[i].get());
      if (code == SQLITE_OK) code = sqlite3_step(statement);
      if (code != SQLITE_DONE) return to_.Error(code, "write to");
    }
    return absl::OkStatus();
  }

 private:
  Database& from_;
  Database& to_;
  std::string select_, insert_;
  size_t count_;
};

absl::StatusOr<std::vector<std::string>> ColumnsOf(Database& database, const std::string& table) {
  std::vector<std::string> columns;
  Rows rows = database.Query("SELECT name FROM pragma_table_info(?) ORDER BY cid", table);
  while (rows.Next()) columns.push_back(rows.Text(0));
  if (!rows.status().ok()) return rows.status();
  return columns;
}

// The largest key that a table has given; what can be found of it.
int64_t LastKey(Database& database, const std::string& table, const std::string& max_sql) {
  int64_t last = 0;
  {
    Rows rows = database.Query("SELECT seq FROM sqlite_sequence WHERE name = ?", table);
    if (rows.Next()) last = rows.Int(0);
  }
  Rows rows = database.Query(max_sql);
  if (rows.Next()) last = std::max(last, rows.Int(0));
  return last;
}

class Salvager {
 public:
  Salvager(Database& from, Database& to, const CollectionOptions& options) : from_(from), to_(to), options_(options) {}

  absl::StatusOr<std::vector<std::string>> Run(int64_t last_chunk_id) {
    for (const char* key : {"embedder", "dimension", "index", "next_segment", "generation"}) {
      absl::StatusOr<std::string> value = ManifestValue(from_, key);
      if (value.ok() && !value->empty()) {
        if (absl::Status status = SetManifest(to_, key, *value); !status.ok()) return status;
      }
    }
    {
      Rows rows = from_.Query("SELECT key, value FROM manifest WHERE key GLOB ?", absl::StrCat(kSettingKey, "*"));
      while (rows.Next()) {
        if (absl::Status status = SetManifest(to_, rows.Text(0), rows.Text(1)); !status.ok()) return status;
      }
    }
    const int64_t last_document = LastKey(from_, "documents", "SELECT max(key) FROM documents");
    const int64_t last_chunk = std::max(last_chunk_id, LastKey(from_, "chunks", "SELECT max(id) FROM chunks"));
    ReadNames();
    std::map<int64_t, std::vector<int64_t>> chunks_of;  // document key -> chunk ids
    for (int64_t id = 1; id <= last_chunk; ++id) {
      Rows rows = from_.Query("SELECT document FROM chunks WHERE id = ?", id);
      if (rows.Next()) chunks_of[rows.Int(0)].push_back(id);
    }
    absl::StatusOr<std::vector<std::string>> document_columns = ColumnsOf(to_, "documents");
    if (!document_columns.ok()) return document_columns.status();
    absl::StatusOr<std::vector<std::string>> chunk_columns = ColumnsOf(to_, "chunks");
    if (!chunk_columns.ok()) return chunk_columns.status();
    absl::StatusOr<std::vector<std::string>> chunk_columns_there = ColumnsOf(from_, "chunks");
    if (!chunk_columns_there.ok()) return chunk_columns_there.status();
    std::vector<std::string> from_documents = *document_columns, from_chunks = *chunk_columns;
    if (std::count(chunk_columns_there->begin(), chunk_columns_there->end(), "headings") == 0) {  // format 3
      for (std::string& column : from_documents) {
        if (column == "language") column = "''";
      }
      for (std::string& column : from_chunks) {
        if (column == "headings") column = HeadingsOf(kFirstFormatWithWordFiles - 1);
      }
    }
    documents_ =
        std::make_unique<TableCopy>(from_, to_, "documents", "key", *document_columns, "documents", from_documents);
    metadata_ = std::make_unique<TableCopy>(from_, to_, "document_metadata", "document",
                                            std::vector<std::string>{"document", "name", "value"});
    chunks_ = std::make_unique<TableCopy>(from_, to_, "chunks", "id", *chunk_columns, "chunks AS c", from_chunks);
    std::vector<int64_t> to_cut;
    for (int64_t key = 1; key <= last_document; ++key) {
      absl::StatusOr<bool> whole = CopyDocument(key, chunks_of[key]);
      if (!whole.ok()) return whole.status();
      if (!*whole) to_cut.push_back(key);
    }
    absl::Status status = to_.Run("DELETE FROM sqlite_sequence WHERE name = 'chunks'");
    if (status.ok()) status = to_.Run("INSERT INTO sqlite_sequence (name, seq) VALUES ('chunks', ?)", last_chunk);
    if (!status.ok()) return status;
    for (const int64_t key : to_cut) {
      if (status = CutAgain(key); !status.ok()) return status;
    }
    for (const auto& [key, name] : names_) lost_.push_back(absl::StrCat("document ", name));
    return std::move(lost_);
  }

 private:
  // From the index of sources and paths, which lies in pages of its own; as far as it can be read, from both ends.
  void ReadNames() {
    for (const char* sql : {"SELECT key, source, path FROM documents INDEXED BY sqlite_autoindex_documents_2 ORDER BY "
                            "source, path",
                            "SELECT key, source, path FROM documents INDEXED BY sqlite_autoindex_documents_2 ORDER BY "
                            "source DESC, path DESC"}) {
      Rows rows = from_.Query(sql);
      while (rows.Next()) names_[rows.Int(0)] = absl::StrCat(rows.Text(1), "/", rows.Text(2));
      if (rows.status().ok()) {
        names_complete_ = true;
        return;
      }
    }
    lost_.push_back("the names of documents that could not be read, in part");
  }

  // False: its text is carried over and its pieces are not. What has no row stays in names_.
  absl::StatusOr<bool> CopyDocument(int64_t key, const std::vector<int64_t>& chunk_ids) {
    absl::StatusOr<std::vector<SalvagedRow>> document = documents_->Read(key);
    if (!document.ok()) {
      // Where all names are known, one without a name was deleted before.
      if (!names_complete_) names_.try_emplace(key, absl::StrCat("number ", key, ", whose name cannot be read"));
      return true;
    }
    if (document->empty()) return true;
    int64_t expected = 0;
    std::string name;
    {
      Rows rows = from_.Query(
          "SELECT chunks, source, path, bytes = length(CAST(text AS BLOB)) FROM documents WHERE key = ?", key);
      if (!rows.Next() || rows.Int(3) == 0) {
        names_.try_emplace(key, absl::StrCat("number ", key));
        return true;
      }
      expected = rows.Int(0);
      name = absl::StrCat(rows.Text(1), "/", rows.Text(2));
    }
    names_.erase(key);
    if (absl::Status status = documents_->Write(*document); !status.ok()) return status;
    if (absl::StatusOr<std::vector<SalvagedRow>> metadata = metadata_->Read(key); metadata.ok()) {
      if (absl::Status status = metadata_->Write(*metadata); !status.ok()) return status;
    } else {
      lost_.push_back(absl::StrCat("the metadata of ", name));
    }
    std::vector<SalvagedRow> chunks;
    for (const int64_t id : chunk_ids) {
      absl::StatusOr<std::vector<SalvagedRow>> chunk = chunks_->Read(id);
      if (!chunk.ok() || chunk->size() != 1) break;
      chunks.push_back(std::move(chunk->front()));
    }
    if (static_cast<int64_t>(chunks.size()) != expected) {
      lost_.push_back(absl::StrCat("the headings, line numbers and places of ", name, ", whose text was cut again"));
      return false;
    }
    if (absl::Status status = chunks_->Write(chunks); !status.ok()) return status;
    return true;
  }

  absl::Status CutAgain(int64_t key) {
    Document document;
    {
      Rows rows = to_.Query("SELECT title, text, path FROM documents WHERE key = ?", key);
      if (!rows.Next()) return rows.status();
      document.title = rows.Text(0);
      document.text = rows.Text(1);
      document.path = rows.Text(2);
    }
    if (!options_.embedder.embed)
      return absl::FailedPreconditionError(
          absl::StrCat("the pieces of ", document.path, " are lost, and without the embedder none can be made"));
    absl::StatusOr<std::vector<Chunk>> chunks = ChunkDocument(document, options_.embedder, options_.chunker);
    if (!chunks.ok()) return chunks.status();
    for (const Chunk& chunk : *chunks) {
      absl::Status status = to_.Run(
          "INSERT INTO chunks (document, span_begin, span_end, line, segment, prefix, headings) VALUES (?, ?, ?, 1, 0, "
          "?, ?)",
          key, chunk.span.begin, chunk.span.end, chunk.prefix, chunk.heading_path);
      if (!status.ok()) return status;
    }
    return to_.Run("UPDATE documents SET chunks = ?, chunker = 'repaired' WHERE key = ?", chunks->size(), key);
  }

  Database& from_;
  Database& to_;
  const CollectionOptions& options_;
  std::map<int64_t, std::string> names_;  // of documents that are not carried over yet
  bool names_complete_ = false;
  std::vector<std::string> lost_;
  std::unique_ptr<TableCopy> documents_, metadata_, chunks_;
};

}  // namespace

absl::StatusOr<Corrections> CorrectDatabase(const std::filesystem::path& database_file) {
  absl::StatusOr<int64_t> pages = CorrectPages(database_file);
  if (!pages.ok()) return pages.status();
  std::filesystem::path log = database_file;
  log += "-wal";
  absl::StatusOr<int64_t> frames = CorrectLog(log);
  if (!frames.ok()) return frames.status();
  absl::StatusOr<int64_t> taken = TakePagesFromLog(database_file, log);
  if (!taken.ok()) return taken.status();
  return Corrections{*pages + *frames, *taken};
}

absl::StatusOr<std::vector<std::string>> SalvageDatabase(const std::filesystem::path& from,
                                                         const std::filesystem::path& to,
                                                         const CollectionOptions& options, int64_t last_chunk_id) {
  absl::StatusOr<std::unique_ptr<Database>> source = ConnectDatabase(from, false, options.sqlite_vfs);
  if (!source.ok()) return source.status();
  absl::StatusOr<std::unique_ptr<Database>> target = ConnectDatabase(to, true, options.sqlite_vfs);
  if (!target.ok()) return target.status();
  absl::StatusOr<std::vector<std::string>> lost;
  {
    Transaction transaction(**target, Transaction::Kind::kWrite);
    if (!transaction.status().ok()) return transaction.status();
    if (absl::Status status = CreateSchema(**target); !status.ok()) return status;
    lost = Salvager(**source, **target, options).Run(last_chunk_id);
    if (!lost.ok()) return lost;
    if (absl::Status status = transaction.Commit(); !status.ok()) return status;
  }
  // One file, without a log.
  if (absl::Status status = (*target)->Run("PRAGMA journal_mode = DELETE"); !status.ok()) return status;
  return lost;
}

}  // namespace blazon::retrieval
