// Opening a collection: its database, its checks against the commit record, what a crash left.
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/checksum_vfs.h"
#include "retrieval/collection_impl.h"
#include "retrieval/given_chunks.h"

namespace blazon::retrieval {

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

}  // namespace blazon::retrieval
