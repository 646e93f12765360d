#include "retrieval/collection.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <system_error>
#include <tuple>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "retrieval/checksum_vfs.h"
#include "retrieval/collection_impl.h"
#include "retrieval/document_loader.h"
#include "retrieval/given_chunks.h"
#include "retrieval/text_language.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

constexpr double kRebuildDeadShare = 0.3;
// Vectors that one change gathers into one segment, beside its own, at most: what a change may need of disk and memory.
constexpr int64_t kMaxMergedBytes = 256 << 20;
// Bytes that stay free when segments are merged.
constexpr int64_t kHeadRoomBytes = 2 << 20;

// A document row and its chunks and the manifest change in one transaction or not at all. Chunk ids are
// never used again.
constexpr const char* kSchema[] = {
    "PRAGMA application_id = 1112300110",  // kApplicationId
    "CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE segments (number INTEGER PRIMARY KEY, vectors INTEGER NOT NULL, checksum BLOB NOT NULL, words BLOB "
    "NOT NULL)",  // words: the checksum of the word index
    "CREATE TABLE tombstones (segment INTEGER NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (segment, chunk)) WITHOUT "
    "ROWID",
    "CREATE TABLE documents (key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, "
    "path TEXT NOT NULL, "
    "title TEXT NOT NULL, parser TEXT NOT NULL, encoding TEXT NOT NULL, digest TEXT NOT NULL, chunker TEXT NOT NULL, "
    "chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, language TEXT NOT NULL DEFAULT '', text TEXT NOT NULL, UNIQUE "
    "(source, path))",
    "CREATE TABLE document_metadata (document INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY "
    "(document, name)) WITHOUT ROWID",
    "CREATE INDEX metadata_by_value ON document_metadata (name, value)",  // only for speed: not needed to read
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, span_begin INTEGER NOT "
    "NULL, "
    "span_end INTEGER NOT NULL, line INTEGER NOT NULL, segment INTEGER NOT NULL, place TEXT NOT NULL DEFAULT '', box "
    "TEXT NOT NULL DEFAULT '', prefix TEXT NOT NULL, headings TEXT NOT NULL DEFAULT '')",
    "CREATE INDEX chunks_by_document ON chunks (document)",
    "CREATE INDEX chunks_by_segment ON chunks (segment)",
};

}  // namespace

absl::Status ReadOnly() {
  return absl::FailedPreconditionError("the collection is open for reading; open it for writing to change it");
}

absl::Status CreateSchema(Database& database) {
  for (const char* statement : kSchema) {
    if (absl::Status status = database.Run(statement); !status.ok()) return status;
  }
  absl::Status status = SetManifest(database, "format", absl::StrCat(kFormat));
  return status.ok() ? SetManifest(database, "generation", "0") : status;
}

absl::Status SetManifest(Database& database, std::string_view key, std::string_view value) {
  return database.Run(
      "INSERT INTO manifest (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key,
      value);
}

absl::Status MissingIsLost(const absl::Status& status, const std::filesystem::path& folder) {
  if (!absl::IsNotFound(status)) return status;
  return absl::DataLossError(absl::StrCat(status.message(), RepairRemedy(folder)));
}

absl::StatusOr<std::string> ManifestValue(Database& database, std::string_view key) {
  Rows rows = database.Query("SELECT value FROM manifest WHERE key = ?", key);
  const std::string value = rows.Next() ? rows.Text(0) : "";
  if (!rows.status().ok()) return rows.status();
  return value;
}

absl::StatusOr<int64_t> DimensionOf(Database& database) {
  absl::StatusOr<std::string> text = ManifestValue(database, "dimension");
  if (!text.ok()) return text.status();
  int64_t dimension = 0;
  (void)absl::SimpleAtoi(*text, &dimension);  // not there before the first vectors are
  return dimension;
}

std::string DocumentId(const std::string& source, const std::string& path) {
  return ContentDigest(source + '\0' + path).substr(0, 32);
}

std::optional<LockHolder> FindWriter(const std::filesystem::path& folder) { return LockFile::Find(folder / "lock"); }

// --- opening ---

