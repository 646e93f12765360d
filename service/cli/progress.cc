#include "service/cli/progress.h"

#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(5);
constexpr size_t kItemWidth = 40;

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(ErrorIsTerminal()), start_(std::chrono::steady_clock::now()), last_(start_) {}

Progress::~Progress() {
  if (terminal_ && shown_) std::cerr << "\r\x1b[K" << std::flush;
}

void Progress::Show(int64_t done, int64_t total, std::string_view item) {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < (terminal_ ? std::chrono::steady_clock::duration(kTerminalInterval) : kPlainInterval)) return;
  last_ = now;
  shown_ = true;
  std::string line = absl::StrCat(what_, " ", done);
  if (total > 0) {
    absl::StrAppend(&line, " of ", total);
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    if (done > 0 && done < total) absl::StrAppendFormat(&line, ", %.0f s to go", elapsed / done * (total - done));
  }
  if (item.size() > kItemWidth) item.remove_prefix(item.size() - kItemWidth);
  absl::StrAppend(&line, ": ", std::string(item));
  if (terminal_) {
    std::cerr << "\r\x1b[K" << line << std::flush;
  } else {
    std::cerr << line << std::endl;
  }
}

}  // namespace blazon::service::cli
