#include "retrieval/commit_record.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "retrieval/checksum_vfs.h"

namespace blazon::retrieval {
namespace {

constexpr char kRecordMagic[8] = {'B', 'L', 'Z', 'N', 'C', 'M', 'T', '1'};
constexpr int64_t kPlaceDistance = 4096;

struct RecordPlace {
  char magic[8];
  int64_t generation;
  uint32_t salt[2];
  int64_t frames;
  uint8_t zero[16];
  uint8_t checksum[16];
};
static_assert(sizeof(RecordPlace) == 64);

void SumPlace(const RecordPlace& place, uint8_t* sum) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(&place, offsetof(RecordPlace, checksum)));
  std::memcpy(sum, canonical.digest, sizeof canonical.digest);
}

std::string PlaceBytes(const CommitRecord& record) {
  RecordPlace place{};
  std::memcpy(place.magic, kRecordMagic, sizeof kRecordMagic);
  place.generation = record.generation;
  std::memcpy(place.salt, record.salt, sizeof place.salt);
  place.frames = record.frames;
  SumPlace(place, place.checksum);
  return std::string(reinterpret_cast<const char*>(&place), sizeof place);
}

// How many bytes it could read at `at`; -1 with errno.
ssize_t ReadPart(int descriptor, void* to, size_t size, int64_t at) {
  size_t done = 0;
  while (done < size) {
    const ssize_t count =
        pread(descriptor, static_cast<char*>(to) + done, size - done, at + static_cast<int64_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -1;
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return static_cast<ssize_t>(done);
}

std::filesystem::path LogOf(const std::filesystem::path& database_file) {
  std::filesystem::path log = database_file;
  log += "-wal";
  return log;
}

// Whether the header's own sum fits.
bool HeaderIsWhole(const unsigned char* header) {
  uint32_t sum[2] = {0, 0};
  AddToLogSum(header, 24, sum);
  return sum[0] == BigEndian(header + 24) && sum[1] == BigEndian(header + 28);
}

// Whether the database itself has all that the log's first frames have, so that nothing is lost without the log.
absl::StatusOr<bool> LogIsInDatabase(const std::filesystem::path& database_file, int log, const CommitRecord& record,
                                     const std::string& vfs) {
  absl::StatusOr<std::unique_ptr<RawDatabase>> database = RawDatabase::Open(database_file, vfs);
  if (!database.ok()) return database.status();
  std::map<uint32_t, int64_t> last;  // page -> its last frame
  unsigned char header[kFrameHeaderBytes];
  for (int64_t i = 0; i < record.frames; ++i) {
    if (ReadPart(log, header, sizeof header, kLogHeaderBytes + i * kFrameBytes) != sizeof header) return false;
    last[BigEndian(header)] = i;
  }
  unsigned char in_log[kPageBytes], in_database[kPageBytes];
  for (const auto& [page, frame] : last) {
    if (page == 0 || ReadPart(log, in_log, sizeof in_log, kLogHeaderBytes + frame * kFrameBytes + kFrameHeaderBytes) !=
                         static_cast<ssize_t>(sizeof in_log))
      return false;
    if (absl::Status status = (*database)->Read(in_database, kPageBytes, int64_t{page - 1} * kPageBytes); !status.ok())
      return status;
    if (std::memcmp(in_log, in_database, kPageBytes - kPageReserve) != 0 || !PageIsWhole(in_database, page))
      return false;
  }
  return true;
}

bool SaltIs(const unsigned char* bytes, const CommitRecord& record) {
  return BigEndian(bytes) == record.salt[0] && BigEndian(bytes + 4) == record.salt[1];
}

}  // namespace

absl::Status CreateCommitRecord(const std::filesystem::path& folder, const CommitRecord& record, Files& files) {
  const std::filesystem::path file = folder / kCommitFile;
  std::filesystem::path temporary = file;
  temporary += ".tmp";
  const std::string place = PlaceBytes(record), gap(static_cast<size_t>(kPlaceDistance) - place.size(), '\0');
  absl::Status status = files.Remove(temporary);
  if (status.ok()) status = files.WriteAndSync(temporary, {place, gap, place});
  if (status.ok()) status = files.Rename(temporary, file);
  if (status.ok()) status = files.SyncFolder(folder);
  if (!status.ok()) files.Remove(temporary).IgnoreError();
  return status;
}

absl::Status WriteCommitRecord(const std::filesystem::path& folder, const CommitRecord& record, Files& files) {
  return files.OverwriteAndSync(folder / kCommitFile, (record.generation & 1) * kPlaceDistance, PlaceBytes(record));
}

absl::StatusOr<CommitRecord> ReadCommitRecord(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / kCommitFile;
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", file, errno);
  const absl::Cleanup close_file = [descriptor] { close(descriptor); };
  std::optional<CommitRecord> newest;
  for (const int64_t at : {int64_t{0}, kPlaceDistance}) {
    RecordPlace place{};
    uint8_t sum[16];
    const ssize_t count = ReadPart(descriptor, &place, sizeof place, at);
    if (count < 0) return FileError("read", file, errno);
    SumPlace(place, sum);
    if (count != sizeof place || std::memcmp(place.magic, kRecordMagic, sizeof kRecordMagic) != 0 ||
        std::memcmp(sum, place.checksum, sizeof sum) != 0)
      continue;
    if (newest && newest->generation >= place.generation) continue;
    newest = CommitRecord{place.generation, {place.salt[0], place.salt[1]}, place.frames};
  }
  if (!newest) return absl::DataLossError(absl::StrCat(file.string(), " is damaged: no record in it can be read"));
  return *newest;
}

absl::StatusOr<bool> CheckLog(const std::filesystem::path& database_file, const CommitRecord& record,
                              const std::string& vfs) {
  if (record.frames == 0) return false;
  const std::filesystem::path log = LogOf(database_file);
  const auto damaged = [&log](const std::string& what) {
    return absl::DataLossError(absl::StrCat(log.string(), " is damaged: ", what));
  };
  const int descriptor = open(log.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 && errno == ENOENT) return false;
  if (descriptor < 0) return FileError("open", log, errno);
  const absl::Cleanup close_file = [descriptor] { close(descriptor); };
  unsigned char header[kLogHeaderBytes];
  bool whole = false;
  for (int attempt = 0; attempt < 8 && !whole; ++attempt) {  // a writer may be putting down a new one
    const ssize_t count = ReadPart(descriptor, header, sizeof header, 0);
    if (count < 0) return FileError("read", log, errno);
    if (count == 0) return false;  // emptied when all of it was in the database
    whole = count == sizeof header && HeaderIsWhole(header);
    if (!whole) sched_yield();
  }
  if (!whole) {
    const absl::StatusOr<bool> is_in_database = LogIsInDatabase(database_file, descriptor, record, vfs);
    if (!is_in_database.ok()) return is_in_database.status();
    if (*is_in_database) return false;
    return damaged("its header fails its checksum");
  }
  if (!SaltIs(header + 16, record)) return false;
  absl::Status status;
  uint32_t sum[2] = {BigEndian(header + 24), BigEndian(header + 28)};
  std::vector<unsigned char> frame(static_cast<size_t>(kFrameBytes));
  for (int64_t i = 0; i < record.frames && status.ok(); ++i) {
    const ssize_t count = ReadPart(descriptor, frame.data(), frame.size(), kLogHeaderBytes + i * kFrameBytes);
    if (count < 0) return FileError("read", log, errno);
    AddToLogSum(frame.data(), 8, sum);
    AddToLogSum(frame.data() + kFrameHeaderBytes, kPageBytes, sum);
    if (count != static_cast<ssize_t>(frame.size())) {
      status = damaged(absl::StrCat("it ends within frame ", i, " of ", record.frames));
    } else if (!SaltIs(frame.data() + 8, record) || sum[0] != BigEndian(frame.data() + 16) ||
               sum[1] != BigEndian(frame.data() + 20)) {
      status = damaged(absl::StrCat("frame ", i, " of ", record.frames, " fails its checksum"));
    }
  }
  if (status.ok()) return true;
  // A writer that starts the log anew writes its header first: then what was read is of no concern.
  const ssize_t count = ReadPart(descriptor, header, sizeof header, 0);
  if (count < 0) return FileError("read", log, errno);
  if (count < kLogHeaderBytes || !SaltIs(header + 16, record)) return false;
  return status;
}

absl::StatusOr<CommitRecord> RecordOf(const std::filesystem::path& database_file, int64_t generation, int64_t frames) {
  CommitRecord record;
  record.generation = generation;
  if (frames == 0) return record;
  const std::filesystem::path log = LogOf(database_file);
  const int descriptor = open(log.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", log, errno);
  unsigned char header[kLogHeaderBytes];
  const ssize_t count = ReadPart(descriptor, header, sizeof header, 0);
  const int error = errno;
  close(descriptor);
  if (count < 0) return FileError("read", log, error);
  if (count != sizeof header) return absl::DataLossError(absl::StrCat(log.string(), " has no header"));
  record.salt[0] = BigEndian(header + 16);
  record.salt[1] = BigEndian(header + 20);
  record.frames = frames;
  return record;
}

}  // namespace blazon::retrieval
