#include "retrieval/folder_watch.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "retrieval/files.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Files are read when they are whole: IN_CLOSE_WRITE, not IN_MODIFY.
constexpr uint32_t kWatchedEvents = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
                                    IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR | IN_EXCL_UNLINK;
constexpr auto kAskInterval = std::chrono::milliseconds(100);

bool LiesIn(const fs::path& folder, const fs::path& path) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderWatch>> FolderWatch::Open(absl::Span<const fs::path> paths) {
  const int descriptor = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (descriptor < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot watch folders: ", std::strerror(errno), "; see fs.inotify.max_user_instances"));
  }
  std::unique_ptr<FolderWatch> watch(new FolderWatch(descriptor));
  for (const fs::path& path : paths) {
    std::error_code error;
    const fs::path root = fs::canonical(path, error);
    if (error) return FileError("open", path, error.value());
    absl::Status status;
    if (fs::is_directory(root, error)) {
      watch->roots_.push_back(root);
      status = watch->WatchBeneath(root);
    } else {
      status = watch->WatchFolder(root.parent_path());
    }
    if (!status.ok()) return status;
  }
  return watch;
}

FolderWatch::~FolderWatch() { close(descriptor_); }

absl::Status FolderWatch::WatchFolder(const fs::path& folder) {
  const int watch = inotify_add_watch(descriptor_, folder.c_str(), kWatchedEvents);
  if (watch >= 0) {
    folders_[watch] = folder;  // the same number when it is watched already
    return absl::OkStatus();
  }
  if (errno == ENOSPC) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot watch ", folder.string(), ", the folder number ",
                                                     folders_.size() + 1,
                                                     ": raise fs.inotify.max_user_watches with sysctl"));
  }
  // Gone meanwhile, or not to be looked into: the walk that follows will say so.
  if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) return absl::OkStatus();
  return FileError("watch", folder, errno);
}

absl::Status FolderWatch::WatchBeneath(const fs::path& folder) {
  // First the folder, then what is in it, so that nothing comes in between unseen.
  if (absl::Status status = WatchFolder(folder); !status.ok()) return status;
  std::error_code error;
  for (fs::recursive_directory_iterator walk(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && walk != end; walk.increment(error)) {
    std::error_code kind_error;
    if (walk->is_symlink(kind_error) || !walk->is_directory(kind_error)) continue;
    if (walk->path().filename().string().starts_with('.')) {
      walk.disable_recursion_pending();
      continue;
    }
    if (absl::Status status = WatchFolder(walk->path()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Watches go along with a folder that is moved; where it comes to, it is watched anew.
void FolderWatch::Forget(const fs::path& folder) {
  for (auto watched = folders_.begin(); watched != folders_.end();) {
    if (LiesIn(folder, watched->second)) {
      inotify_rm_watch(descriptor_, watched->first);
      watched = folders_.erase(watched);
    } else {
      ++watched;
    }
  }
}

absl::StatusOr<bool> FolderWatch::Drain(Change& change) {
  bool matters = false;
  alignas(inotify_event) char buffer[64 << 10];
  while (true) {
    const ssize_t count = read(descriptor_, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return matters;
    if (count < 0) return FileError("read events of", "inotify", errno);
    for (ssize_t at = 0; at < count;) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof event);
      const std::string name(buffer + at + sizeof event, strnlen(buffer + at + sizeof event, event.len));
      at += static_cast<ssize_t>(sizeof event + event.len);
      if (event.mask & IN_Q_OVERFLOW) {
        change.overflow = matters = true;
        continue;
      }
      const auto folder = folders_.find(event.wd);
      if (event.mask & IN_IGNORED) {  // the folder is gone
        if (folder != folders_.end()) folders_.erase(folder);
        continue;
      }
      if (folder == folders_.end()) continue;  // forgotten
      // What is hidden does not matter, but for .gitignore files.
      if (name.starts_with('.') && name != ".gitignore") continue;
      ++change.events;
      matters = true;
      if ((event.mask & IN_ISDIR) && (event.mask & IN_MOVED_FROM)) Forget(folder->second / name);
      if ((event.mask & IN_ISDIR) && (event.mask & (IN_CREATE | IN_MOVED_TO)))
        new_folders_.push_back(folder->second / name);
    }
  }
}

absl::StatusOr<FolderWatch::Change> FolderWatch::Wait(const WatchTimes& times, const std::function<bool()>& goes_on) {
  Change change;
  Clock::time_point first, last;
  while (goes_on()) {
    const absl::StatusOr<bool> matters = Drain(change);
    if (!matters.ok()) return matters.status();
    const Clock::time_point now = Clock::now();
    if (*matters) {
      if (!change.changed) first = now;
      last = now;
      change.changed = true;
    }
    Clock::duration wait = kAskInterval;
    if (change.changed) {
      const Clock::time_point due = std::min(last + times.quiet, first + times.latest);
      if (now >= due) break;
      wait = std::min(wait, due - now);
    }
    pollfd waited{descriptor_, POLLIN, 0};
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(wait);
    if (poll(&waited, 1, static_cast<int>(milliseconds.count())) < 0 && errno != EINTR)
      return FileError("wait for", "inotify", errno);
  }
  std::vector<fs::path> to_watch = change.overflow ? roots_ : std::move(new_folders_);
  new_folders_.clear();
  for (const fs::path& folder : to_watch) {
    const bool beneath_root =
        std::any_of(roots_.begin(), roots_.end(), [&folder](const fs::path& root) { return LiesIn(root, folder); });
    if (!beneath_root) continue;
    if (absl::Status status = WatchBeneath(folder); !status.ok()) return status;
  }
  return change;
}

}  // namespace blazon::retrieval
