// Progress on standard error: one line that is written over on a terminal, plain lines now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace blazon::service::cli {

class Progress {
 public:
  // what: "Captioned", "Read".
  explicit Progress(std::string what);
  ~Progress();  // ends the line

  // total: 0 while it is not known.
  void Show(int64_t done, int64_t total, std::string_view item);

 private:
  std::string what_;
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace blazon::service::cli
