// Errors on the wire: absl::Status to grpc::Status one to one, with google.rpc details, and back.
//
// Every error carries google.rpc.ErrorInfo (domain "blazon.v1"); BadRequest when a field is to blame; RetryInfo when
// waiting helps.
#pragma once

#include <google/rpc/status.pb.h>
#include <grpcpp/support/status.h>

#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace blazon::service::rpc {

inline constexpr char kErrorDomain[] = "blazon.v1";

// Notes on a status which of our reasons it is (UPPER_SNAKE_CASE); the default is the name of its code.
absl::Status WithReason(absl::Status status, absl::string_view reason);
// Notes which request field is to blame ("options.top_p").
absl::Status WithField(absl::Status status, absl::string_view field);
// Whether WithField was called.
bool BlamesField(const absl::Status& status);
// Notes after how long a second try may succeed.
absl::Status WithRetry(absl::Status status, std::chrono::milliseconds after);

// kInvalidArgument for a field: "top_p: <what>", reason INVALID_FIELD.
absl::Status FieldError(absl::string_view field, absl::string_view what);

google::rpc::Status ToRpcStatus(const absl::Status& status);
grpc::Status ToGrpcStatus(const absl::Status& status);
// For clients: the code and message of a reply; details are dropped.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace blazon::service::rpc
