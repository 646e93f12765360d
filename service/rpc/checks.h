// What every request is checked for, whatever it asks.
#pragma once

#include <google/protobuf/message.h>

#include "absl/status/status.h"

namespace blazon::service::rpc {

// kInvalidArgument when `message`, or a message within it, has a field that this server does not know: from a newer
// client, or a mistake. Ignoring it would do something else than was asked for.
absl::Status CheckKnownFields(const google::protobuf::Message& message);

// The errors of the libraries begin with the name of what is to blame. When that is a field of the request, or of its
// GenerationOptions, the status is tagged with it.
absl::Status BlameField(absl::Status status, const google::protobuf::Descriptor& request);

}  // namespace blazon::service::rpc
