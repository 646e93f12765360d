#include "service/rpc/status.h"

#include <google/rpc/error_details.pb.h>

#include <charconv>
#include <optional>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace blazon::service::rpc {
namespace {

constexpr char kReasonNote[] = "blazon.v1/reason";
constexpr char kFieldNote[] = "blazon.v1/field";
constexpr char kRetryNote[] = "blazon.v1/retry_ms";

std::optional<std::string> Note(const absl::Status& status, absl::string_view name) {
  const auto note = status.GetPayload(name);
  if (!note.has_value()) return std::nullopt;
  return std::string(*note);
}

template <typename Detail>
void AddDetail(const Detail& detail, google::rpc::Status& status) {
  status.add_details()->PackFrom(detail);
}

}  // namespace

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  if (!status.ok()) status.SetPayload(kReasonNote, absl::Cord(reason));
  return status;
}

absl::Status WithField(absl::Status status, absl::string_view field) {
  if (!status.ok()) status.SetPayload(kFieldNote, absl::Cord(field));
  return status;
}

bool BlamesField(const absl::Status& status) { return status.GetPayload(kFieldNote).has_value(); }

absl::Status WithRetry(absl::Status status, std::chrono::milliseconds after) {
  if (!status.ok()) status.SetPayload(kRetryNote, absl::Cord(absl::StrCat(after.count())));
  return status;
}

absl::Status FieldError(absl::string_view field, absl::string_view what) {
  return WithReason(WithField(absl::InvalidArgumentError(absl::StrCat(field, " ", what)), field), "INVALID_FIELD");
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status result;
  result.set_code(static_cast<int>(status.code()));
  result.set_message(std::string(status.message()));
  if (status.ok()) return result;

  const std::optional<std::string> field = Note(status, kFieldNote);
  google::rpc::ErrorInfo info;
  info.set_domain(kErrorDomain);
  info.set_reason(Note(status, kReasonNote).value_or(absl::StatusCodeToString(status.code())));
  if (field.has_value()) (*info.mutable_metadata())["field"] = *field;
  AddDetail(info, result);

  if (field.has_value()) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(*field);
    violation->set_description(result.message());
    AddDetail(bad, result);
  }
  if (const std::optional<std::string> retry = Note(status, kRetryNote); retry.has_value()) {
    int64_t milliseconds = 0;
    std::from_chars(retry->data(), retry->data() + retry->size(), milliseconds);
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_seconds(milliseconds / 1000);
    info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(milliseconds % 1000) * 1'000'000);
    AddDetail(info, result);
  }
  return result;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status details = ToRpcStatus(status);
  return grpc::Status(static_cast<grpc::StatusCode>(details.code()), details.message(), details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace blazon::service::rpc
