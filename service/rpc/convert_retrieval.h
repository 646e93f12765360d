// Filters and kinds of indexes as messages and as retrieval knows them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "blazon/v1/content.pb.h"
#include "blazon/v1/index.pb.h"
#include "retrieval/collection.h"
#include "retrieval/filter.h"
#include "service/reranker.h"

namespace blazon::service::rpc {

// kInvalidArgument names the field. Deeper than retrieval::kMaxConditionDepth is refused before it is walked.
absl::StatusOr<retrieval::Condition> FromProto(const v1::Condition& condition);
v1::Condition ToProto(const retrieval::Condition& condition);

absl::StatusOr<retrieval::IndexKind> FromProto(v1::IndexKind kind);
v1::IndexKind ToProto(retrieval::IndexKind kind);
// Gives the query the request's vector, brought to unit length; none when the request has none.
absl::Status TakeVector(const v1::SearchRequest& request, retrieval::Query& query);
// Pieces that a reranker reads, 0 for none. count: results that are asked for.
absl::StatusOr<int64_t> RerankDepth(const v1::SearchRequest& request, int64_t count);
v1::ModelIdentity ToIdentity(const Reranker& reranker);
v1::Collection ToProto(const std::string& name, const retrieval::CollectionStats& stats);

}  // namespace blazon::service::rpc
