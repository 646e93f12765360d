#include "service/checkpoint/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

absl::Status SyncFolder(const std::filesystem::path& folder) {
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open folder ", folder.string()));
  const auto close_file = absl::MakeCleanup([file] { close(file); });
  if (fsync(file) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot sync folder ", folder.string()));
  return absl::OkStatus();
}

}  // namespace

absl::Status FileAppender::Append(const void* data, size_t size) {
  const char* position = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = write(file_, position, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path_));
    position += written;
    size -= static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

absl::Status WriteDurably(const std::filesystem::path& path, const std::function<absl::Status(FileAppender&)>& fill) {
  static std::atomic<uint64_t> counter = 0;  // two writers of one process must not share a temporary file
  const std::string temporary = absl::StrCat(path.string(), ".tmp-", getpid(), "-", counter++);
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", temporary));
  FileAppender appender(file, temporary);
  absl::Status status = fill(appender);
  if (status.ok() && fsync(file) != 0) status = absl::ErrnoToStatus(errno, absl::StrCat("cannot sync ", temporary));
  if (close(file) != 0 && status.ok()) status = absl::ErrnoToStatus(errno, absl::StrCat("cannot close ", temporary));
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0)
    status = absl::ErrnoToStatus(errno, absl::StrCat("cannot rename ", temporary, " to ", path.string()));
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncFolder(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace blazon::service
