// Writes small files beside weights: configurations, tokenizers.
#pragma once

#include <filesystem>
#include <string_view>

#include "absl/status/status.h"

namespace blazon::service {

// Writes `text` to `path`. Durable and all or nothing: a temporary file beside it, fsync, rename, fsync of the folder.
// The code is that of the system's error; the message names the file.
absl::Status WriteTextFile(const std::filesystem::path& path, std::string_view text);

}  // namespace blazon::service
