#include "service/cli/download_progress.h"

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(5);
constexpr int kBarWidth = 24;
constexpr size_t kNameWidth = 32;

}  // namespace

std::string ByteSize(int64_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto size = static_cast<double>(bytes);
  int unit = 0;
  for (; size >= 1024 && unit < 4; ++unit) size /= 1024;
  return unit == 0 ? absl::StrFormat("%d bytes", bytes) : absl::StrFormat("%.1f %s", size, units[unit]);
}

DownloadProgress::DownloadProgress()
    : terminal_(ErrorIsTerminal()), start_(std::chrono::steady_clock::now()), last_(start_) {}

DownloadProgress::~DownloadProgress() { Clear(); }

void DownloadProgress::Clear() {
  if (terminal_ && shown_) std::cerr << "\r\x1b[K" << std::flush;
  shown_ = false;
}

void DownloadProgress::Show(int64_t done, int64_t total, std::string_view file) {
  const auto now = std::chrono::steady_clock::now();
  if (first_ < 0) {
    first_ = done;
    start_ = now;
  }
  if (now - last_ < (terminal_ ? std::chrono::steady_clock::duration(kTerminalInterval) : kPlainInterval)) return;
  last_ = now;
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  std::string line;
  if (terminal_) {
    const int filled = static_cast<int>(share * kBarWidth);
    absl::StrAppend(&line, "[", std::string(filled, '#'), std::string(kBarWidth - filled, ' '), "] ");
  }
  absl::StrAppendFormat(&line, "%3.0f %%  %s of %s", 100 * share, ByteSize(done), ByteSize(total));
  if (elapsed > 0.5 && done > first_) {
    const double speed = static_cast<double>(done - first_) / elapsed;
    absl::StrAppendFormat(&line, "  %s/s, %.0f s to go", ByteSize(static_cast<int64_t>(speed)),
                          static_cast<double>(total - done) / speed);
  }
  if (file.size() > kNameWidth) file.remove_prefix(file.size() - kNameWidth);
  absl::StrAppend(&line, "  ", std::string(file));
  if (terminal_) {
    std::cerr << "\r\x1b[K" << line << std::flush;
    shown_ = true;
  } else {
    std::cerr << line << std::endl;
  }
}

}  // namespace blazon::service::cli
