#include "retrieval/lock_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "retrieval/files.h"

namespace blazon::retrieval {
namespace {

// A lock of the open file description: also against a second writer in the same process, and to be asked about without
// being taken.
struct flock WholeFile(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

LockHolder ReadHolder(int descriptor) {
  LockHolder holder;
  char bytes[512];
  const ssize_t count = pread(descriptor, bytes, sizeof bytes, 0);
  if (count <= 0) return holder;
  const std::vector<std::string> lines = absl::StrSplit(absl::string_view(bytes, static_cast<size_t>(count)), '\n');
  (void)absl::SimpleAtoi(lines[0], &holder.pid);
  if (lines.size() > 1) holder.holder = lines[1];
  return holder;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LockFile>> LockFile::Acquire(const std::filesystem::path& file,
                                                            const std::string& holder) {
  const int descriptor = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) return FileError("open", file, errno);
  std::unique_ptr<LockFile> lock(new LockFile(descriptor));
  struct flock whole = WholeFile(F_WRLCK);
  if (fcntl(descriptor, F_OFD_SETLK, &whole) != 0) {
    if (errno != EAGAIN && errno != EACCES) return FileError("lock", file, errno);
    const LockHolder other = ReadHolder(descriptor);
    return absl::UnavailableError(
        absl::StrCat("process ", other.pid, other.holder.empty() ? "" : absl::StrCat(" (", other.holder, ")"),
                     " is writing to ", file.parent_path().string(), "; wait for it or go through it"));
  }
  const std::string content = absl::StrCat(getpid(), "\n", holder, "\n");
  if (ftruncate(descriptor, 0) != 0 ||
      pwrite(descriptor, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size())) {
    return FileError("write", file, errno);
  }
  return lock;
}

LockFile::~LockFile() { close(descriptor_); }

std::optional<LockHolder> LockFile::Find(const std::filesystem::path& file) {
  const int descriptor = open(file.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  std::optional<LockHolder> holder;
  struct flock whole = WholeFile(F_WRLCK);
  if (fcntl(descriptor, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK) holder = ReadHolder(descriptor);
  close(descriptor);
  return holder;
}

}  // namespace blazon::retrieval
