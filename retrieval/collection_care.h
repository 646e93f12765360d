// Looking after a collection's folder: check it, mend it, copy it. For collections that may not open.
//
// Thread safety: all functions may run together, beside readers and, where not said otherwise, beside a writer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retrieval/collection.h"

namespace blazon::retrieval {

struct Damage {
  std::string file;  // its name in the folder
  std::string what;
};

struct VerifyReport {
  std::vector<Damage> damage;  // empty: all is well. Of a file's bad pages the first 20 are listed
  int64_t generation = -1;     // -1: not read, as the database is damaged
  int64_t documents = 0, chunks = 0;
  int64_t pages = 0;           // of the database, compared with their checksums
  int64_t segments = 0;        // files, compared with theirs
  bool page_checksums = true;  // false: format 1 or 2, whose database has none
};

// Reads every byte that a search could use: the pages, the log and the vectors against their checksums first, by plain
// reads; only a database that is whole is then opened, for SQLite's integrity check, that of the word index, and that
// documents, chunks, words and vectors tell of the same. Changes nothing. kNotFound: no collection there; kUnavailable:
// a writer came between, try again.
absl::StatusOr<VerifyReport> VerifyCollection(const std::filesystem::path& folder, const std::string& sqlite_vfs = "");

// The report as a status: OK, or kDataLoss that lists the damage and the remedy.
absl::Status ToStatus(const VerifyReport& report, const std::filesystem::path& folder);

struct RepairReport {
  std::vector<Damage> damage;     // found before
  int64_t bytes_corrected = 0;    // pages and log frames where the one wrong byte could be found by the checksum
  int64_t pages_from_log = 0;     // damaged pages that the log holds too
  int64_t vectors_embedded = 0;   // made again from the stored text
  int64_t word_indexes_made = 0;  // of segments, made again from the stored text
  std::vector<std::string> lost;  // what could not be saved, in words; empty: nothing
  std::string kept_in;            // folder with the files as they were; empty when nothing was damaged
};

// Makes a damaged collection whole again, from what it still holds. Nobody may have it open, this process included:
// what another process has open is seen and refused, what this one has cannot be.
// - a page or log frame with one wrong byte is put right (its checksum tells which), a page that the log holds is
//   taken from there;
// - vectors that are damaged or missing are embedded again from the stored text, into a new segment; word indexes are
//   made again from it in place;
// - of a database with worse damage, every document that can be read whole is carried over into a new one.
// What could not be saved is named. The files are kept as they were in the folder "damaged-N" within the collection.
// options: the embedder it was built with, needed when vectors must be made; files and sqlite_vfs as in Collection.
// kUnavailable: it is open for writing or, when the database must be replaced, for reading.
absl::StatusOr<RepairReport> RepairCollection(const std::filesystem::path& folder, const CollectionOptions& options);

struct SnapshotReport {
  int64_t generation = 0, documents = 0, chunks = 0;
  int64_t linked = 0, copied = 0;  // segment files
};

// Copies one generation of the collection to `target`, which must not exist: a collection like any other, to be opened,
// moved or copied. Segments, which never change, become hard links where the file system allows and `link` is set
// (a copy costs no space then, and shares the disk's fate), else copies; the database is copied page by page, each page
// checked. The target appears at once, whole. kAlreadyExists; kDataLoss: what was to be copied is damaged.
absl::StatusOr<SnapshotReport> SnapshotCollection(const std::filesystem::path& folder,
                                                  const std::filesystem::path& target, bool link = true,
                                                  const std::string& sqlite_vfs = "");

// Makes the collection `target`, which must not exist, from a snapshot, which is verified before; all files are copied.
absl::StatusOr<SnapshotReport> RestoreCollection(const std::filesystem::path& snapshot,
                                                 const std::filesystem::path& target,
                                                 const std::string& sqlite_vfs = "");

}  // namespace blazon::retrieval
