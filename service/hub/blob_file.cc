#include "service/hub/blob_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "service/hub/file_error.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;

constexpr auto kLockInterval = std::chrono::milliseconds(100);

}  // namespace

bool BlobIsThere(const fs::path& blob, int64_t bytes) {
  std::error_code error;
  return fs::is_regular_file(blob, error) && static_cast<int64_t>(fs::file_size(blob, error)) == bytes && !error;
}

absl::StatusOr<std::unique_ptr<BlobFile>> BlobFile::Open(const Cache& cache, const std::string& repository,
                                                         const HubFile& file, const std::function<bool()>& interrupted,
                                                         const std::function<void()>& on_wait) {
  std::unique_ptr<BlobFile> blob(new BlobFile(cache.Blob(repository, file.digest), file));
  blob->partial_ = absl::StrCat(blob->blob_.string(), ".incomplete");
  const fs::path locks = cache.folder() / ".locks" / cache.RepositoryFolder(repository).filename();
  std::error_code error;
  fs::create_directories(locks, error);
  if (error) return FileError("make the folder", locks, error.value());
  if (absl::Status status = blob->Lock(locks / (file.digest.hex + ".lock"), interrupted, on_wait); !status.ok()) {
    return status;
  }
  blob->complete_ = BlobIsThere(blob->blob_, file.bytes);
  if (blob->complete_) return blob;
  if (absl::Status status = blob->OpenPartial(); !status.ok()) return status;
  return blob;
}

BlobFile::~BlobFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (lock_ >= 0) close(lock_);  // and with it the lock; the file stays, as the Python client leaves it
}

absl::Status BlobFile::Lock(const fs::path& lock, const std::function<bool()>& interrupted,
                            const std::function<void()>& on_wait) {
  lock_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (lock_ < 0) return FileError("open", lock, errno);
  bool told = false;
  while (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return FileError("lock", lock, errno);
    if (!told && on_wait) on_wait();
    told = true;
    if (interrupted && interrupted()) return absl::CancelledError("stopped");
    std::this_thread::sleep_for(kLockInterval);
  }
  return absl::OkStatus();
}

absl::Status BlobFile::StartDigest() {
  const bool git = file_.digest.kind == ContentDigest::Kind::kGitBlob;
  digest_.reset(EVP_MD_CTX_new());
  bool good = digest_ != nullptr && EVP_DigestInit_ex(digest_.get(), git ? EVP_sha1() : EVP_sha256(), nullptr) == 1;
  if (good && git) {  // git hashes "blob SIZE", a zero byte, the content
    const std::string header = absl::StrCat("blob ", file_.bytes);
    good = EVP_DigestUpdate(digest_.get(), header.c_str(), header.size() + 1) == 1;
  }
  return good ? absl::OkStatus() : absl::InternalError("a digest could not be started");
}

absl::Status BlobFile::OpenPartial() {
  descriptor_ = open(partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor_ < 0) return FileError("open", partial_, errno);
  if (absl::Status status = StartDigest(); !status.ok()) return status;
  std::vector<char> block(1 << 20);
  while (true) {
    const ssize_t got = read(descriptor_, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("read", partial_, errno);
    if (got == 0) break;
    size_ += got;
    if (size_ > file_.bytes) return Restart();  // not a part of this file
    if (EVP_DigestUpdate(digest_.get(), block.data(), static_cast<size_t>(got)) != 1) {
      return absl::InternalError("a digest could not be computed");
    }
  }
  return absl::OkStatus();
}

absl::Status BlobFile::Append(absl::string_view bytes) {
  if (static_cast<int64_t>(bytes.size()) > file_.bytes - size_) {
    return absl::DataLossError(
        absl::StrCat(file_.name, " has ", file_.bytes, " bytes in the hub's list, and more came"));
  }
  if (EVP_DigestUpdate(digest_.get(), bytes.data(), bytes.size()) != 1) {
    return absl::InternalError("a digest could not be computed");
  }
  size_ += static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", partial_, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status BlobFile::Restart() {
  size_ = 0;
  if (ftruncate(descriptor_, 0) != 0) return FileError("shorten", partial_, errno);
  if (lseek(descriptor_, 0, SEEK_SET) != 0) return FileError("rewind", partial_, errno);
  return StartDigest();
}

void BlobFile::Flush() {
  if (descriptor_ >= 0) fdatasync(descriptor_);
}

absl::Status BlobFile::Finish() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(digest_.get(), bytes, &length) != 1)
    return absl::InternalError("a digest could not be computed");
  const std::string digest = absl::BytesToHexString({reinterpret_cast<const char*>(bytes), length});
  if (digest != file_.digest.hex) {
    if (absl::Status status = Restart(); !status.ok()) return status;
    return absl::DataLossError(absl::StrCat(file_.name, " has the digest ", digest, ", not ", file_.digest.hex,
                                            " as the hub's list says; what was fetched is thrown away"));
  }
  if (fsync(descriptor_) != 0) return FileError("flush", partial_, errno);
  if (rename(partial_.c_str(), blob_.c_str()) != 0) return FileError("rename", partial_, errno);
  const int folder = open(blob_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return FileError("open", blob_.parent_path(), errno);
  const int failed = fsync(folder) == 0 ? 0 : errno;
  close(folder);
  if (failed != 0) return FileError("flush", blob_.parent_path(), failed);
  complete_ = true;
  return absl::OkStatus();
}

}  // namespace blazon::service::hub
