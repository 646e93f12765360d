// What LibTorch says when the system refuses memory.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace blazon::service {

// How much was refused, in words ("1.50 GiB more"), of the text of a c10::Error; "" when it is another error.
inline std::string RefusedMemory(std::string_view error) {
  constexpr std::string_view kAsked = "tried to allocate ";
  const size_t found = error.find(kAsked);
  if (found == std::string_view::npos)
    return error.find("not enough memory") != std::string_view::npos ? "some more" : "";
  error.remove_prefix(found + kAsked.size());
  double bytes = 0;
  const std::string_view number = error.substr(0, error.find(' '));
  if (!absl::SimpleAtod({number.data(), number.size()}, &bytes)) return "some more";
  return absl::StrFormat("%.2f GiB more", bytes / (1 << 30));
}

}  // namespace blazon::service
