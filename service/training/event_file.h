// Numbers of a run as TensorBoard reads them: a file "events.out.tfevents.*" in the run's folder.
//
// Records are framed as TFRecord frames them: length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes
// (tensorflow/core/lib/io/record_writer.h); the bytes are messages of tensorflow/core/util/event.proto, of which the
// few fields that a scalar needs are written here by hand. A process that goes on with a run writes a file of its own,
// whose first event tells TensorBoard to forget what older files say of the steps from there on.
//
// Thread safety: none.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::service {

class EventFile {
 public:
  // A new file in `folder`, named after the time and the process. `first_step`: of what will be added.
  static absl::StatusOr<EventFile> Create(const std::filesystem::path& folder, int64_t first_step);

  // One event with these values by name, now. In the file when it returns, though not on the disk.
  absl::Status Add(int64_t step, const std::vector<std::pair<std::string_view, double>>& values);

  const std::filesystem::path& path() const { return path_; }

 private:
  using File = std::unique_ptr<FILE, int (*)(FILE*)>;
  EventFile(std::filesystem::path path, File file) : path_(std::move(path)), file_(std::move(file)) {}
  absl::Status WriteRecord(std::string_view event);

  std::filesystem::path path_;
  File file_;
};

}  // namespace blazon::service
