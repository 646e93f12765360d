// The flags that say how to search.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "blazon/v1/index.pb.h"
#include "service/cli/context.h"
#include "service/cli/filter_options.h"

namespace blazon::service::cli {

struct SearchFlags {
  std::string mode = "both", fusion = "weighted";
  std::optional<double> word_weight;
  std::optional<int32_t> rerank;
  FilterFlags filter;
};

// --mode, --fusion, --word-weight and those of AddFilterOptions. `flags` must outlive the command.
void AddSearchOptions(CLI::App& command, SearchFlags& flags);

// Sets the fields of the request that they stand for. As ToFilter.
absl::Status ToRequest(const SearchFlags& flags, v1::SearchRequest& request);

// --reranker and --rerank. `flags` and `context` must outlive the command.
void AddRerankOptions(CLI::App& command, SearchFlags& flags, Context& context);

// Sets the request's field that they stand for; its count must be set before.
void SetRerank(const SearchFlags& flags, const Context& context, v1::SearchRequest& request);

}  // namespace blazon::service::cli
