// SHA-256 of weight files, by which models are told apart.
#pragma once

#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service {

// 64 hexadecimal digits. Reads the file once, through a small buffer; where `stop` becomes true, that is kCancelled.
// Errors of opening and reading name the file.
absl::StatusOr<std::string> FileSha256(const std::filesystem::path& file, const std::atomic<bool>* stop = nullptr);

// "sha256:...": of one file, or for several of the lines "NAME DIGEST". Computed on a thread of its own from the moment
// that it is asked for, so that a model can be used before its digest is known. The thread also asks the system for the
// whole of each file in order, which is about twice as fast from a disk as the order in which a model takes its
// tensors.
//
// Copies share the result. Thread safety: const. The last copy's end stops the thread.
class WeightsDigest {
 public:
  WeightsDigest() = default;  // Get() is kFailedPrecondition
  // files: in an order that does not change from load to load.
  explicit WeightsDigest(std::vector<std::filesystem::path> files);

  // Waits for the end. Errors: as FileSha256.
  absl::StatusOr<std::string> Get() const;

 private:
  struct Work {
    ~Work() { stop = true; }  // `result` then waits for the thread
    std::atomic<bool> stop = false;
    std::shared_future<absl::StatusOr<std::string>> result;
  };
  std::shared_ptr<const Work> work_;
};

}  // namespace blazon::service
