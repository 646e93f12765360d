// The whole check of a collection.
#include <sched.h>

#include <algorithm>
#include <map>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "retrieval/checksum_vfs.h"
#include "retrieval/collection_care.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {
namespace {

constexpr int kListedPages = 20;
constexpr int kVerifyAttempts = 10;

class Verifier {
 public:
  Verifier(const std::filesystem::path& folder, const std::string& vfs) : folder_(folder), vfs_(vfs) {}

  absl::StatusOr<VerifyReport> Run() {
    std::error_code error;
    if (!std::filesystem::exists(folder_ / kDatabaseFile, error) &&
        !std::filesystem::exists(folder_ / kCommitFile, error))
      return absl::NotFoundError(absl::StrCat("there is no collection in ", folder_.string()));
    if (absl::Status status = CheckPages(); !status.ok()) return status;
    absl::StatusOr<CommitRecord> record = ReadCommitRecord(folder_);
    if (record.ok()) {
      const absl::Status log = CheckLog(folder_ / kDatabaseFile, *record, vfs_).status();
      if (absl::IsDataLoss(log)) {
        Add("collection.db-wal", std::string(log.message()));
      } else if (!log.ok()) {
        return log;
      }
    } else if (absl::IsDataLoss(record.status())) {
      Add(kCommitFile, std::string(record.status().message()));
    } else if (!absl::IsNotFound(record.status())) {
      return record.status();
    } else if (report_.page_checksums) {
      Add(kCommitFile, "it is missing");
    }
    const bool database_is_whole = std::none_of(report_.damage.begin(), report_.damage.end(), [](const Damage& damage) {
      return absl::StartsWith(damage.file, kDatabaseFile);
    });
    if (absl::Status status = CheckSegments(); !status.ok()) return status;
    if (database_is_whole) {
      if (absl::Status status = CheckContent(record.ok() ? record->generation : 0); !status.ok()) return status;
    }
    return std::move(report_);
  }

 private:
  void Add(const std::string& file, const std::string& what) { report_.damage.push_back({file, what}); }

  absl::Status CheckPages() {
    absl::StatusOr<std::unique_ptr<RawDatabase>> file = RawDatabase::Open(folder_ / kDatabaseFile, vfs_);
    if (absl::IsNotFound(file.status())) {
      Add(kDatabaseFile, "it is missing");
      return absl::OkStatus();
    }
    if (!file.ok()) return file.status();
    const absl::StatusOr<int64_t> size = (*file)->Size();
    if (!size.ok()) return size.status();
    unsigned char page[kPageBytes];
    int64_t bad = 0;
    for (int64_t number = 1; (number - 1) * kPageBytes < *size; ++number) {
      bool whole = false;
      for (int attempt = 0; attempt < kVerifyAttempts && !whole; ++attempt) {  // a checkpoint may be writing it
        if (attempt > 0) sched_yield();
        if (absl::Status status = (*file)->Read(page, kPageBytes, (number - 1) * kPageBytes); !status.ok())
          return status;
        if (number == 1 && IsUncheckedHeader(page)) {
          report_.page_checksums = false;
          return absl::OkStatus();
        }
        whole = number * kPageBytes <= *size && PageIsWhole(page, number);
      }
      ++report_.pages;
      if (!whole && ++bad <= kListedPages) Add(kDatabaseFile, absl::StrCat("page ", number, " fails its checksum"));
    }
    if (bad > kListedPages) Add(kDatabaseFile, absl::StrCat("so do ", bad - kListedPages, " more pages"));
    return absl::OkStatus();
  }

  // Each file against its own checksum; whether it is the right one is for CheckContent to say.
  absl::Status CheckSegments() {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
      const std::string name = entry.path().filename().string();
      const bool vectors = absl::EndsWith(name, ".vec"), words = absl::EndsWith(name, ".words");
      if (!absl::StartsWith(name, "segment-") || !(vectors || words)) continue;
      const absl::Status status =
          vectors ? Segment::Read(entry.path()).status() : WordIndex::Read(entry.path()).status();
      if (absl::IsNotFound(status)) continue;  // merged and removed meanwhile
      report_.segments += vectors;
      if (status.ok()) {
        whole_[name] = true;
      } else if (absl::IsDataLoss(status) || absl::IsFailedPrecondition(status)) {
        Add(name, std::string(status.message()));
        whole_[name] = false;
      } else {
        return status;
      }
    }
    return error ? FileError("list", folder_, error.value()) : absl::OkStatus();
  }

