#include "retrieval/checksum_vfs.h"

#include <sched.h>
#include <sqlite3.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "retrieval/files.h"

namespace blazon::retrieval {
namespace {

static_assert(std::endian::native == std::endian::little, "the log's sums are little-endian");

constexpr int kReadAttempts = 8;
constexpr int64_t kAllSettled = std::numeric_limits<int64_t>::max();

struct ChecksumLayer {
  sqlite3_vfs vfs;  // first, as SQLite hands out pointers to it
  sqlite3_vfs* base;
  std::string name;
};

struct CheckedFile {
  sqlite3_file base;  // first
  sqlite3_file* real;
  bool pages;  // a database with page checksums
  bool log;
  // Frames from here on may have sums that are still to come: SQLite writes a page of a transaction a second time in
  // place and sums when it commits.
  int64_t unsettled;
  int64_t headed;  // the frame whose header was written last
};

CheckedFile* Checked(sqlite3_file* file) { return reinterpret_cast<CheckedFile*>(file); }
sqlite3_file* Below(sqlite3_file* file) { return Checked(file)->real; }

int ReadBelow(sqlite3_file* file, void* to, int64_t size, int64_t at) {
  return Below(file)->pMethods->xRead(Below(file), to, static_cast<int>(size), at);
}

void PageSum(const unsigned char* page, int64_t number, unsigned char* sum) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical,
                           XXH3_128bits_withSeed(page, kPageBytes - kPageReserve, static_cast<XXH64_hash_t>(number)));
  static_assert(sizeof canonical.digest == kPageReserve);
  std::memcpy(sum, canonical.digest, kPageReserve);
}

// Reads one page of a database. One that the file holds only the beginning of is read as SQLite would.
int ReadPage(sqlite3_file* file, unsigned char* to, int64_t number) {
  int code = SQLITE_OK;
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    code = ReadBelow(file, to, kPageBytes, (number - 1) * kPageBytes);
    if (code != SQLITE_OK) {
      sqlite3_int64 size = 0;
      if (code != SQLITE_IOERR_SHORT_READ || number == 1) return code;
      if (Below(file)->pMethods->xFileSize(Below(file), &size) != SQLITE_OK || size <= (number - 1) * kPageBytes)
        return code;  // beyond the end
      code = SQLITE_IOERR_DATA;
    } else if (PageIsWhole(to, number)) {
      return SQLITE_OK;
    } else {
      code = SQLITE_IOERR_DATA;
    }
    sched_yield();
  }
  return code;
}

int ReadFrame(sqlite3_file* file, unsigned char* to, int64_t at) {
  const int64_t header_at = at - kFrameHeaderBytes;
  const int64_t frame = (header_at - kLogHeaderBytes) / kFrameBytes;
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    if (int code = ReadBelow(file, to, kPageBytes, at); code != SQLITE_OK) return code;
    if (frame >= Checked(file)->unsettled) return SQLITE_OK;
    unsigned char header[kFrameHeaderBytes], before[8];
    if (int code = ReadBelow(file, header, sizeof header, header_at); code != SQLITE_OK) return code;
    const int64_t before_at = frame == 0 ? 24 : header_at - kFrameBytes + 16;
    if (int code = ReadBelow(file, before, sizeof before, before_at); code != SQLITE_OK) return code;
    uint32_t sum[2] = {BigEndian(before), BigEndian(before + 4)};
    AddToLogSum(header, 8, sum);
    AddToLogSum(to, kPageBytes, sum);
    if (sum[0] == BigEndian(header + 16) && sum[1] == BigEndian(header + 20)) return SQLITE_OK;
    sched_yield();
  }
  return SQLITE_IOERR_DATA;
}

int ReadChecked(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
  auto* place = static_cast<unsigned char*>(to);
  if (Checked(file)->log && size == kPageBytes && at > kLogHeaderBytes &&
      (at - kLogHeaderBytes) % kFrameBytes == kFrameHeaderBytes)
    return ReadFrame(file, place, at);
  if (!Checked(file)->pages) return ReadBelow(file, to, size, at);
  for (int done = 0; done < size;) {
    const int64_t number = (at + done) / kPageBytes + 1;
    const int64_t inside = (at + done) % kPageBytes;
    const int count = static_cast<int>(std::min<int64_t>(size - done, kPageBytes - inside));
    if (inside == 0 && count == kPageBytes) {
      if (int code = ReadPage(file, place + done, number); code != SQLITE_OK) {
        if (code == SQLITE_IOERR_SHORT_READ) std::memset(place + done, 0, static_cast<size_t>(size - done));
        return code;
      }
    } else {
      unsigned char page[kPageBytes];
      const int code = ReadPage(file, page, number);
      if (code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ) return code;
      std::memcpy(place + done, page + inside, static_cast<size_t>(count));
      if (code != SQLITE_OK) {
        std::memset(place + done + count, 0, static_cast<size_t>(size - done - count));
        return code;
      }
    }
    done += count;
  }
  return SQLITE_OK;
}

