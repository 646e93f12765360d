// What records of JSON Lines have in common: their members, and texts that a language model learns from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/chat_template.h"
#include "language/training/training_example.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {

// kInvalidArgument: the object has another member than those named.
absl::Status CheckMembers(const nlohmann::json& object, std::initializer_list<const char*> names);

// kInvalidArgument: it is missing or no string.
absl::StatusOr<std::string> TextMember(const nlohmann::json& object, const char* name);

// Of "messages": objects with "role" and "content", and one of the assistant's perhaps with "reasoning", which then
// stands before its content (language/reasoning.h).
absl::StatusOr<std::vector<language::ChatMessage>> MessagesMember(const nlohmann::json& object);

// What a record's "completion" stands for: behind its "reasoning", where it has one.
absl::StatusOr<std::string> CompletionMember(const nlohmann::json& object, const char* name = "completion");

// What the model is given: "prompt" as it stands, behind what the model puts before a text; or "messages" by its chat
// template, with the opening of the assistant's turn. kInvalidArgument: neither or both, nothing to go on from, or a
// token that the model has no row for. kFailedPrecondition: the model has no chat template.
absl::StatusOr<std::vector<language::TokenId>> PromptTokens(const nlohmann::json& object,
                                                            const LoadedLanguageModel& model);

// The prompt, then the completion, which is learned, with the token that ends texts when `end_token` is set.
absl::StatusOr<language::TrainingExample> CompletionExample(const std::string& prompt, const std::string& completion,
                                                            const LoadedLanguageModel& model, bool end_token);

// A conversation by the model's chat template; the assistant's turns are learned, with the token that ends each.
absl::StatusOr<language::TrainingExample> ConversationExample(const std::vector<language::ChatMessage>& messages,
                                                              const LoadedLanguageModel& model);

// kInvalidArgument: a token that the model has no row for.
absl::Status CheckRows(const std::vector<language::TokenId>& tokens, const LoadedLanguageModel& model);

// Hands `take` each line of the files that is not empty, in order. An error, its own or that of a file that cannot be
// read, begins with "FILE:LINE: " or names the file.
absl::Status ForEachLine(const std::vector<std::filesystem::path>& files,
                         const std::function<absl::Status(std::string_view line)>& take);

}  // namespace blazon::service
