// The flags that say which documents a command looks at.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "blazon/v1/content.pb.h"

namespace blazon::service::cli {

struct FilterFlags {
  std::string path_prefix;
  std::string condition;  // as retrieval/filter.h describes
};

// --path-prefix and --filter. `flags` must outlive the command.
void AddFilterOptions(CLI::App& command, FilterFlags& flags);

// kInvalidArgument: the condition does not parse; the message names the place.
absl::StatusOr<v1::Filter> ToFilter(const FilterFlags& flags);

}  // namespace blazon::service::cli
