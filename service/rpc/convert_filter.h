// Filters as messages and as retrieval knows them.
#pragma once

#include "absl/status/statusor.h"
#include "blazon/v1/content.pb.h"
#include "retrieval/filter.h"

namespace blazon::service::rpc {

// kInvalidArgument names the field. Deeper than retrieval::kMaxConditionDepth is refused before it is walked.
absl::StatusOr<retrieval::Condition> FromProto(const v1::Condition& condition);
v1::Condition ToProto(const retrieval::Condition& condition);

}  // namespace blazon::service::rpc
