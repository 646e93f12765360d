// A blob while it is fetched: DIGEST.incomplete beside its place, continued where an earlier attempt ended, checked,
// then renamed. A lock keeps other processes, the Python client included, from fetching the same blob meanwhile.
//
// Thread safety: one thread at a time. What was appended stays on disk when the object goes without Finish.
#pragma once

#include <openssl/evp.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "service/hub/cache.h"
#include "service/hub/repository.h"

namespace blazon::service::hub {

class BlobFile {
 public:
  // Takes the lock, waiting where another process has it until `interrupted` says so (kCancelled); `on_wait` is called
  // once before. Then reads what is there of the blob. The cache must be prepared for `repository`.
  static absl::StatusOr<std::unique_ptr<BlobFile>> Open(const Cache& cache, const std::string& repository,
                                                        const HubFile& file, const std::function<bool()>& interrupted,
                                                        const std::function<void()>& on_wait);
  ~BlobFile();
  BlobFile(const BlobFile&) = delete;
  BlobFile& operator=(const BlobFile&) = delete;

  // Another process has fetched it while this one waited: nothing is left to do.
  bool complete() const { return complete_; }
  int64_t size() const { return size_; }  // bytes that are there

  // kDataLoss: more than the file has. kResourceExhausted: the disk is full.
  absl::Status Append(absl::string_view bytes);
  // Throws away what is there.
  absl::Status Restart();
  // Flushes what is there to the disk, for a later attempt.
  void Flush();
  // All bytes are there: compares their digest, flushes, renames. kDataLoss: the digest is another; what was there is
  // thrown away.
  absl::Status Finish();

 private:
  BlobFile(std::filesystem::path blob, const HubFile& file) : blob_(std::move(blob)), file_(file) {}
  absl::Status Lock(const std::filesystem::path& lock, const std::function<bool()>& interrupted,
                    const std::function<void()>& on_wait);
  absl::Status OpenPartial();
  absl::Status StartDigest();

  std::filesystem::path blob_, partial_;
  HubFile file_;
  bool complete_ = false;
  int64_t size_ = 0;
  int descriptor_ = -1, lock_ = -1;
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> digest_{nullptr, EVP_MD_CTX_free};
};

// Whether `blob` is there with that many bytes.
bool BlobIsThere(const std::filesystem::path& blob, int64_t bytes);

}  // namespace blazon::service::hub
