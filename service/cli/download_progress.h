// Progress of a download on standard error: a bar that is written over on a terminal, plain lines now and then
// elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace blazon::service::cli {

// "270.0 MiB", "512 bytes".
std::string ByteSize(int64_t bytes);

class DownloadProgress {
 public:
  DownloadProgress();
  ~DownloadProgress();  // takes the bar away

  // What the first call finds done was there before: it does not count for the speed.
  void Show(int64_t done, int64_t total, std::string_view file);
  // Makes room for a line of another's.
  void Clear();

 private:
  bool terminal_;
  bool shown_ = false;
  int64_t first_ = -1;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace blazon::service::cli
