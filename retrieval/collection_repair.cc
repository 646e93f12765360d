// Mends a collection in place.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection_care.h"
#include "retrieval/collection_impl.h"
#include "retrieval/salvage.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

constexpr size_t kEmbedGroup = 256;  // texts in memory at once

bool IsOfDatabase(const Damage& damage) { return absl::StartsWith(damage.file, kDatabaseFile); }

class Mender {
 public:
  Mender(const fs::path& folder, const CollectionOptions& options) : folder_(folder), options_(options) {
    files_ = options.files ? options.files : &real_files_;
  }

  absl::StatusOr<RepairReport> Run() {
    absl::StatusOr<std::unique_ptr<LockFile>> lock = LockFile::Acquire(folder_ / "lock", options_.holder);
    if (!lock.ok()) return lock.status();
    absl::StatusOr<VerifyReport> found = VerifyCollection(folder_, options_.sqlite_vfs);
    if (!found.ok()) return found.status();
    report_.damage = found->damage;
    if (found->damage.empty()) return std::move(report_);
    if (!found->page_checksums) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder_.string(),
                       " has an older collection format, in which damage cannot be told from content; index "
                       "its documents again into a new folder"));
    }
    if (absl::Status status = RefuseReaders(); !status.ok()) return status;
    if (absl::Status status = Keep(); !status.ok()) return status;
    if (std::any_of(found->damage.begin(), found->damage.end(), IsOfDatabase)) {
      if (absl::Status status = MendDatabase(); !status.ok()) return status;
    }
    if (absl::Status status = MendSegments(); !status.ok()) return status;
    found = VerifyCollection(folder_, options_.sqlite_vfs);
    if (!found.ok()) return found.status();
    if (absl::Status status = ToStatus(*found, folder_); !status.ok()) return status;
    return std::move(report_);
  }

 private:
  // SQLite holds a lock on a database for as long as it is open: 510 bytes from 2 past the first gigabyte.
  absl::Status RefuseReaders() const {
    const int descriptor = open((folder_ / kDatabaseFile).c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return errno == ENOENT ? absl::OkStatus() : FileError("open", folder_ / kDatabaseFile, errno);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = 0x40000002;
    lock.l_len = 510;
    const int code = fcntl(descriptor, F_OFD_GETLK, &lock);
    close(descriptor);
    if (code == 0 && lock.l_type != F_UNLCK)
      return absl::UnavailableError(absl::StrCat(folder_.string(), " is open for reading; end its readers first"));
    return absl::OkStatus();
  }

  absl::Status Keep() {
    std::error_code error;
    int number = 1;
    while (fs::exists(folder_ / absl::StrCat("damaged-", number), error)) ++number;
    const fs::path kept = folder_ / absl::StrCat("damaged-", number);
    fs::create_directory(kept, error);
    if (error) return FileError("create", kept, error.value());
    report_.kept_in = kept.string();
    std::set<std::string> names = {kDatabaseFile, "collection.db-wal", kCommitFile};
    for (const Damage& damage : report_.damage) names.insert(damage.file);
    for (const std::string& name : names) {
      if (!fs::exists(folder_ / name, error)) continue;
      fs::copy_file(folder_ / name, kept / name, error);
      if (error) return FileError("copy", folder_ / name, error.value());
    }
    return absl::OkStatus();
  }

  absl::Status MendDatabase() {
    absl::StatusOr<Corrections> corrected = CorrectDatabase(folder_ / kDatabaseFile);
    if (!corrected.ok()) return corrected.status();
    report_.bytes_corrected = corrected->bytes;
    report_.pages_from_log = corrected->pages;
    absl::StatusOr<VerifyReport> found = VerifyCollection(folder_, options_.sqlite_vfs);
    if (!found.ok()) return found.status();
    if (std::none_of(found->damage.begin(), found->damage.end(), IsOfDatabase)) return absl::OkStatus();

    int64_t last_chunk_id = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
      if (!absl::EndsWith(entry.path().filename().string(), ".vec")) continue;
      const absl::StatusOr<std::shared_ptr<const Segment>> segment = Segment::Read(entry.path());
      if (segment.ok() && (*segment)->size() > 0) last_chunk_id = std::max(last_chunk_id, (*segment)->ids().back());
    }
    const fs::path fresh = folder_ / "collection.db.new", log = folder_ / "collection.db-wal";
    for (const char* ending : {"", "-wal", "-shm", "-journal"}) {
      fs::path left_over = fresh;
      left_over += ending;
      if (absl::Status status = files_->Remove(left_over); !status.ok()) return status;
    }
    const absl::StatusOr<CommitRecord> record = ReadCommitRecord(folder_);
    absl::StatusOr<std::vector<std::string>> lost =
        SalvageDatabase(folder_ / kDatabaseFile, fresh, options_, last_chunk_id);
    if (!lost.ok()) {
      return absl::IsDataLoss(lost.status()) || absl::IsNotFound(lost.status())
                 ? absl::DataLossError(absl::StrCat("nothing of ", (folder_ / kDatabaseFile).string(),
                                                    " can be read; restore it from a snapshot (blazon index restore) "
                                                    "or index its documents again into a new folder. The files are "
                                                    "kept in ",
                                                    report_.kept_in))
                 : lost.status();
    }
    report_.lost.insert(report_.lost.end(), lost->begin(), lost->end());
    {
      absl::StatusOr<std::unique_ptr<Database>> database = ConnectDatabase(fresh, false, options_.sqlite_vfs);
      if (!database.ok()) return database.status();
      const absl::StatusOr<std::string> generation = ManifestValue(**database, "generation");
      int64_t number = 0;
      if (generation.ok() && absl::SimpleAtoi(*generation, &number) && record.ok() && number < record->generation) {
        report_.lost.push_back(absl::StrCat("the ", record->generation - number, " latest changes, of ",
                                            record->generation, ", if they were not among what could be read"));
        if (absl::Status status = SetManifest(**database, "generation", absl::StrCat(record->generation)); !status.ok())
          return status;
      }
      if (absl::Status status = (*database)->Run("PRAGMA journal_mode = DELETE"); !status.ok()) return status;
    }
    // The old log must not be laid over the new file. Between the two steps the collection does not open.
    absl::Status status = files_->Remove(log);
    if (status.ok()) status = files_->Remove(folder_ / "collection.db-shm");
    if (status.ok()) status = files_->SyncFolder(folder_);
    if (status.ok()) status = files_->Rename(fresh, folder_ / kDatabaseFile);
    return status.ok() ? files_->SyncFolder(folder_) : status;
  }

  // Every live chunk gets a vector in a whole segment, every segment a whole word index, and the manifest says what the
  // segments hold.
  absl::Status MendSegments() {
    absl::StatusOr<std::unique_ptr<Database>> opened =
        ConnectDatabase(folder_ / kDatabaseFile, false, options_.sqlite_vfs);
    if (!opened.ok()) return opened.status();
    Database& database = **opened;
    std::optional<Transaction> transaction(std::in_place, database, Transaction::Kind::kWrite);
    if (!transaction->status().ok()) return transaction->status();
    absl::StatusOr<std::string> fingerprint = ManifestValue(database, "embedder");
    if (!fingerprint.ok()) return fingerprint.status();
    absl::StatusOr<std::string> dimension_text = ManifestValue(database, "dimension");
    if (!dimension_text.ok()) return dimension_text.status();
    int64_t dimension = 0, generation = 0, next_segment = 1;
    (void)absl::SimpleAtoi(*dimension_text, &dimension);
    for (auto [key, number] : {std::pair("generation", &generation), {"next_segment", &next_segment}}) {
      absl::StatusOr<std::string> text = ManifestValue(database, key);
      if (!text.ok()) return text.status();
      (void)absl::SimpleAtoi(*text, number);
    }
    absl::StatusOr<int64_t> format = FormatOf(database, folder_);
    if (!format.ok()) return format.status();
    const bool has_word_files = *format >= kFirstFormatWithWordFiles;
    std::map<int64_t, std::string> named, words;  // segment number -> checksum
    std::map<int64_t, std::vector<int64_t>> live;
    {
      Rows rows = database.Query(has_word_files ? "SELECT number, checksum, words FROM segments"
                                                : "SELECT number, checksum, '' FROM segments");
      while (rows.Next()) {
        named[rows.Int(0)] = rows.Text(1);
        words[rows.Int(0)] = rows.Text(2);
      }
      if (!rows.status().ok()) return rows.status();
      Rows chunks = database.Query("SELECT id, segment FROM chunks ORDER BY id");
      while (chunks.Next()) live[chunks.Int(1)].push_back(chunks.Int(0));
      if (!chunks.status().ok()) return chunks.status();
    }
    std::vector<int64_t> missing;
    absl::Status status = database.Run("DELETE FROM segments");
    if (status.ok()) status = database.Run("DELETE FROM tombstones");
    for (const auto& [number, ids] : live) {
      if (!status.ok()) return status;
      next_segment = std::max({next_segment, number + 1, int64_t{1}});
      std::string checksum;
      const absl::StatusOr<std::shared_ptr<const Segment>> segment =
          Segment::Read(folder_ / Segment::FileName(number), &checksum);
      const auto entry = named.find(number);
      if (!segment.ok() || (*segment)->number() != number || (*segment)->dimension() != dimension ||
          fingerprint->empty() || (entry != named.end() && entry->second != checksum)) {
        missing.insert(missing.end(), ids.begin(), ids.end());
        continue;
      }
      const std::set<int64_t> wanted(ids.begin(), ids.end());
      for (const int64_t id : ids) {
        if ((*segment)->Find(id) < 0) missing.push_back(id);
      }
      status = AddSegment(database, has_word_files, **segment, checksum, words[number]);
      for (const int64_t id : (*segment)->ids()) {
        if (status.ok() && !wanted.contains(id))
          status = database.Run("INSERT INTO tombstones (segment, chunk) VALUES (?, ?)", number, id);
      }
    }
    if (status.ok() && !missing.empty())
      status = EmbedMissing(database, has_word_files, missing, *fingerprint, next_segment++);
    if (status.ok()) status = SetManifest(database, "next_segment", absl::StrCat(next_segment));
    if (status.ok()) status = SetManifest(database, "generation", absl::StrCat(generation + 1));
    if (status.ok()) status = transaction->Commit();
    if (!status.ok()) return status;
    transaction.reset();
    if (status = database.Run("PRAGMA wal_checkpoint(TRUNCATE)"); !status.ok()) return status;
    std::set<std::string> in_use;
    {
      Rows rows = database.Query("SELECT number FROM segments");
      while (rows.Next()) {
        in_use.insert(Segment::FileName(rows.Int(0)));
        in_use.insert(WordIndex::FileName(rows.Int(0)));
      }
      if (!rows.status().ok()) return rows.status();
    }
    opened->reset();
    CommitRecord record;
    record.generation = generation + 1;
    if (status = CreateCommitRecord(folder_, record, *files_); !status.ok()) return status;
    for (const Damage& damage : report_.damage) {
      const bool may_go = absl::EndsWith(damage.file, ".vec") || absl::EndsWith(damage.file, ".idx") ||
                          absl::EndsWith(damage.file, ".words");
      if (!may_go || in_use.contains(damage.file)) continue;
      if (status = files_->Remove(folder_ / damage.file); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Names a whole segment in the manifest, with its word index, which is made again unless it is whole: the one with
  // the checksum `words`, of the same rows.
  absl::Status AddSegment(Database& database, bool has_word_files, const Segment& segment, const std::string& checksum,
                          const std::string& words) {
    if (!has_word_files) {
      return database.Run("INSERT INTO segments (number, vectors, checksum) VALUES (?, ?, ?)", segment.number(),
                          segment.size(), Blob{checksum});
    }
    absl::StatusOr<std::shared_ptr<const WordIndex>> index = WordIndex::Read(folder_, segment.number(), words);
    if (!index.ok() || !(*index)->CheckContent().ok() || (*index)->ids() != segment.ids()) {
      index = BuildWords(database, kFormat, segment.number(), segment.ids());
      if (!index.ok()) return index.status();
      if (absl::Status status = (*index)->Write(folder_, *files_); !status.ok()) return status;
      ++report_.word_indexes_made;
    }
    return database.Run("INSERT INTO segments (number, vectors, checksum, words) VALUES (?, ?, ?, ?)", segment.number(),
                        segment.size(), Blob{checksum}, Blob{(*index)->checksum()});
  }

  absl::Status EmbedMissing(Database& database, bool has_word_files, std::vector<int64_t>& missing,
                            const std::string& fingerprint, int64_t number) {
    const Embedder& embedder = options_.embedder;
    if (!embedder.embed) {
      return absl::FailedPreconditionError(
          absl::StrCat(missing.size(), " vectors are lost; repairing them needs the embedder"));
    }
    if (!fingerprint.empty() && fingerprint != embedder.fingerprint) {
      return absl::FailedPreconditionError(absl::StrCat(
          missing.size(), " vectors are lost; they were made by ", fingerprint, ", and the embedder given is ",
          embedder.fingerprint, IsGivenEmbedder(fingerprint) ? "; import the documents and their vectors again" : ""));
    }
    std::sort(missing.begin(), missing.end());
    std::vector<float> vectors;
    std::vector<std::string> texts;
    for (size_t i = 0; i < missing.size(); ++i) {
      Rows rows = database.Query(
          "SELECT c.prefix, substr(CAST(d.text AS BLOB), c.span_begin + 1, c.span_end - c.span_begin) FROM chunks AS c "
          "JOIN documents AS d ON d.key = c.document WHERE c.id = ?",
          missing[i]);
      if (!rows.Next()) {
        return rows.status().ok() ? absl::DataLossError(absl::StrCat("chunk ", missing[i], " has no document"))
                                  : rows.status();
      }
      texts.push_back(rows.Text(0) + rows.Text(1));
      if (texts.size() < kEmbedGroup && i + 1 < missing.size()) continue;
      absl::StatusOr<std::vector<float>> group = EmbedAll(options_, texts);
      if (!group.ok()) return group.status();
      vectors.insert(vectors.end(), group->begin(), group->end());
      texts.clear();
    }
    for (const int64_t id : missing) {
      if (absl::Status status = database.Run("UPDATE chunks SET segment = ? WHERE id = ?", number, id); !status.ok())
        return status;
    }
    const Segment segment(number, embedder.dimension, missing, vectors);
    absl::Status status = files_->Remove(folder_ / Segment::FileName(number));
    if (!status.ok()) return status;
    absl::StatusOr<std::string> checksum = segment.Write(folder_, *files_);
    if (!checksum.ok()) return checksum.status();
    report_.vectors_embedded = segment.size();
    status = AddSegment(database, has_word_files, segment, *checksum, "");
    if (status.ok()) status = SetManifest(database, "embedder", embedder.fingerprint);
    return status.ok() ? SetManifest(database, "dimension", absl::StrCat(embedder.dimension)) : status;
  }

  const fs::path folder_;
  const CollectionOptions& options_;
  Files real_files_;
  Files* files_;
  RepairReport report_;
};

}  // namespace

absl::StatusOr<RepairReport> RepairCollection(const fs::path& folder, const CollectionOptions& options) {
  std::error_code error;
  if (!fs::exists(folder / kDatabaseFile, error) && !fs::exists(folder / kCommitFile, error))
    return absl::NotFoundError(absl::StrCat("there is no collection in ", folder.string()));
  return Mender(folder, options).Run();
}

}  // namespace blazon::retrieval