  // Runs a statement that must find nothing wrong; what SQLite itself finds is damage too.
  absl::Status Expect(Database& database, std::string_view sql, const std::string& good, const std::string& what) {
    Rows rows = database.Query(sql);
    if (rows.Next()) {
      if (rows.Text(0) != good) Add(kDatabaseFile, what);
      return absl::OkStatus();
    }
    if (absl::IsDataLoss(rows.status())) Add(kDatabaseFile, std::string(rows.status().message()));
    return absl::IsDataLoss(rows.status()) ? absl::OkStatus() : rows.status();
  }

  absl::Status CheckContent(int64_t acknowledged) {
    absl::StatusOr<std::unique_ptr<Database>> opened = Database::Open(folder_ / kDatabaseFile, false, vfs_);
    if (!opened.ok()) return DamageOr(opened.status());
    Database& database = **opened;
    Transaction transaction(database, Transaction::Kind::kRead);
    if (!transaction.status().ok()) return DamageOr(transaction.status());
    absl::StatusOr<std::string> generation = ManifestValue(database, "generation");
    if (!generation.ok()) return DamageOr(generation.status());
    if (!absl::SimpleAtoi(*generation, &report_.generation) || report_.generation < acknowledged) {
      Add(kDatabaseFile,
          absl::StrCat("generation ", acknowledged, " was acknowledged, and it holds '", *generation, "'"));
    }
    if (absl::Status status = Expect(database, "PRAGMA integrity_check(1)", "ok", "SQLite's integrity check fails");
        !status.ok())
      return status;
    const std::pair<const char*, const char*> disagreements[] = {
        {"SELECT count(*) FROM chunks AS c LEFT JOIN documents AS d ON d.key = c.document WHERE d.key IS NULL",
         "chunks without a document"},
        {"SELECT count(*) FROM documents AS d WHERE d.chunks <> (SELECT count(*) FROM chunks AS c WHERE c.document = "
         "d.key)",
         "documents that lack chunks"},
        {"SELECT count(*) FROM documents WHERE bytes <> length(CAST(text AS BLOB))",
         "documents of another length than was written"},
        {"SELECT count(*) FROM chunks AS c JOIN documents AS d ON d.key = c.document WHERE c.span_begin < 0 OR "
         "c.span_begin > c.span_end OR c.span_end > d.bytes",
         "chunks outside of their document's text"},
        {"SELECT count(*) FROM tombstones AS t JOIN chunks AS c ON c.id = t.chunk", "chunks that are dead and alive"},
        {"SELECT count(*) FROM chunks AS c LEFT JOIN segments AS s ON s.number = c.segment WHERE s.number IS NULL",
         "chunks without a segment"},
    };
    for (const auto& [sql, what] : disagreements) {
      if (absl::Status status = Expect(database, sql, "0", absl::StrCat("it has ", what)); !status.ok()) return status;
    }
    for (const auto& [sql, count] : {std::pair("SELECT count(*) FROM documents", &report_.documents),
                                     {"SELECT count(*) FROM chunks", &report_.chunks}}) {
      Rows rows = database.Query(sql);
      if (rows.Next()) *count = rows.Int(0);
      if (!rows.status().ok()) return DamageOr(rows.status());
    }
    if (absl::Status status = CheckVectors(database); !status.ok()) return status;
    return CheckWords(database);
  }

  absl::Status CheckVectors(Database& database) {
    absl::StatusOr<std::string> dimension_text = ManifestValue(database, "dimension");
    if (!dimension_text.ok()) return DamageOr(dimension_text.status());
    int64_t dimension = 0;
    (void)absl::SimpleAtoi(*dimension_text, &dimension);
    Rows segments = database.Query("SELECT number, checksum FROM segments ORDER BY number");
    while (segments.Next()) {
      const int64_t number = segments.Int(0);
      const std::string name = Segment::FileName(number);
      const auto seen = whole_.find(name);
      if (seen != whole_.end() && !seen->second) continue;  // damaged, as was said
      // Again, this time against the manifest: a whole file may be another's.
      absl::StatusOr<std::shared_ptr<const Segment>> segment =
          Segment::Read(folder_, number, dimension, segments.Text(1));
      if (absl::IsNotFound(segment.status())) {
        if (GenerationNow() != report_.generation)
          return absl::UnavailableError(absl::StrCat(folder_.string(), " was changed meanwhile; try again"));
        Add(name, "it is missing");
        continue;
      }
      if (absl::IsDataLoss(segment.status())) {
        Add(name, std::string(segment.status().message()));
        continue;
      }
      if (!segment.ok()) return segment.status();
      const absl::StatusOr<std::vector<int64_t>> expected = RowsOfSegment(database, number);
      if (!expected.ok()) return DamageOr(expected.status());
      if (!std::equal(expected->begin(), expected->end(), (*segment)->ids().begin(), (*segment)->ids().end()))
        Add(name, "it and the database tell of different chunks");
      const absl::Status index = SegmentIndex::Read(folder_, **segment, segments.Text(1)).status();
      if (absl::IsDataLoss(index)) {
        Add(SegmentIndex::FileName(number), std::string(index.message()));
      } else if (!index.ok() && !absl::IsNotFound(index)) {
        return index;
      }
    }
    return DamageOr(segments.status());
  }