absl::StatusOr<std::unique_ptr<Database>> ConnectDatabase(const std::filesystem::path& file, bool create,
                                                          const std::string& sqlite_vfs) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file, create, sqlite_vfs);
  if (!database.ok()) return database.status();
  if (create) {  // a new file gets room for checksums in its pages
    int reserve = kPageReserve;
    if (const int code = sqlite3_file_control((*database)->handle(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
        code != SQLITE_OK)
      return (*database)->Error(code, "prepare");
  }
  static_assert(kPageBytes == 4096);
  // Temporary tables in memory, as their files would have no checksums.
  for (const char* setting :
       {"PRAGMA page_size = 4096", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
        "PRAGMA temp_store = MEMORY", "PRAGMA cell_size_check = ON", "PRAGMA trusted_schema = OFF"}) {
    if (absl::Status status = (*database)->Run(setting); !status.ok()) return status;
  }
  return database;
}

absl::StatusOr<std::unique_ptr<Database>> Collection::Impl::Connect(bool create) const {
  return ConnectDatabase(database_file(), create, options_.sqlite_vfs);
}

absl::StatusOr<int64_t> FormatOf(Database& database, const std::filesystem::path& folder) {
  absl::StatusOr<std::string> text = ManifestValue(database, "format");
  if (!text.ok()) return text.status();
  int64_t format = 0;
  if (!absl::SimpleAtoi(*text, &format) || format < 1 || format > kFormat) {
    return absl::FailedPreconditionError(absl::StrCat(folder.string(), " has collection format '", *text,
                                                      "'; this program reads formats 1 to ", kFormat,
                                                      ". Use a newer one, or index the documents into a new folder."));
  }
  return format;
}

absl::Status Collection::Impl::CheckManifest(Database& database) {
  absl::StatusOr<int64_t> format = FormatOf(database, folder_);
  if (!format.ok()) return format.status();
  format_ = *format;
  absl::StatusOr<std::string> fingerprint = ManifestValue(database, "embedder");
  if (!fingerprint.ok()) return fingerprint.status();
  if (options_.embedder.embed && !fingerprint->empty() && *fingerprint != options_.embedder.fingerprint &&
      !IsGivenEmbedder(*fingerprint)) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder_.string(), " was built with embedder ", *fingerprint, ", not with ", options_.embedder.fingerprint,
        "; open it with that one, or embed its documents again: blazon index add --collection NEW_FOLDER PATH..."));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Collection::Impl::CheckCommitRecord() const {
  const absl::StatusOr<CommitRecord> record = ReadCommitRecord(folder_);
  if (absl::IsNotFound(record.status())) return false;  // CheckGeneration asks whether there must be one
  const absl::StatusOr<bool> is_of_record =
      record.ok() ? CheckLog(database_file(), *record, options_.sqlite_vfs) : record.status();
  if (absl::IsDataLoss(is_of_record.status()))
    return absl::DataLossError(absl::StrCat(is_of_record.status().message(), RepairRemedy(folder_)));
  return is_of_record;
}

absl::Status Collection::Impl::CheckGeneration(Database& database) const {
  if (format_ < kFirstCheckedFormat) return absl::OkStatus();
  const absl::StatusOr<CommitRecord> record = ReadCommitRecord(folder_);
  if (!record.ok()) return MissingIsLost(record.status(), folder_);
  const absl::StatusOr<std::string> text = ManifestValue(database, "generation");
  if (!text.ok()) return text.status();
  int64_t generation = -1;
  if (absl::SimpleAtoi(*text, &generation) && generation >= record->generation) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(database_file().string(), " or its log has lost changes: generation ",
                                          record->generation, " was acknowledged, and it holds '", *text, "'",
                                          RepairRemedy(folder_)));
}

