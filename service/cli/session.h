// Conversations as 'blazon chat' and 'blazon ask' keep them in files: a v1::Chat in JSON.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "blazon/v1/content.pb.h"
#include "blazon/v1/generation.pb.h"

namespace blazon::service::cli {

// kInvalidArgument: no such conversation in it; otherwise as ReadInput.
absl::StatusOr<v1::Chat> ReadSession(const std::filesystem::path& file);

// All or nothing. kUnavailable.
absl::Status WriteSession(const std::filesystem::path& file, const v1::Chat& chat);

v1::Message MakeMessage(v1::Role role, std::string text);
// Its text parts, joined.
std::string TextOf(const v1::Message& message);

// What AskRequest.conversation takes of it: the last messages of user and assistant that it has room for, their text
// alone. Those of more than 8,192 bytes are left out.
google::protobuf::RepeatedPtrField<v1::Message> ConversationOf(const v1::Chat& chat);

}  // namespace blazon::service::cli
