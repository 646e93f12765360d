#include "service/cli/session.h"

#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/cli/input.h"

namespace blazon::service::cli {
namespace {

// AskRequest.conversation's limits.
constexpr int kMaxConversation = 64;
constexpr size_t kMaxMessageBytes = 8192;

}  // namespace

absl::StatusOr<v1::Chat> ReadSession(const std::filesystem::path& file) {
  absl::StatusOr<std::string> text = ReadInput(file);
  if (!text.ok()) return text.status();
  v1::Chat chat;
  if (!google::protobuf::util::JsonStringToMessage(*text, &chat).ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), " is no conversation that 'blazon chat' has saved"));
  }
  return chat;
}

// Beside it, then renamed.
absl::Status WriteSession(const std::filesystem::path& file, const v1::Chat& chat) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  if (!google::protobuf::util::MessageToJsonString(chat, &text, options).ok()) {
    return absl::InternalError("the conversation cannot be written as JSON");
  }
  const std::filesystem::path temporary = absl::StrCat(file.string(), ".tmp-", getpid());
  std::ofstream stream(temporary, std::ios::binary);
  stream << text;
  stream.close();
  std::error_code error;
  if (stream) std::filesystem::rename(temporary, file, error);
  if (stream && !error) return absl::OkStatus();
  std::filesystem::remove(temporary, error);
  return absl::UnavailableError(absl::StrCat("the conversation could not be written to ", file.string()));
}

v1::Message MakeMessage(v1::Role role, std::string text) {
  v1::Message message;
  message.set_role(role);
  message.add_parts()->set_text(std::move(text));
  return message;
}

std::string TextOf(const v1::Message& message) {
  std::string text;
  for (const v1::Part& part : message.parts()) text += part.text();
  return text;
}

google::protobuf::RepeatedPtrField<v1::Message> ConversationOf(const v1::Chat& chat) {
  google::protobuf::RepeatedPtrField<v1::Message> messages;
  for (const v1::Message& message : chat.messages()) {
    std::string text = TextOf(message);
    if (message.role() == v1::ROLE_SYSTEM || text.empty() || text.size() > kMaxMessageBytes) continue;
    *messages.Add() = MakeMessage(message.role(), std::move(text));
  }
  if (messages.size() > kMaxConversation) messages.DeleteSubrange(0, messages.size() - kMaxConversation);
  return messages;
}

}  // namespace blazon::service::cli