absl::Status Collection::Impl::OpenDatabase() {
  std::error_code error;
  const bool exists = std::filesystem::exists(database_file(), error);
  const bool writing = options_.mode == OpenMode::kWrite;
  if (!exists && !(writing && options_.create)) {
    return absl::NotFoundError(absl::StrCat("there is no collection in ", folder_.string(),
                                            "; blazon index add --collection ", folder_.string(),
                                            " PATH... makes one"));
  }
  if (!exists) {
    std::filesystem::create_directories(folder_, error);
    if (error) return FileError("create", folder_, error.value());
  }
  if (writing) {
    absl::StatusOr<std::unique_ptr<LockFile>> lock = LockFile::Acquire(folder_ / "lock", options_.holder);
    if (!lock.ok()) return lock.status();
    lock_ = std::move(*lock);
  }
  const absl::StatusOr<bool> log_is_of_record = CheckCommitRecord();
  if (!log_is_of_record.ok()) return log_is_of_record.status();
  absl::StatusOr<std::unique_ptr<Database>> connection = Connect(writing && options_.create);
  if (!connection.ok()) return connection.status();
  Database& database = **connection;
  if (writing) {  // a crash may have left an empty database
    Transaction transaction(database, Transaction::Kind::kWrite);
    if (!transaction.status().ok()) return transaction.status();
    bool made = false;
    {
      Rows rows = database.Query("SELECT 1 FROM sqlite_schema WHERE name = 'manifest'");
      made = rows.Next();
      if (!rows.status().ok()) return rows.status();
    }
    if (!made) {
      if (!options_.create) return absl::NotFoundError(absl::StrCat("there is no collection in ", folder_.string()));
      const absl::StatusOr<CommitRecord> record = ReadCommitRecord(folder_);
      if (record.ok() && record->generation > 0) {
        return absl::DataLossError(
            absl::StrCat(database_file().string(), " is empty, and generation ", record->generation,
                         " was acknowledged; restore it from a snapshot: ", "blazon index restore"));
      }
      if (absl::Status status = CreateSchema(database); !status.ok()) return status;
      if (absl::Status status = CreateCommitRecord(folder_, {}, *files_); !status.ok()) return status;
      if (absl::Status status = SetManifest(database, "index", IndexKindName(options_.index)); !status.ok())
        return status;
      if (absl::Status status = transaction.Commit(); !status.ok()) return status;
    }
  }
  if (absl::Status status = CheckManifest(database); !status.ok()) return status;
  if (absl::Status status = CheckGeneration(database); !status.ok()) return status;
  if (writing) {
    if (!*log_is_of_record && format_ >= kFirstCheckedFormat) {
      // So that a crash that tears the header of a new log is not taken for damage to the old one.
      absl::StatusOr<CommitRecord> record = ReadCommitRecord(folder_);
      if (!record.ok()) return record.status();
      if (record->frames > 0) {
        if (absl::Status status = WriteCommitRecord(folder_, {record->generation}, *files_); !status.ok())
          return status;
      }
    }
    if (format_ < kFormat) {
      if (absl::Status status = Migrate(std::move(*connection)); !status.ok()) return status;
      connection = Connect(false);
      if (!connection.ok()) return connection.status();
    }
    writer_ = std::move(*connection);
    if (absl::Status status = RemoveOrphans(); !status.ok()) return status;
    Transaction transaction(*writer_, Transaction::Kind::kRead);
    if (absl::Status status = CheckSegmentFiles(); !status.ok()) return MissingIsLost(status, folder_);
    if (absl::StatusOr<std::shared_ptr<const WordView>> words = WordsOf(*writer_); !words.ok())
      return MissingIsLost(words.status(), folder_);
    // The log exists by now; its name must be as durable as what is written to it.
    return files_->SyncFolder(folder_);
  }
  idle_readers_.push_back(std::move(*connection));
  return absl::OkStatus();
}

