#include "service/training/sft_data.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/training/example_texts.h"

namespace blazon::service {
namespace {

using language::ChatMessage;
using language::TrainingExample;
using nlohmann::json;

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<std::vector<TrainingExample>> Texts(const json& value, const LoadedLanguageModel& model,
                                                   const SftDataOptions& options) {
  const bool chat = value.contains("messages"), branched = value.contains("branches");
  if (chat == value.contains("prompt")) return Wrong("it has to have either \"prompt\" or \"messages\"");
  const auto members = chat       ? CheckMembers(value, {"messages", "branches"})
                       : branched ? CheckMembers(value, {"prompt", "branches"})
                                  : CheckMembers(value, {"prompt", "completion", "reasoning"});
  if (!members.ok()) return members;
  std::vector<json> tails = {json::object()};
  if (branched) {
    if (!value["branches"].is_array() || value["branches"].empty()) return Wrong("\"branches\" is no list, or empty");
    tails = value["branches"].get<std::vector<json>>();
  }
  std::vector<TrainingExample> texts;
  for (const json& tail : tails) {
    if (!tail.is_object()) return Wrong("a branch is no object");
    absl::StatusOr<TrainingExample> text;
    if (chat) {
      absl::StatusOr<std::vector<ChatMessage>> messages = MessagesMember(value);
      if (!messages.ok()) return messages.status();
      if (branched) {
        if (absl::Status status = CheckMembers(tail, {"messages"}); !status.ok()) return status;
        const absl::StatusOr<std::vector<ChatMessage>> more = MessagesMember(tail);
        if (!more.ok()) return more.status();
        messages->insert(messages->end(), more->begin(), more->end());
      }
      text = ConversationExample(*messages, model);
    } else {
      absl::StatusOr<std::string> prompt = TextMember(value, "prompt");
      if (!prompt.ok()) return prompt.status();
      if (branched) {
        if (absl::Status status = CheckMembers(tail, {"prompt", "completion", "reasoning"}); !status.ok())
          return status;
        const absl::StatusOr<std::string> more = TextMember(tail, "prompt");
        if (!more.ok()) return more.status();
        *prompt += *more;
      }
      const absl::StatusOr<std::string> completion = CompletionMember(branched ? tail : value);
      if (!completion.ok()) return completion.status();
      text = CompletionExample(*prompt, *completion, model, options.end_token);
    }
    if (!text.ok()) return text.status();
    texts.push_back(*std::move(text));
  }
  return texts;
}

// The record, whatever its length.
absl::StatusOr<SftRecord> Parse(std::string_view line, const LoadedLanguageModel& model,
                                const SftDataOptions& options) {
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return Wrong("the line is no JSON object in UTF-8");
  absl::StatusOr<std::vector<TrainingExample>> texts = Texts(value, model, options);
  if (!texts.ok()) return texts.status();
  if (absl::Status status = language::CheckCommonTokens(*texts); !status.ok()) return status;
  SftRecord record{.texts = *std::move(texts), .joined = {}};
  record.joined = language::JoinTexts(record.texts);
  if (absl::Status status = CheckRows(record.joined.tokens, model); !status.ok()) return status;
  return record;
}

absl::Status CheckLength(const SftRecord& record, const LoadedLanguageModel& model, const SftDataOptions& options) {
  const int64_t context = model.model->config().context_length;
  for (const TrainingExample& text : record.texts) {
    if (std::ssize(text.tokens) > context) {
      return Wrong(absl::StrCat("the text has ", text.tokens.size(), " tokens; the model's context has ", context));
    }
  }
  if (std::ssize(record.joined.tokens) <= options.max_tokens) return absl::OkStatus();
  return Wrong(absl::StrCat("the record has ", record.joined.tokens.size(), " tokens, more than --row-tokens ",
                            options.max_tokens, "; raise it, or leave such records out with --skip-long"));
}

}  // namespace

absl::StatusOr<SftRecord> ParseSftRecord(std::string_view line, const LoadedLanguageModel& model,
                                         const SftDataOptions& options) {
  absl::StatusOr<SftRecord> record = Parse(line, model, options);
  if (!record.ok()) return record.status();
  if (absl::Status status = CheckLength(*record, model, options); !status.ok()) return status;
  return record;
}

absl::StatusOr<SftData> ReadSftData(const std::vector<std::filesystem::path>& files, const LoadedLanguageModel& model,
                                    const SftDataOptions& options) {
  SftData data;
  const absl::Status read = ForEachLine(files, [&](std::string_view line) -> absl::Status {
    absl::StatusOr<SftRecord> record = Parse(line, model, options);
    if (!record.ok()) return record.status();
    if (absl::Status status = CheckLength(*record, model, options); !status.ok()) {
      if (!options.skip_long) return status;
      ++data.skipped;
      return absl::OkStatus();
    }
    data.texts += std::ssize(record->texts);
    data.tokens += std::ssize(record->joined.tokens);
    data.learned += record->joined.learned_count();
    for (const TrainingExample& text : record->texts) data.separate += std::ssize(text.tokens);
    data.records.push_back(*std::move(record));
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  if (data.records.empty()) {
    return Wrong(absl::StrCat("there is no record to learn from",
                              data.skipped > 0 ? absl::StrCat(": all ", data.skipped, " are too long") : ""));
  }
  return data;
}

std::vector<std::string> SftWords(const std::vector<std::filesystem::path>& files) {
  std::vector<std::string> texts;
  // What is said in an object without its branches.
  const auto words = [](const json& object) {
    std::string text;
    const auto add = [&](const json& from, const char* name) {
      const auto found = from.find(name);
      if (found != from.end() && found->is_string()) absl::StrAppend(&text, found->get<std::string>(), "\n");
    };
    add(object, "prompt");
    add(object, "completion");
    const auto messages = object.find("messages");
    if (messages == object.end() || !messages->is_array()) return text;
    for (const json& message : *messages) {
      if (message.is_object() && message.value("role", json()) != "system") add(message, "content");
    }
    return text;
  };
  for (const std::filesystem::path& file : files) {
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) {
      const json record = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!record.is_object()) continue;
      texts.push_back(words(record));
      const auto branches = record.find("branches");
      if (branches == record.end() || !branches->is_array()) continue;
      for (const json& branch : *branches) {
        if (branch.is_object()) texts.push_back(words(branch));
      }
    }
  }
  return texts;
}

}  // namespace blazon::service
