// Where the commands' inputs come from: arguments, standard input ("-"), and lists of file names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service::cli {

inline constexpr size_t kMaxInputBytes = 64u << 20;

// The whole of a file, or of standard input when `path` is "-". kNotFound, kInvalidArgument (a folder, or over
// kMaxInputBytes).
absl::StatusOr<std::string> ReadInput(const std::filesystem::path& path);

// `text` itself; or standard input without its last line break when `text` is "-".
absl::StatusOr<std::string> TextOrInput(const std::string& text);

// Token ids separated by commas or white space; brackets around them, as of a JSON list, may be there.
// kInvalidArgument: none, or something else in between; the message names it.
absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text);

// The entries of a list: one a line, or each ended by a NUL when `nul` is set. Empty entries are left out.
std::vector<std::string> SplitList(std::string_view list, bool nul);

// `paths`, then the entries of the list file `files_from` ("-" is standard input) when it is not empty.
absl::StatusOr<std::vector<std::string>> GatherPaths(std::vector<std::string> paths, const std::string& files_from,
                                                     bool nul);

}  // namespace blazon::service::cli
