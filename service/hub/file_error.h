// Errors of file operations.
#pragma once

#include <cerrno>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace blazon::service::hub {

// kResourceExhausted for a full disk or quota, kPermissionDenied, kNotFound, else kInternal; the message names action,
// file and cause.
absl::Status FileError(absl::string_view action, const std::filesystem::path& file, int error_number);

}  // namespace blazon::service::hub
