// How far indexing has come, on standard error: one line that is written over on a terminal, a line of JSON a second
// elsewhere.
#pragma once

#include <chrono>
#include <string>

#include "service/cli/backend.h"

namespace blazon::service::cli {

class IndexProgress {
 public:
  IndexProgress();
  ~IndexProgress();  // ends the line
  void Show(const AddProgress& progress);

 private:
  const bool terminal_;
  bool shown_ = false, indexing_ = false;
  std::chrono::steady_clock::time_point start_, last_;  // of the step
};

// "files": 12, "of": 40, rates and what is left, as one JSON object. seconds: since the step began.
std::string ProgressJson(const AddProgress& progress, double seconds);
// "Indexed 12 of 40: 3.1 files/s, 0.4 MB/s, 9 s to go".
std::string ProgressText(const AddProgress& progress, double seconds);

}  // namespace blazon::service::cli
