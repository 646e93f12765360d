#include "faulty_calls.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <system_error>

namespace blazon::retrieval::faulty {
namespace {

thread_local bool armed = false;
thread_local Fault kind;
thread_local int strike_at = 0, calls = 0;

enum class Verdict { kGo, kFail, kDie };

Verdict Judge() {
  if (!armed) return Verdict::kGo;
  const int call = calls++;
  if (call < strike_at || (call > strike_at && kind != Fault::kFailFrom)) return Verdict::kGo;
  return kind == Fault::kDie ? Verdict::kDie : Verdict::kFail;
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// What a call that is no write does: `error` is what a failing one gives.
template <typename Function, typename... Arguments>
int Call(const char* name, int error, Arguments... arguments) {
  const Verdict verdict = Judge();
  if (verdict == Verdict::kDie) raise(SIGKILL);
  if (verdict == Verdict::kFail) {
    errno = error;
    return -1;
  }
  return Real<Function>(name)(arguments...);
}

thread_local std::string limited_folder;
thread_local int64_t limit = 0;

int64_t BytesLeft() {
  std::error_code error;
  int64_t used = 0;
  for (std::filesystem::recursive_directory_iterator walk(limited_folder, error), end; !error && walk != end;
       walk.increment(error)) {
    std::error_code gone;
    const uintmax_t size = walk->is_regular_file(gone) ? walk->file_size(gone) : 0;
    if (!gone) used += static_cast<int64_t>((size + 4095) / 4096 * 4096);
  }
  return std::max<int64_t>(0, limit - used);
}

// Whether `size` bytes at `at` still fit on the disk. Everything that is written is taken to be on it.
bool Fits(int file, size_t size, off_t at) {
  struct stat information {};
  if (limited_folder.empty() || fstat(file, &information) != 0 || !S_ISREG(information.st_mode)) return true;
  const int64_t growth = at + static_cast<int64_t>(size) - (information.st_size + 4095) / 4096 * 4096;
  return growth <= 0 || growth <= BytesLeft();
}

// A write: half of it is done before the strike.
template <typename Whole>
ssize_t CallWrite(int file, size_t size, off_t at, const Whole& whole) {
  if (!Fits(file, size, at)) {
    errno = ENOSPC;
    return -1;
  }
  const Verdict verdict = Judge();
  if (verdict == Verdict::kGo) return whole(size);
  if (size > 1) (void)whole(size / 2);
  if (verdict == Verdict::kDie) raise(SIGKILL);
  errno = ENOSPC;
  return -1;
}

}  // namespace

void Arm(Fault fault, int at) {
  kind = fault;
  strike_at = at;
  calls = 0;
  armed = true;
}

int Disarm() {
  armed = false;
  return calls;
}

void LimitFolder(const std::string& folder, int64_t bytes) {
  limited_folder = folder;
  limit = bytes;
}

}  // namespace blazon::retrieval::faulty

using namespace blazon::retrieval::faulty;  // NOLINT: the functions below cannot be in it

extern "C" {

ssize_t write(int file, const void* bytes, size_t size) {
  return CallWrite(file, size, limited_folder.empty() ? 0 : lseek(file, 0, SEEK_CUR), [&](size_t part) {
    return Real<ssize_t (*)(int, const void*, size_t)>("write")(file, bytes, part);
  });
}
ssize_t pwrite(int file, const void* bytes, size_t size, off_t at) {
  return CallWrite(file, size, at, [&](size_t part) {
    return Real<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite")(file, bytes, part, at);
  });
}
ssize_t pwrite64(int file, const void* bytes, size_t size, off64_t at) {
  return CallWrite(file, size, at, [&](size_t part) {
    return Real<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64")(file, bytes, part, at);
  });
}
int statvfs(const char* path, struct statvfs* information) noexcept {
  const int code = Real<int (*)(const char*, struct statvfs*)>("statvfs")(path, information);
  if (code == 0 && !limited_folder.empty())
    information->f_bavail = static_cast<fsblkcnt_t>(BytesLeft()) / information->f_frsize;
  return code;
}
int fsync(int file) { return Call<int (*)(int)>("fsync", EIO, file); }
int fdatasync(int file) { return Call<int (*)(int)>("fdatasync", EIO, file); }
int ftruncate(int file, off_t size) noexcept { return Call<int (*)(int, off_t)>("ftruncate", EIO, file, size); }
int ftruncate64(int file, off64_t size) noexcept { return Call<int (*)(int, off64_t)>("ftruncate64", EIO, file, size); }
int rename(const char* from, const char* to) noexcept {
  return Call<int (*)(const char*, const char*)>("rename", ENOSPC, from, to);
}
int unlink(const char* file) noexcept { return Call<int (*)(const char*)>("unlink", EIO, file); }
int link(const char* from, const char* to) noexcept {
  return Call<int (*)(const char*, const char*)>("link", ENOSPC, from, to);
}

}  // extern "C"
