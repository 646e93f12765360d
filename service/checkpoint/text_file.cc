#include "service/checkpoint/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

absl::Status WriteAndSync(int file, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (fsync(file) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot sync ", path));
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteTextFile(const std::filesystem::path& path, std::string_view text) {
  static std::atomic<uint64_t> counter = 0;  // two writers of one process must not share a temporary file
  const std::string temporary = absl::StrCat(path.string(), ".tmp-", getpid(), "-", counter++);
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", temporary));
  absl::Status status = WriteAndSync(file, text, temporary);
  if (close(file) != 0 && status.ok()) status = absl::ErrnoToStatus(errno, absl::StrCat("cannot close ", temporary));
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0)
    status = absl::ErrnoToStatus(errno, absl::StrCat("cannot rename ", temporary, " to ", path.string()));
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  const std::string folder = path.has_parent_path() ? path.parent_path().string() : ".";
  const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open folder ", folder));
  if (fsync(directory) != 0) status = absl::ErrnoToStatus(errno, absl::StrCat("cannot sync folder ", folder));
  close(directory);
  return status;
}

}  // namespace blazon::service
