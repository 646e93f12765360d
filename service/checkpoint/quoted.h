// Text of a checkpoint's file in a message about it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {

// `text` in quotes, its control characters and invalid bytes escaped; of more than 80 bytes the first 80 and "...".
inline std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape({text.data(), std::min(text.size(), kShown)}),
                      text.size() > kShown ? "...\"" : "\"");
}

}  // namespace blazon::service
