// Waits until something changes beneath folders (inotify(7)).
//
// What has changed is not told: after a change the folders are to be looked through again, which also covers what the
// kernel's queue lost (an overflow counts as a change) and what happened in a new folder before it was watched. inotify
// sees no changes that other machines make on a network file system.
// Thread safety: one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::retrieval {

struct WatchTimes {
  std::chrono::milliseconds quiet{500};     // a change is told when nothing has happened for so long,
  std::chrono::milliseconds latest{10000};  // or when so much time has gone by since the first
};

class FolderWatch {
 public:
  // Watches the folders among `paths` with all beneath them, and the folders that the files among them lie in. Hidden
  // folders are left out, as FindFiles leaves them out. kNotFound: a path does not exist; kResourceExhausted: the
  // kernel's limit of watches is too low, the message says which.
  static absl::StatusOr<std::unique_ptr<FolderWatch>> Open(absl::Span<const std::filesystem::path> paths);
  ~FolderWatch();
  FolderWatch(const FolderWatch&) = delete;

  struct Change {
    bool changed = false;   // false: `goes_on` ended it
    bool overflow = false;  // the kernel dropped events
    int64_t events = 0;
  };
  // Waits for changes since it was opened, or since the last Wait; new folders are watched when it returns. `goes_on`
  // is asked at least ten times a second.
  absl::StatusOr<Change> Wait(const WatchTimes& times, const std::function<bool()>& goes_on);

  int64_t folders() const { return static_cast<int64_t>(folders_.size()); }

 private:
  explicit FolderWatch(int descriptor) : descriptor_(descriptor) {}
  absl::Status WatchBeneath(const std::filesystem::path& folder);
  absl::Status WatchFolder(const std::filesystem::path& folder);
  void Forget(const std::filesystem::path& folder);  // and what is beneath
  // Reads the events that are there; whether one matters.
  absl::StatusOr<bool> Drain(Change& change);

  const int descriptor_;
  std::vector<std::filesystem::path> roots_;        // with all beneath
  std::map<int, std::filesystem::path> folders_;    // by watch
  std::vector<std::filesystem::path> new_folders_;  // to be watched
};

}  // namespace blazon::retrieval
