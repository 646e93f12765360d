// Copies of a collection.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/checksum_vfs.h"
#include "retrieval/collection_care.h"
#include "retrieval/collection_impl.h"
#include "retrieval/segment_index.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

constexpr int kSnapshotAttempts = 20;

absl::Status SyncFile(const fs::path& file) {
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", file, errno);
  absl::Status status;
  if (fsync(descriptor) != 0) status = FileError("flush", file, errno);
  close(descriptor);
  return status;
}

// kNotFound: `from` is gone.
absl::Status LinkOrCopy(const fs::path& from, const fs::path& to, bool link_files, SnapshotReport& report) {
  if (link_files && link(from.c_str(), to.c_str()) == 0) {
    ++report.linked;
    return absl::OkStatus();
  }
  if (link_files && errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP && errno != ENOSYS)
    return FileError("link", from, errno);
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) return FileError("copy", from, error.value());
  ++report.copied;
  return SyncFile(to);
}

// Copies what one read transaction sees. kNotFound: a segment was merged away meanwhile.
absl::Status CopyInto(const fs::path& folder, const fs::path& target, bool link_files, const std::string& vfs,
                      SnapshotReport& report) {
  report = {};
  absl::StatusOr<std::unique_ptr<Database>> source = Database::Open(folder / kDatabaseFile, false, vfs);
  if (!source.ok()) return source.status();
  Transaction transaction(**source, Transaction::Kind::kRead);
  if (!transaction.status().ok()) return transaction.status();
  absl::StatusOr<int64_t> format = FormatOf(**source, folder);
  if (!format.ok()) return format.status();
  if (*format < kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder.string(), " has collection format ", *format, ", and snapshots are made of format ",
                     kFormat, "; opening it for writing, as 'blazon index add' does, brings it there"));
  }
  absl::StatusOr<std::string> generation = ManifestValue(**source, "generation");
  if (!generation.ok()) return generation.status();
  if (!absl::SimpleAtoi(*generation, &report.generation))
    return absl::DataLossError(absl::StrCat((folder / kDatabaseFile).string(), " has no generation in its manifest"));
  for (const auto& [sql, count] : {std::pair("SELECT count(*) FROM documents", &report.documents),
                                   {"SELECT count(*) FROM chunks", &report.chunks}}) {
    Rows rows = (*source)->Query(sql);
    if (rows.Next()) *count = rows.Int(0);
    if (!rows.status().ok()) return rows.status();
  }
  {
    Rows rows = (*source)->Query("SELECT number, checksum, words FROM segments ORDER BY number");
    while (rows.Next()) {
      const std::string name = Segment::FileName(rows.Int(0));
      std::string checksum;
      absl::Status status = LinkOrCopy(folder / name, target / name, link_files, report);
      if (status.ok()) status = Segment::Read(target / name, &checksum).status();
      if (!status.ok()) return status;
      if (checksum != rows.Text(1))
        return absl::DataLossError(absl::StrCat((folder / name).string(), " is another segment", RepairRemedy(folder)));
      const std::string words = WordIndex::FileName(rows.Int(0));
      status = LinkOrCopy(folder / words, target / words, link_files, report);
      if (status.ok()) status = WordIndex::Read(target, rows.Int(0), rows.Text(2)).status();
      if (!status.ok()) return status;
      // An index is derived from its segment: where it is missing or damaged, searches do without.
      const std::string index = SegmentIndex::FileName(rows.Int(0));
      status = LinkOrCopy(folder / index, target / index, link_files, report);
      if (!status.ok() && !absl::IsNotFound(status)) return status;
    }
    if (!rows.status().ok()) return rows.status();
  }
  {
    absl::StatusOr<std::unique_ptr<Database>> copy = Database::Open(target / kDatabaseFile, true, vfs);
    if (!copy.ok()) return copy.status();
    if (absl::Status status = (*copy)->Run("PRAGMA page_size = 4096"); !status.ok()) return status;
    sqlite3_backup* backup = sqlite3_backup_init((*copy)->handle(), "main", (*source)->handle(), "main");
    if (!backup) return (*copy)->Error(sqlite3_extended_errcode((*copy)->handle()), "copy to");
    const int stepped = sqlite3_backup_step(backup, -1);
    const int finished = sqlite3_backup_finish(backup);
    if (stepped != SQLITE_DONE)
      return (stepped == SQLITE_IOERR_DATA ? *source : *copy)->Error(finished ? finished : stepped, "copy");
  }
  CommitRecord record;
  record.generation = report.generation;
  Files files;
  absl::Status status = SyncFile(target / kDatabaseFile);
  if (status.ok()) status = CreateCommitRecord(target, record, files);
  return status.ok() ? files.SyncFolder(target) : status;
}

}  // namespace

absl::StatusOr<SnapshotReport> SnapshotCollection(const fs::path& folder, const fs::path& target, bool link,
                                                  const std::string& sqlite_vfs) {
  std::error_code error;
  if (fs::exists(target, error))
    return absl::AlreadyExistsError(absl::StrCat(target.string(), " is there already; name a new folder"));
  if (!fs::exists(folder / kDatabaseFile, error))
    return absl::NotFoundError(absl::StrCat("there is no collection in ", folder.string()));
  // A damaged log must be seen before SQLite recovers it.
  const absl::StatusOr<CommitRecord> record = ReadCommitRecord(folder);
  const absl::Status log = record.ok() ? CheckLog(folder / kDatabaseFile, *record, sqlite_vfs).status()
                           : absl::IsNotFound(record.status()) ? absl::OkStatus()
                                                               : record.status();
  if (absl::IsDataLoss(log)) return absl::DataLossError(absl::StrCat(log.message(), RepairRemedy(folder)));
  if (!log.ok()) return log;

  const fs::path whole_target = fs::absolute(target, error).lexically_normal();
  fs::path place = whole_target.has_filename() ? whole_target : whole_target.parent_path();
  fs::path temporary = place;
  temporary += absl::StrCat(".tmp-", getpid());
  const absl::Cleanup clear = [&temporary] {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
  };
  SnapshotReport report;
  absl::Status status;
  for (int attempt = 0; attempt < kSnapshotAttempts; ++attempt) {
    fs::remove_all(temporary, error);
    fs::create_directories(temporary, error);
    if (error) return FileError("create", temporary, error.value());
    status = CopyInto(folder, temporary, link, sqlite_vfs, report);
    if (!absl::IsNotFound(status)) break;
    status = MissingIsLost(status, folder);
  }
  if (!status.ok()) return status;
  if (record.ok() && report.generation < record->generation) {
    return absl::DataLossError(absl::StrCat(folder.string(), " has lost changes: generation ", record->generation,
                                            " was acknowledged, and it holds ", report.generation,
                                            RepairRemedy(folder)));
  }
  Files files;
  status = files.Rename(temporary, place);
  if (status.ok()) status = files.SyncFolder(place.parent_path());
  if (!status.ok()) return status;
  return report;
}

absl::StatusOr<SnapshotReport> RestoreCollection(const fs::path& snapshot, const fs::path& target,
                                                 const std::string& sqlite_vfs) {
  const absl::StatusOr<VerifyReport> report = VerifyCollection(snapshot, sqlite_vfs);
  if (!report.ok()) return report.status();
  if (absl::Status status = ToStatus(*report, snapshot); !status.ok()) return status;
  return SnapshotCollection(snapshot, target, false, sqlite_vfs);
}

}  // namespace blazon::retrieval