int WriteChecked(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
  CheckedFile& mine = *Checked(file);
  if (mine.pages) {
    if (size != kPageBytes || at % kPageBytes != 0) return SQLITE_IOERR_WRITE;  // another page size than ours
    unsigned char page[kPageBytes];
    std::memcpy(page, from, kPageBytes - kPageReserve);
    SealPage(page, at / kPageBytes + 1);
    return Below(file)->pMethods->xWrite(Below(file), page, size, at);
  }
  if (mine.log) {
    const int64_t frame = at < kLogHeaderBytes ? -1 : (at - kLogHeaderBytes) / kFrameBytes;
    const int64_t inside = at < kLogHeaderBytes ? 0 : (at - kLogHeaderBytes) % kFrameBytes;
    if (frame < 0) {
      mine.unsettled = kAllSettled;
    } else if (inside == 0) {
      mine.headed = frame;
      if (frame == mine.unsettled) ++mine.unsettled;
    } else if (mine.headed != frame) {
      mine.unsettled = std::min(mine.unsettled, frame);
    }
    if (inside != 0) mine.headed = -1;
  }
  return Below(file)->pMethods->xWrite(Below(file), from, size, at);
}

constexpr sqlite3_io_methods kCheckedMethods = {
    2,  // without the calls that would map pages into memory, past the check
    [](sqlite3_file* f) { return Below(f)->pMethods->xClose(Below(f)); },
    ReadChecked,
    WriteChecked,
    [](sqlite3_file* f, sqlite3_int64 size) { return Below(f)->pMethods->xTruncate(Below(f), size); },
    [](sqlite3_file* f, int how) { return Below(f)->pMethods->xSync(Below(f), how); },
    [](sqlite3_file* f, sqlite3_int64* size) { return Below(f)->pMethods->xFileSize(Below(f), size); },
    [](sqlite3_file* f, int lock) { return Below(f)->pMethods->xLock(Below(f), lock); },
    [](sqlite3_file* f, int lock) { return Below(f)->pMethods->xUnlock(Below(f), lock); },
    [](sqlite3_file* f, int* reserved) { return Below(f)->pMethods->xCheckReservedLock(Below(f), reserved); },
    [](sqlite3_file* f, int op, void* argument) { return Below(f)->pMethods->xFileControl(Below(f), op, argument); },
    [](sqlite3_file* f) { return Below(f)->pMethods->xSectorSize(Below(f)); },
    [](sqlite3_file* f) { return Below(f)->pMethods->xDeviceCharacteristics(Below(f)) & ~SQLITE_IOCAP_BATCH_ATOMIC; },
    [](sqlite3_file* f, int region, int size, int extend, void volatile** place) {
      return Below(f)->pMethods->xShmMap(Below(f), region, size, extend, place);
    },
    [](sqlite3_file* f, int offset, int n, int flags) {
      return Below(f)->pMethods->xShmLock(Below(f), offset, n, flags);
    },
    [](sqlite3_file* f) { Below(f)->pMethods->xShmBarrier(Below(f)); },
    [](sqlite3_file* f, int remove) { return Below(f)->pMethods->xShmUnmap(Below(f), remove); },
    nullptr,
    nullptr,
};

int OpenChecked(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  sqlite3_vfs* base = reinterpret_cast<ChecksumLayer*>(vfs)->base;
  CheckedFile* mine = new (file) CheckedFile{};
  mine->real = reinterpret_cast<sqlite3_file*>(mine + 1);
  mine->log = (flags & SQLITE_OPEN_WAL) != 0;
  mine->unsettled = kAllSettled;
  mine->headed = -1;
  const int code = base->xOpen(base, name, mine->real, flags, out_flags);
  if (mine->real->pMethods) mine->base.pMethods = &kCheckedMethods;
  if (code == SQLITE_OK && (flags & SQLITE_OPEN_MAIN_DB)) {
    unsigned char header[100];
    const int read = ReadBelow(file, header, sizeof header, 0);
    mine->pages = read != SQLITE_OK || !IsUncheckedHeader(header);
  }
  return code;
}

}  // namespace

