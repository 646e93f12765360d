#include "retrieval/files.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace blazon::retrieval {

absl::Status FileError(const std::string& action, const std::filesystem::path& file, int error_number) {
  const std::string message = absl::StrCat("cannot ", action, " ", file.string(), ": ", std::strerror(error_number));
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(absl::StrCat(message, "; free some space and try again"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::Status Files::WriteAndSync(const std::filesystem::path& file, absl::Span<const std::string_view> parts) {
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return FileError("create", file, errno);
  for (std::string_view rest : parts) {
    while (!rest.empty()) {
      const ssize_t written = write(descriptor, rest.data(), rest.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        absl::Status status = FileError("write", file, errno);
        close(descriptor);
        return status;
      }
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }
  if (fsync(descriptor) != 0) {
    absl::Status status = FileError("flush", file, errno);
    close(descriptor);
    return status;
  }
  if (close(descriptor) != 0) return FileError("close", file, errno);
  return absl::OkStatus();
}

absl::Status Files::OverwriteAndSync(const std::filesystem::path& file, int64_t at, std::string_view bytes) {
  const int descriptor = open(file.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", file, errno);
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor, bytes.data(), bytes.size(), at);
    if (written < 0) {
      if (errno == EINTR) continue;
      absl::Status status = FileError("write", file, errno);
      close(descriptor);
      return status;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    at += written;
  }
  absl::Status status;
  if (fdatasync(descriptor) != 0) status = FileError("flush", file, errno);
  if (close(descriptor) != 0 && status.ok()) status = FileError("close", file, errno);
  return status;
}

absl::Status Files::Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return FileError("rename", from, errno);
  return absl::OkStatus();
}

absl::Status Files::SyncFolder(const std::filesystem::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", folder, errno);
  absl::Status status;
  if (fsync(descriptor) != 0) status = FileError("flush", folder, errno);
  close(descriptor);
  return status;
}

absl::StatusOr<int64_t> Files::FreeBytes(const std::filesystem::path& folder) {
  struct statvfs information {};
  if (statvfs(folder.c_str(), &information) != 0) return FileError("examine", folder, errno);
  return static_cast<int64_t>(information.f_bavail) * static_cast<int64_t>(information.f_frsize);
}

absl::Status Files::Remove(const std::filesystem::path& file) {
  if (unlink(file.c_str()) != 0 && errno != ENOENT) return FileError("remove", file, errno);
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