  absl::Status CheckWords(Database& database) {
    const absl::StatusOr<int64_t> format = FormatOf(database, folder_);
    if (!format.ok()) return DamageOr(format.status());
    if (*format < kFirstFormatWithWordFiles) return absl::OkStatus();
    Rows segments = database.Query("SELECT number, words FROM segments ORDER BY number");
    while (segments.Next()) {
      const int64_t number = segments.Int(0);
      const std::string name = WordIndex::FileName(number);
      const auto seen = whole_.find(name);
      if (seen != whole_.end() && !seen->second) continue;  // damaged, as was said
      const absl::StatusOr<std::shared_ptr<const WordIndex>> words = WordIndex::Read(folder_, number, segments.Text(1));
      if (absl::IsNotFound(words.status())) {
        if (GenerationNow() != report_.generation)
          return absl::UnavailableError(absl::StrCat(folder_.string(), " was changed meanwhile; try again"));
        Add(name, "it is missing");
        continue;
      }
      const absl::Status content = words.ok() ? (*words)->CheckContent() : words.status();
      if (absl::IsDataLoss(content)) {
        Add(name, std::string(content.message()));
        continue;
      }
      if (!content.ok()) return content;
      const absl::StatusOr<std::vector<int64_t>> expected = RowsOfSegment(database, number);
      if (!expected.ok()) return DamageOr(expected.status());
      if (!std::equal(expected->begin(), expected->end(), (*words)->ids().begin(), (*words)->ids().end()))
        Add(name, "it and the database tell of different chunks");
    }
    return DamageOr(segments.status());
  }

  int64_t GenerationNow() const {
    int64_t generation = -1;
    const absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(folder_ / kDatabaseFile, false, vfs_);
    if (!database.ok()) return generation;
    const absl::StatusOr<std::string> text = ManifestValue(**database, "generation");
    if (text.ok()) (void)absl::SimpleAtoi(*text, &generation);
    return generation;
  }

  absl::Status DamageOr(const absl::Status& status) {
    if (!absl::IsDataLoss(status)) return status;
    Add(kDatabaseFile, std::string(status.message()));
    return absl::OkStatus();
  }

  const std::filesystem::path folder_;
  const std::string vfs_;
  VerifyReport report_;
  std::map<std::string, bool> whole_;  // of each segment's files
};

}  // namespace

absl::StatusOr<VerifyReport> VerifyCollection(const std::filesystem::path& folder, const std::string& sqlite_vfs) {
  absl::StatusOr<VerifyReport> report;
  for (int attempt = 0; attempt < kVerifyAttempts; ++attempt) {
    report = Verifier(folder, sqlite_vfs).Run();
    if (!absl::IsUnavailable(report.status())) break;
  }
  return report;
}

absl::Status ToStatus(const VerifyReport& report, const std::filesystem::path& folder) {
  if (report.damage.empty()) return absl::OkStatus();
  std::vector<std::string> lines;
  for (const Damage& damage : report.damage) {
    lines.push_back(absl::StrContains(damage.what, damage.file) ? damage.what
                                                                : absl::StrCat(damage.file, ": ", damage.what));
  }
  return absl::DataLossError(
      absl::StrCat(folder.string(), " is damaged: ", absl::StrJoin(lines, "; "), RepairRemedy(folder)));
}

absl::Status Collection::Impl::Verify() const {
  const absl::StatusOr<VerifyReport> report = VerifyCollection(folder_, options_.sqlite_vfs);
  return report.ok() ? ToStatus(*report, folder_) : report.status();
}

}  // namespace blazon::retrieval