bool IsUncheckedHeader(const unsigned char* header) { return header[20] == 0 && BigEndian(header + 68) == 0; }

void SealPage(unsigned char* page, int64_t number) { PageSum(page, number, page + kPageBytes - kPageReserve); }

bool PageIsWhole(const unsigned char* page, int64_t number) {
  unsigned char sum[kPageReserve];
  PageSum(page, number, sum);
  return std::memcmp(sum, page + kPageBytes - kPageReserve, kPageReserve) == 0 ||
         (page[0] == 0 && std::memcmp(page, page + 1, kPageBytes - 1) == 0);
}

uint32_t BigEndian(const unsigned char* bytes) {
  return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
         static_cast<uint32_t>(bytes[2]) << 8 | bytes[3];
}

// https://sqlite.org/fileformat2.html#checksum_algorithm
void AddToLogSum(const unsigned char* bytes, size_t size, uint32_t sum[2]) {
  for (size_t i = 0; i < size; i += 8) {
    uint32_t words[2];
    std::memcpy(words, bytes + i, 8);
    sum[0] += words[0] + sum[1];
    sum[1] += words[1] + sum[0];
  }
}

std::string ChecksumVfs(const std::string& base) {
  static std::mutex mutex;
  static auto* layers =
      new std::map<std::string, std::unique_ptr<ChecksumLayer>>;  // SQLite keeps them until the process ends
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<ChecksumLayer>& layer = (*layers)[base];
  if (!layer) {
    sqlite3_vfs* below = sqlite3_vfs_find(base.empty() ? nullptr : base.c_str());
    if (!below) return "";
    layer.reset(new ChecksumLayer{*below, below, "blazon-checksums" + (base.empty() ? "" : "-over-" + base)});
    layer->vfs.szOsFile += static_cast<int>(sizeof(CheckedFile));
    layer->vfs.zName = layer->name.c_str();
    layer->vfs.pNext = nullptr;
    layer->vfs.xOpen = OpenChecked;
    if (sqlite3_vfs_register(&layer->vfs, 0) != SQLITE_OK) {
      layer.reset();
      return "";
    }
  }
  return layer->name;
}

absl::StatusOr<std::unique_ptr<RawDatabase>> RawDatabase::Open(const std::filesystem::path& file,
                                                               const std::string& vfs) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return FileError("open", file, ENOENT);
  sqlite3_vfs* base = sqlite3_vfs_find(vfs.empty() ? nullptr : vfs.c_str());
  if (!base) return absl::InternalError(absl::StrCat("SQLite has no VFS '", vfs, "'"));
  auto* handle = static_cast<sqlite3_file*>(sqlite3_malloc(base->szOsFile));
  const char* name = sqlite3_create_filename(std::filesystem::absolute(file, error).c_str(), "", "", 0, nullptr);
  if (!handle || !name) return absl::ResourceExhaustedError("no memory to read a database");
  std::memset(handle, 0, static_cast<size_t>(base->szOsFile));
  std::unique_ptr<RawDatabase> raw(new RawDatabase(file, handle, name));
  int flags = 0;
  if (base->xOpen(base, name, handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB, &flags) != SQLITE_OK)
    return absl::PermissionDeniedError(absl::StrCat("cannot read ", file.string()));
  return raw;
}

RawDatabase::~RawDatabase() {
  if (handle_->pMethods) handle_->pMethods->xClose(handle_);
  sqlite3_free(handle_);
  sqlite3_free_filename(const_cast<char*>(name_));
}

absl::StatusOr<int64_t> RawDatabase::Size() {
  sqlite3_int64 size = 0;
  if (handle_->pMethods->xFileSize(handle_, &size) != SQLITE_OK)
    return absl::InternalError(absl::StrCat("cannot examine ", file_.string()));
  return size;
}

absl::Status RawDatabase::Read(void* to, int size, int64_t at) {
  const int code = handle_->pMethods->xRead(handle_, to, size, at);
  if (code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot read ", file_.string(), " at byte ", at));
}

}  // namespace blazon::retrieval
