// SQLite's files with a check on everything that is read: a layer over another VFS.
//
// Database pages: the last 16 bytes of each page (SQLite's reserved bytes) hold XXH3-128 of the rest, seeded with the
// page's number, set at each write and compared at each read. SQLite alone checks no page: of a flipped bit in a text
// it says nothing. Log frames: SQLite sums its write-ahead log but compares the sums only when it recovers after a
// crash; here each frame's sum is compared at each read. A page or frame that does not fit is read again a few times (a
// header may be read while a checkpoint writes it), then the read fails with SQLITE_IOERR_DATA. Databases that were
// made without reserved bytes (collection formats 1 and 2) are passed through unchecked.
//
// Thread safety: as SQLite's own.
#pragma once

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::retrieval {

inline constexpr int kPageBytes = 4096;
inline constexpr int kPageReserve = 16;
inline constexpr uint32_t kApplicationId = 0x424c5a4e;  // "BLZN", at byte 68 of the database file

// The name of the layer over the VFS called `base` ("" for the default one), registered when it is first asked for;
// empty when there is no such base.
std::string ChecksumVfs(const std::string& base);

// Whether the first 100 bytes of a database file are those of one without page checksums. A flipped bit cannot make
// them so: two fields say it.
bool IsUncheckedHeader(const unsigned char* header);

// Whether page `number` (from 1), kPageBytes long, is as it was written. A page of zeros is: SQLite leaves those of its
// free list unwritten.
bool PageIsWhole(const unsigned char* page, int64_t number);

// Sets the checksum of page `number`, kPageBytes long.
void SealPage(unsigned char* page, int64_t number);

// A database file to be read as it is, unchecked. Through SQLite's VFS, since closing a file drops all locks that the
// process has on it, those of SQLite's connections too.
class RawDatabase {
 public:
  static absl::StatusOr<std::unique_ptr<RawDatabase>> Open(const std::filesystem::path& file, const std::string& vfs);
  ~RawDatabase();
  RawDatabase(const RawDatabase&) = delete;
  absl::StatusOr<int64_t> Size();
  absl::Status Read(void* to, int size, int64_t at);  // what is beyond the end is zeros

 private:
  RawDatabase(std::filesystem::path file, sqlite3_file* handle, const char* name)
      : file_(std::move(file)), handle_(handle), name_(name) {}
  std::filesystem::path file_;
  sqlite3_file* handle_;
  const char* name_;
};

// SQLite's write-ahead log: 32 bytes of header, then frames of a 24-byte header and a page.
inline constexpr int64_t kLogHeaderBytes = 32;
inline constexpr int64_t kFrameHeaderBytes = 24;
inline constexpr int64_t kFrameBytes = kFrameHeaderBytes + kPageBytes;

// Continues a log's running sum over `size` bytes, a multiple of 8.
void AddToLogSum(const unsigned char* bytes, size_t size, uint32_t sum[2]);
// The big-endian number at `bytes`.
uint32_t BigEndian(const unsigned char* bytes);

}  // namespace blazon::retrieval
