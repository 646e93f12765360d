// How much memory the process held at most.
#pragma once

#include <sys/resource.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace blazon::service {

// For people: "2753 MB of memory were held at most", of the whole process since its start, files that it maps included.
inline std::string DescribeHeldMemory() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return absl::StrCat(usage.ru_maxrss * 1024 / 1000000, " MB of memory were held at most");
}

}  // namespace blazon::service
