// Filters and kinds of indexes as messages and as retrieval knows them.
#pragma once

#include "absl/status/statusor.h"
#include "blazon/v1/content.pb.h"
#include "blazon/v1/index.pb.h"
#include "retrieval/collection.h"
#include "retrieval/filter.h"

namespace blazon::service::rpc {

// kInvalidArgument names the field. Deeper than retrieval::kMaxConditionDepth is refused before it is walked.
absl::StatusOr<retrieval::Condition> FromProto(const v1::Condition& condition);
v1::Condition ToProto(const retrieval::Condition& condition);

absl::StatusOr<retrieval::IndexKind> FromProto(v1::IndexKind kind);
v1::IndexKind ToProto(retrieval::IndexKind kind);
v1::Collection ToProto(const std::string& name, const retrieval::CollectionStats& stats);

}  // namespace blazon::service::rpc
