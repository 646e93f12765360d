// What of a collection's database a condition holds of.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/filter.h"
#include "retrieval/sqlite.h"

namespace blazon::retrieval {

// The keys of the documents of which the condition holds, ascending. kInvalidArgument: CheckCondition refuses it.
absl::StatusOr<std::vector<int64_t>> MatchingDocuments(Database& database, const Condition& condition);

// The ids of the chunks of documents (keys ascending), ascending.
absl::StatusOr<std::vector<int64_t>> ChunksOfDocuments(Database& database, absl::Span<const int64_t> keys);

}  // namespace blazon::retrieval
