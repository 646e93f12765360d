#include "service/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::filesystem::path& path) {
  // O_NONBLOCK: a named pipe is then refused below instead of waited for.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path.string()));
  const auto close_file = absl::MakeCleanup([file] { close(file); });

  struct stat status;
  if (fstat(file, &status) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot examine ", path.string()));
  if (!S_ISREG(status.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is not a regular file"));
  if (status.st_size == 0) return absl::InvalidArgumentError(absl::StrCat(path.string(), " is empty"));

  const size_t size = static_cast<size_t>(status.st_size);
  void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (address == MAP_FAILED) {
    return absl::UnavailableError(absl::StrCat("cannot map ", path.string(), " (", size, " bytes) into memory"));
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(absl::MakeConstSpan(static_cast<const std::byte*>(address), size)));
}

void MappedFile::Release(absl::Span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // advice: may fail
}

MappedFile::~MappedFile() { munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

}  // namespace blazon::service
