// Tables as RFC 4180 has them: quoted fields may hold commas, line breaks and doubled quotes.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service {

// The fields of each row, the header too; empty lines are passed over. kInvalidArgument: a quote within a field, or one
// that does not end; the message names the line.
absl::StatusOr<std::vector<std::vector<std::string>>> ParseCsv(const std::string& text);

}  // namespace blazon::service
