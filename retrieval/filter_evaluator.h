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

// Makes the SQL function chunk_is_among(ids, id) known to a connection: true when the id is in the sorted ids, which
// are bound as AmongChunks(ids).
absl::Status RegisterChunkIsAmong(Database& database);
inline Pointer AmongChunks(const std::vector<int64_t>& ids) { return {&ids, "chunk ids"}; }

}  // namespace blazon::retrieval
