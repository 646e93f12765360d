#include "service/cli/index_progress.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

constexpr auto kTerminalStep = std::chrono::milliseconds(100);
constexpr auto kJsonStep = std::chrono::seconds(1);
constexpr size_t kPathWidth = 40;

// What is left of the step, going by bytes where they are known; negative when it cannot be told.
double SecondsLeft(const AddProgress& progress, double seconds) {
  const double done = progress.total_bytes > 0 ? static_cast<double>(progress.bytes) / progress.total_bytes
                      : progress.total > 0     ? static_cast<double>(progress.done) / progress.total
                                               : 0;
  return done > 0 ? seconds * (1 - done) / done : -1;
}

}  // namespace

std::string ProgressJson(const AddProgress& progress, double seconds) {
  nlohmann::ordered_json line = {{"event", "progress"},
                                 {"step", progress.indexing ? "index" : "compare"},
                                 {"files", progress.done},
                                 {"of", progress.total},
                                 {"path", progress.path}};
  if (progress.indexing) {
    line["bytes"] = progress.bytes;
    line["of_bytes"] = progress.total_bytes;
  }
  if (seconds > 0) {
    line["files_per_second"] = progress.done / seconds;
    if (progress.indexing) line["bytes_per_second"] = progress.bytes / seconds;
  }
  if (const double left = SecondsLeft(progress, seconds); left >= 0) line["seconds_left"] = left;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string ProgressText(const AddProgress& progress, double seconds) {
  std::string line = absl::StrCat(progress.indexing ? "Indexed " : "Compared ", progress.done);
  if (progress.total > 0) absl::StrAppend(&line, " of ", progress.total);
  if (seconds > 0) {
    absl::StrAppendFormat(&line, ": %.1f files/s", progress.done / seconds);
    if (progress.bytes > 0) absl::StrAppendFormat(&line, ", %.1f MB/s", progress.bytes / seconds / 1e6);
  }
  if (const double left = SecondsLeft(progress, seconds); left > 0 && progress.done < progress.total)
    absl::StrAppendFormat(&line, ", %.0f s to go", left);
  return line;
}

IndexProgress::IndexProgress()
    : terminal_(ErrorIsTerminal()), start_(std::chrono::steady_clock::now()), last_(start_) {}

IndexProgress::~IndexProgress() {
  if (terminal_ && shown_) std::cerr << "\r\x1b[K" << std::flush;
}

void IndexProgress::Show(const AddProgress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const bool last_of_step = progress.total > 0 && progress.done == progress.total;
  if (progress.indexing != indexing_) {
    indexing_ = progress.indexing;
    start_ = last_ = now;
  }
  // The last one of a step that took long enough to be told of comes at any time.
  const std::chrono::steady_clock::duration step = terminal_ ? kTerminalStep : kJsonStep;
  if (now - last_ < step && !(last_of_step && shown_)) return;
  last_ = now;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (!terminal_) {
    std::cerr << ProgressJson(progress, seconds) << std::endl;
    return;
  }
  std::string path = progress.path;
  if (path.size() > kPathWidth) path.erase(0, path.size() - kPathWidth);
  std::cerr << "\r\x1b[K" << ProgressText(progress, seconds) << "  " << path << std::flush;
}

}  // namespace blazon::service::cli