absl::Status Collection::Impl::RemoveOrphans() {
  absl::StatusOr<std::string> next = ManifestValue(*writer_, "next_segment");
  if (!next.ok()) return next.status();
  if (!next->empty() && !absl::SimpleAtoi(*next, &next_segment_))
    return absl::DataLossError(absl::StrCat(database_file().string(), " has no segment number in its manifest"));
  std::set<std::string> named;
  Rows rows = writer_->Query("SELECT number FROM segments");
  while (rows.Next()) {
    named.insert(Segment::FileName(rows.Int(0)));
    named.insert(SegmentIndex::FileName(rows.Int(0)));
    named.insert(WordIndex::FileName(rows.Int(0)));
  }
  if (!rows.status().ok()) return rows.status();
  std::error_code error;
  std::vector<std::filesystem::path> orphans;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    bool ours = false;
    for (const char* ending : {".vec", ".idx", ".words"})
      ours |= absl::EndsWith(name, ending) || absl::EndsWith(name, absl::StrCat(ending, ".tmp"));
    if (absl::StartsWith(name, "segment-") && ours && !named.contains(name)) {
      orphans.push_back(entry.path());
    }
  }
  if (error) return FileError("list", folder_, error.value());
  for (const std::filesystem::path& orphan : orphans) {
    if (absl::Status status = files_->Remove(orphan); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Collection::Impl::CheckSegmentFiles() {
  const absl::StatusOr<int64_t> dimension = DimensionOf(*writer_);
  if (!dimension.ok()) return dimension.status();
  Rows rows = writer_->Query("SELECT number, vectors FROM segments");
  while (rows.Next()) {
    if (absl::Status status = Segment::CheckLength(folder_, rows.Int(0), *dimension, rows.Int(1)); !status.ok())
      return status;
  }
  return rows.status();
}

absl::StatusOr<std::unique_ptr<Collection::Impl>> Collection::Impl::Open(const std::filesystem::path& folder,
                                                                         CollectionOptions options) {
  if (options.embedder.embed &&
      (options.embedder.dimension <= 0 || options.embedder.fingerprint.empty() || !options.embedder.count_tokens)) {
    return absl::InvalidArgumentError("the embedder lacks its dimension, fingerprint or token counter");
  }
  if (options.embed_batch < 1) return absl::InvalidArgumentError("embed_batch must be at least 1");
  std::unique_ptr<Impl> impl(new Impl(folder, std::move(options)));
  impl->files_ = impl->options_.files ? impl->options_.files : &impl->real_files_;
  if (absl::Status status = impl->OpenDatabase(); !status.ok()) return status;
  return impl;
}

// --- changing ---

absl::StatusOr<std::vector<float>> EmbedAll(const CollectionOptions& options, const std::vector<std::string>& texts) {
  const size_t dimension = static_cast<size_t>(options.embedder.dimension);
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  // Texts of like length together, so that a batch is padded little.
  std::sort(order.begin(), order.end(),
            [&texts](size_t a, size_t b) { return std::pair(texts[a].size(), a) < std::pair(texts[b].size(), b); });
  std::vector<float> vectors(texts.size() * dimension);
  std::vector<std::string> batch;
  for (size_t begin = 0; begin < order.size(); begin += batch.size()) {
    batch.clear();
    for (size_t i = begin; i < order.size() && batch.size() < static_cast<size_t>(options.embed_batch); ++i)
      batch.push_back(texts[order[i]]);
    absl::StatusOr<std::vector<float>> rows = options.embedder.embed(batch);
    if (!rows.ok()) return rows.status();
    if (rows->size() != batch.size() * dimension) {
      return absl::InternalError(absl::StrCat("the embedder returned ", rows->size(), " numbers for ", batch.size(),
                                              " texts of dimension ", dimension));
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      const float* row = rows->data() + i * dimension;
      const double norm = std::inner_product(row, row + dimension, row, 0.0);
      if (!(std::abs(norm - 1) < 1e-2))
        return absl::InternalError("the embedder returned a vector that is not of unit length");
      std::copy(row, row + dimension, vectors.begin() + static_cast<ptrdiff_t>(order[begin + i] * dimension));
    }
  }
  return vectors;
}

absl::StatusOr<Collection::Impl::Change> Collection::Impl::StartChange() {
  if (unrecorded_ >= 0) {
    if (absl::Status status = RecordCommit(); !status.ok()) return status;
  }
  absl::StatusOr<std::shared_ptr<const WordView>> words = WordsOf(*writer_);
  if (!words.ok()) return MissingIsLost(words.status(), folder_);
  const absl::StatusOr<int64_t> dimension = DimensionOf(*writer_);
  if (!dimension.ok()) return dimension.status();
  Change change;
  change.generation = (*words)->generation;
  change.dimension = *dimension;
  change.words = std::move(*words);
  Rows segments = writer_->Query(
      "SELECT number, vectors, checksum, (SELECT count(*) FROM tombstones WHERE segment = number) FROM segments");
  while (segments.Next()) {
    change.segments[segments.Int(0)] = {segments.Text(2), segments.Int(1), segments.Int(1) - segments.Int(3)};
  }
  if (!segments.status().ok()) return segments.status();
  change.segment_number = next_segment_++;
  return change;
}

absl::Status Collection::Impl::RemoveDocument(int64_t key, Change& change) {
  std::vector<std::pair<int64_t, int64_t>> chunks;  // id, segment
  {
    Rows rows = writer_->Query("SELECT id, segment FROM chunks WHERE document = ?", key);
    while (rows.Next()) chunks.emplace_back(rows.Int(0), rows.Int(1));
    if (!rows.status().ok()) return rows.status();
  }
  for (const auto& [id, segment] : chunks) {
    if (absl::Status status = writer_->Run("INSERT INTO tombstones (segment, chunk) VALUES (?, ?)", segment, id);
        !status.ok())
      return status;
    ++change.newly_dead[segment];
  }
  for (const char* statement :
       {"DELETE FROM chunks WHERE document = ?", "DELETE FROM document_metadata WHERE document = ?",
        "DELETE FROM documents WHERE key = ?"}) {
    if (absl::Status status = writer_->Run(statement, key); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Collection::Impl::Delete(absl::Span<const std::string> document_ids) {
  if (options_.mode != OpenMode::kWrite) return ReadOnly();
  const std::lock_guard<std::mutex> lock(write_mutex_);
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  if (!transaction.status().ok()) return transaction.status();
  absl::StatusOr<Change> started = StartChange();
  if (!started.ok()) return started.status();
  Change& change = *started;
  int64_t removed = 0;
  for (const std::string& id : document_ids) {
    int64_t key = -1;
    {
      Rows rows = writer_->Query("SELECT key FROM documents WHERE id = ?", id);
      if (rows.Next()) key = rows.Int(0);
      if (!rows.status().ok()) return rows.status();
    }
    if (key < 0) continue;
    if (absl::Status status = RemoveDocument(key, change); !status.ok()) return status;
    ++removed;
  }
  if (removed == 0) return 0;
  if (absl::Status status = CommitChange(transaction, change); !status.ok()) return status;
  return removed;
}

absl::Status Collection::Impl::SetSetting(const std::string& name, const std::string& value) {
  if (options_.mode != OpenMode::kWrite) return ReadOnly();
  if (name.empty() || !std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_'; }))
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" does not name a setting: letters, digits and '_'"));
  const std::lock_guard<std::mutex> lock(write_mutex_);
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  if (!transaction.status().ok()) return transaction.status();
  absl::StatusOr<Change> change = StartChange();
  if (!change.ok()) return change.status();
  const std::string key = absl::StrCat(kSettingKey, name);
  absl::Status status =
      value.empty() ? writer_->Run("DELETE FROM manifest WHERE key = ?", key) : SetManifest(*writer_, key, value);
  return status.ok() ? CommitChange(transaction, *change) : status;
}

// New vectors go into one new segment, together with the live ones of segments that are mostly small or dead: each
// change takes in the segments that are no larger than what it has gathered so far, so their number stays logarithmic
// and a vector is rewritten O(log n) times (the logarithmic method: Bentley and Saxe, Journal of Algorithms 1, 1980),
// up to the size where segments are left alone. A merge that the disk has no room for is put off: deleting works on a
// full disk.
absl::StatusOr<std::set<int64_t>> Collection::Impl::ChooseMerged(const Change& change) const {
  struct Old {
    int64_t number, live, total;
    bool rebuild;  // many of its vectors are dead
  };
  std::vector<Old> old_segments;
  const int64_t row_bytes =
      static_cast<int64_t>(sizeof(int64_t)) + change.dimension * static_cast<int64_t>(sizeof(float));
  for (const auto& [number, row] : change.segments) {
    const auto dying = change.newly_dead.find(number);
    const int64_t total = row.total;
    const int64_t live = row.live - (dying == change.newly_dead.end() ? 0 : dying->second);
    old_segments.push_back(
        {number, live, total, static_cast<double>(total - live) > kRebuildDeadShare * static_cast<double>(total)});
  }
  std::sort(old_segments.begin(), old_segments.end(), [](const Old& a, const Old& b) {
    return std::tuple(!a.rebuild, a.live, a.number) < std::tuple(!b.rebuild, b.live, b.number);
  });
  std::set<int64_t> merged;
  const int64_t added = static_cast<int64_t>(change.added.size());
  int64_t gathered = added;
  for (const Old& old : old_segments) {
    if (!old.rebuild && old.live > gathered) break;
    // The first one is taken at any size: what is mostly dead shrinks, and what is not is no larger than the change.
    if (!merged.empty() && (gathered - added + old.live) * row_bytes > kMaxMergedBytes) break;
    merged.insert(old.number);
    gathered += old.live;
  }
  if (gathered > added) {
    int64_t word_bytes = 0;
    for (const int64_t number : merged) word_bytes += change.words->search.parts().at(number).index->bytes();
    absl::StatusOr<int64_t> free = files_->FreeBytes(folder_);
    if (!free.ok()) return free.status();
    if (*free < gathered * row_bytes + word_bytes + kHeadRoomBytes) {
      std::erase_if(merged, [&](int64_t number) {  // those without a live vector cost nothing to drop
        return std::any_of(old_segments.begin(), old_segments.end(),
                           [&](const Old& old) { return old.number == number && old.live > 0; });
      });
    }
  }
  return merged;
}

absl::Status Collection::Impl::RecordCommit() {
  absl::StatusOr<CommitRecord> record = RecordOf(database_file(), unrecorded_, writer_->log_frames());
  if (!record.ok()) return record.status();
  if (absl::Status status = WriteCommitRecord(folder_, *record, *files_); !status.ok()) return status;
  unrecorded_ = -1;
  return absl::OkStatus();
}

absl::Status Collection::Impl::CommitChange(Transaction& transaction, Change& change) {
  absl::StatusOr<std::set<int64_t>> chosen = ChooseMerged(change);
  if (!chosen.ok()) return chosen.status();
  const std::set<int64_t>& absorbed = *chosen;

  // Rows of absorbed segments that still have a chunk move; `added` has larger ids than any of them.
  std::vector<std::pair<int64_t, const float*>> rows;
  std::vector<std::shared_ptr<const Segment>> read;  // where those are
  std::vector<WordIndexBuilder::Source> words;
  for (const int64_t number : absorbed) {
    std::vector<int64_t> moving;
    {
      Rows ids_of_segment = writer_->Query("SELECT id FROM chunks WHERE segment = ?", number);
      while (ids_of_segment.Next()) moving.push_back(ids_of_segment.Int(0));
      if (!ids_of_segment.status().ok()) return ids_of_segment.status();
    }
    if (moving.empty()) continue;
    absl::StatusOr<std::shared_ptr<const Segment>> old =
        SegmentOf(number, change.dimension, change.segments.at(number).checksum);
    if (!old.ok()) return MissingIsLost(old.status(), folder_);
    const Segment& segment = *read.emplace_back(*std::move(old));
    WordIndexBuilder::Source& source = words.emplace_back();
    source.index = change.words->search.parts().at(number).index;
    source.live.resize(static_cast<size_t>((source.index->size() + 7) / 8));
    for (const int64_t id : moving) {
      const int64_t row = segment.Find(id);
      if (row < 0)
        return absl::DataLossError(
            absl::StrCat((folder_ / Segment::FileName(number)).string(), " lacks chunk ", id, RepairRemedy(folder_)));
      rows.emplace_back(id, segment.vector(row));
      source.live[static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << (row % 8));  // the rows are the same
    }
  }
  for (const int64_t number : absorbed) {
    if (absl::Status status =
            writer_->Run("UPDATE chunks SET segment = ? WHERE segment = ?", change.segment_number, number);
        !status.ok())
      return status;
    if (absl::Status status = writer_->Run("DELETE FROM tombstones WHERE segment = ?", number); !status.ok())
      return status;
    if (absl::Status status = writer_->Run("DELETE FROM segments WHERE number = ?", number); !status.ok())
      return status;
  }
  std::sort(rows.begin(), rows.end());
  rows.insert(rows.end(), change.added.begin(), change.added.end());

  std::shared_ptr<const Segment> fresh;
  std::shared_ptr<const WordIndex> fresh_words;
  // What was written takes no room when the rest cannot be.
  absl::Cleanup clear = [&] {
    for (const std::string& name :
         {Segment::FileName(change.segment_number), WordIndex::FileName(change.segment_number)})
      files_->Remove(folder_ / name).IgnoreError();
  };
  if (!rows.empty()) {
    const auto dimension = static_cast<size_t>(change.added.empty() ? change.dimension : change.kept.dimension);
    std::vector<int64_t> ids;
    std::vector<float> vectors;
    vectors.reserve(rows.size() * dimension);
    for (const auto& [id, vector] : rows) {
      ids.push_back(id);
      vectors.insert(vectors.end(), vector, vector + dimension);
    }
    fresh = std::make_shared<Segment>(change.segment_number, static_cast<int64_t>(dimension), std::move(ids), vectors);
    absl::StatusOr<std::string> checksum = fresh->Write(folder_, *files_);
    if (!checksum.ok()) return checksum.status();
    absl::StatusOr<std::shared_ptr<const WordIndex>> built = change.added_words.Build(change.segment_number, words);
    if (!built.ok()) return built.status();
    if (absl::Status status = (*built)->Write(folder_, *files_); !status.ok()) return status;
    // From the file, as its pages need no memory of ours.
    built = WordIndex::Read(folder_, change.segment_number, (*built)->checksum());
    if (!built.ok()) return built.status();
    fresh_words = *std::move(built);
    absl::Status status =
        writer_->Run("INSERT INTO segments (number, vectors, checksum, words) VALUES (?, ?, ?, ?)",
                     change.segment_number, fresh->size(), Blob{*checksum}, Blob{fresh_words->checksum()});
    if (status.ok() && !change.added.empty()) status = SetManifest(*writer_, "embedder", change.kept.embedder);
    if (status.ok()) status = SetManifest(*writer_, "dimension", absl::StrCat(dimension));
    if (!status.ok()) return status;
  }
  absl::Status status = SetManifest(*writer_, "next_segment", absl::StrCat(next_segment_));
  if (status.ok()) status = SetManifest(*writer_, "generation", absl::StrCat(change.generation + 1));
  if (!status.ok()) return status;
  std::move(clear).Cancel();
  status = transaction.Commit();
  // The new file stays for the next opening to judge: a failed commit may yet be found in the log.
  if (!status.ok()) return status;
  // The change is durable. Where its record cannot be written, the next change tries again before it starts.
  unrecorded_ = change.generation + 1;
  RecordCommit().IgnoreError();

  // One that stays is an orphan, which the next writer deletes.
  for (const int64_t number : absorbed) {
    files_->Remove(folder_ / Segment::FileName(number)).IgnoreError();
    files_->Remove(folder_ / SegmentIndex::FileName(number)).IgnoreError();
    files_->Remove(folder_ / WordIndex::FileName(number)).IgnoreError();
  }
  Transaction reading(*writer_, Transaction::Kind::kRead);
  // Where there are searches, the next one need not read the file.
  bool searched = false;
  {
    const std::lock_guard<std::mutex> lock(view_mutex_);
    searched = view_ != nullptr;
  }
  if (searched) ViewOf(*writer_, std::move(fresh)).IgnoreError();
  WordsOf(*writer_, std::move(fresh_words)).IgnoreError();
  return absl::OkStatus();
}

// --- the public class ---

Collection::Collection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Collection::~Collection() = default;

absl::StatusOr<std::unique_ptr<Collection>> Collection::Open(const std::filesystem::path& folder,
                                                             CollectionOptions options) {
  absl::StatusOr<std::unique_ptr<Impl>> impl = Impl::Open(folder, std::move(options));
  if (!impl.ok()) return impl.status();
  return std::unique_ptr<Collection>(new Collection(std::move(*impl)));
}
absl::StatusOr<std::vector<PutOutcome>> Collection::Put(absl::Span<const Document> documents) {
  return impl_->Put(documents);
}
absl::Status Collection::Check(const Document& document) const { return impl_->Check(document); }
absl::StatusOr<int64_t> Collection::Delete(absl::Span<const std::string> document_ids) {
  return impl_->Delete(document_ids);
}
absl::Status Collection::SetSetting(const std::string& name, const std::string& value) {
  return impl_->SetSetting(name, value);
}
absl::StatusOr<std::string> Collection::Setting(const std::string& name) const { return impl_->Setting(name); }
absl::Status Collection::BuildIndexes(const std::function<bool()>& stop) { return impl_->BuildIndexes(stop); }
absl::StatusOr<std::vector<ScoredChunk>> Collection::Search(const Query& query) const { return impl_->Search(query); }
absl::StatusOr<Document> Collection::Get(const std::string& document_id) const { return impl_->Get(document_id); }
absl::StatusOr<DocumentPage> Collection::List(int64_t page_size, const std::string& page_token,
                                              const Filter& filter) const {
  return impl_->List(page_size, page_token, filter);
}
absl::Status Collection::Export(const std::function<absl::Status(const ExportedTotals&)>& begin,
                                const std::function<absl::Status(const Document&)>& visit) const {
  return impl_->Export(begin, visit);
}
absl::StatusOr<bool> Collection::IsCurrent(const std::string& source, const std::string& path,
                                           const std::string& content_digest, const std::string& parser) const {
  return impl_->IsCurrent(source, path, content_digest, parser);
}
absl::StatusOr<CollectionStats> Collection::Stats() const { return impl_->Stats(); }
absl::Status Collection::Verify() const { return impl_->Verify(); }
const std::filesystem::path& Collection::folder() const { return impl_->folder(); }

}  // namespace blazon::retrieval
