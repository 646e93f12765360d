#include "service/rpc/checks.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "blazon/v1/generation.pb.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// `path`: of `message` within the request, with a trailing dot; empty for the request itself.
absl::Status CheckWithin(const Message& message, const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  if (const auto& unknown = reflection.GetUnknownFields(message); !unknown.empty()) {
    const std::string where = path.empty() ? std::string("the request") : path.substr(0, path.size() - 1);
    return WithReason(
        WithField(absl::InvalidArgumentError(absl::StrCat(where, " has field number ", unknown.field(0).number(),
                                                          ", which this server does not know; ",
                                                          "leave it out, or use a server that has it")),
                  absl::StrCat(path, unknown.field(0).number())),
        "UNKNOWN_FIELD");
  }
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (!field->is_repeated()) {
      absl::Status status = CheckWithin(reflection.GetMessage(message, field), absl::StrCat(path, field->name(), "."));
      if (!status.ok()) return status;
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      absl::Status status = CheckWithin(reflection.GetRepeatedMessage(message, field, i),
                                        absl::StrCat(path, field->name(), "[", i, "]."));
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckKnownFields(const Message& message) { return CheckWithin(message, ""); }

absl::Status BlameField(absl::Status status, const Descriptor& request) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  const absl::string_view message = status.message();
  const std::string name(message.substr(0, message.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_")));
  if (BlamesField(status)) return status;  // by someone who knew better
  if (request.FindFieldByName(name) != nullptr) return WithReason(WithField(std::move(status), name), "INVALID_FIELD");
  if (v1::GenerationOptions::descriptor()->FindFieldByName(name) != nullptr) {
    return WithReason(WithField(std::move(status), absl::StrCat("options.", name)), "INVALID_FIELD");
  }
  return status;
}

}  // namespace blazon::service::rpc
