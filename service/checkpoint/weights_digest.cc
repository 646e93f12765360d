#include "service/checkpoint/weights_digest.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()), ok_(EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1) {}
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(const void* data, size_t size) { ok_ = ok_ && EVP_DigestUpdate(context_, data, size) == 1; }
  absl::StatusOr<std::string> Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (!ok_ || EVP_DigestFinal_ex(context_, digest, &size) != 1) return absl::InternalError("SHA-256 failed");
    return absl::BytesToHexString({reinterpret_cast<const char*>(digest), size});
  }

 private:
  EVP_MD_CTX* const context_;
  bool ok_;
};

absl::StatusOr<std::string> DigestOf(const std::vector<std::filesystem::path>& files, const std::atomic<bool>& stop) {
  Sha256 all;
  for (const std::filesystem::path& file : files) {
    const absl::StatusOr<std::string> digest = FileSha256(file, &stop);
    if (!digest.ok()) return digest.status();
    if (files.size() == 1) return absl::StrCat("sha256:", *digest);
    const std::string line = absl::StrCat(file.filename().string(), " ", *digest, "\n");
    all.Add(line.data(), line.size());
  }
  const absl::StatusOr<std::string> digest = all.Hex();
  if (!digest.ok()) return digest.status();
  return absl::StrCat("sha256:", *digest);
}

}  // namespace

absl::StatusOr<std::string> FileSha256(const std::filesystem::path& path, const std::atomic<bool>* stop) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path.string()));
  const auto close_file = absl::MakeCleanup([file] { close(file); });
  // The whole file, in order: whoever reads it through a mapping meanwhile finds it on its way. Advice: may fail.
  posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
  posix_fadvise(file, 0, 0, POSIX_FADV_WILLNEED);
  Sha256 digest;
  std::vector<char> buffer(1 << 18);  // fits a core's second cache
  while (true) {
    if (stop != nullptr && *stop) return absl::CancelledError(absl::StrCat("stopped reading ", path.string()));
    const ssize_t size = read(file, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path.string()));
    if (size == 0) return digest.Hex();
    digest.Add(buffer.data(), static_cast<size_t>(size));
  }
}

WeightsDigest::WeightsDigest(std::vector<std::filesystem::path> files) {
  auto work = std::make_shared<Work>();
  work->result = std::async(std::launch::async, [files = std::move(files), stop = &work->stop] {
                   return DigestOf(files, *stop);
                 }).share();
  work_ = std::move(work);
}

absl::StatusOr<std::string> WeightsDigest::Get() const {
  if (work_ == nullptr) return absl::FailedPreconditionError("no weights were read");
  return work_->result.get();
}

}  // namespace blazon::service
