// What several of the conversions need of one field.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {

inline constexpr size_t kMaxQuestionBytes = 8192;

// Clamped to what the wire takes: counts are of int64_t here and of int32 there.
inline int32_t Int32(int64_t value) {
  return static_cast<int32_t>(
      std::clamp<int64_t>(value, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
}

inline absl::Status CheckLength(absl::string_view field, size_t bytes, size_t limit) {
  if (bytes <= limit) return absl::OkStatus();
  return FieldError(field, absl::StrCat("has ", bytes, " bytes; the limit is ", limit, ". Give less."));
}

}  // namespace blazon::service::rpc
