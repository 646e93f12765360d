#include "service/training/sft_data.h"

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/checkpoint/quoted.h"

namespace blazon::service {
namespace {

using language::ChatMessage;
using language::TokenId;
using language::TrainingExample;
using nlohmann::json;

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// Nothing but the named members.
absl::Status CheckMembers(const json& object, std::initializer_list<const char*> names) {
  for (const auto& [key, value] : object.items()) {
    if (std::none_of(names.begin(), names.end(), [&](const char* name) { return key == name; }))
      return Wrong(absl::StrCat("member ", Quoted(key), " is unknown here; there are ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Text(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string())
    return Wrong(absl::StrCat("\"", name, "\" is missing or no string"));
  return found->get<std::string>();
}

void Append(const std::vector<TokenId>& tokens, char learned, TrainingExample& example) {
  example.tokens.insert(example.tokens.end(), tokens.begin(), tokens.end());
  example.learned.resize(example.tokens.size(), learned);
}

absl::StatusOr<TrainingExample> FromCompletion(const std::string& prompt, const std::string& completion,
                                               const LoadedLanguageModel& model, const SftDataOptions& options) {
  TrainingExample example;
  const auto prefix = model.tokenizer->prefix();
  Append({prefix.begin(), prefix.end()}, 0, example);
  Append(model.tokenizer->Encode(prompt), 0, example);
  if (example.tokens.empty()) return Wrong("\"prompt\" is empty, and the model puts no token before a text");
  Append(model.tokenizer->Encode(completion), 1, example);
  if (options.end_token) {
    if (model.end_tokens.empty()) return Wrong("the model names no token that ends a text; use --no-end-token");
    Append({model.end_tokens[0]}, 1, example);
  }
  if (example.learned_count() == 0) return Wrong("\"completion\" is empty: there is nothing to learn");
  return example;
}

absl::StatusOr<std::vector<ChatMessage>> Messages(const json& object) {
  const auto found = object.find("messages");
  if (found == object.end() || !found->is_array()) return Wrong("\"messages\" is missing or no list");
  std::vector<ChatMessage> messages;
  for (const json& each : *found) {
    if (!each.is_object()) return Wrong("a message is no object");
    if (absl::Status status = CheckMembers(each, {"role", "content"}); !status.ok()) return status;
    absl::StatusOr<std::string> role = Text(each, "role"), content = Text(each, "content");
    if (!role.ok()) return role.status();
    if (!content.ok()) return content.status();
    messages.push_back({.role = *std::move(role), .content = *std::move(content)});
  }
  return messages;
}

// Where each token begins in the text that they spell, and the text's length behind them.
struct Spelled {
  std::string text;
  std::vector<size_t> begins;
};

Spelled Spell(const std::vector<TokenId>& tokens, const language::Tokenizer& tokenizer) {
  Spelled spelled;
  for (const TokenId token : tokens) {
    spelled.begins.push_back(spelled.text.size());
    spelled.text += tokenizer.TokenBytes(token);
  }
  spelled.begins.push_back(spelled.text.size());
  return spelled;
}

// What the assistant says is told apart in the text, since a token may hold the template's line break and the first
// space of an answer; such a token is learned, as transformers' assistant masks have it.
absl::StatusOr<TrainingExample> FromMessages(const std::vector<ChatMessage>& messages,
                                             const LoadedLanguageModel& model) {
  if (!model.chat_template.ok()) return model.chat_template.status();
  const auto render = [&](size_t count, bool opening) {
    return model.chat_template->Render(absl::MakeConstSpan(messages).first(count), opening, *model.tokenizer);
  };
  const absl::StatusOr<std::vector<TokenId>> all = render(messages.size(), false);
  if (!all.ok()) return all.status();
  const Spelled whole = Spell(*all, *model.tokenizer);
  TrainingExample example;
  Append(*all, 0, example);
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != "assistant") continue;
    if (i == 0) return Wrong("the first message is the assistant's; there is nothing that it answers");
    const absl::StatusOr<std::vector<TokenId>> before = render(i, true), through = render(i + 1, false);
    if (!before.ok()) return before.status();
    if (!through.ok()) return through.status();
    const Spelled opening = Spell(*before, *model.tokenizer), turn = Spell(*through, *model.tokenizer);
    if (!whole.text.starts_with(turn.text) || !turn.text.starts_with(opening.text)) {
      return absl::UnimplementedError(absl::StrCat(
          "the chat template writes message ", i + 1,
          " in another way when messages follow it, so that what the assistant says cannot be told apart; give "
          "conversations with one answer, or \"prompt\" and \"completion\""));
    }
    // It ends with the token that ends its turn; a line break behind that is the template's.
    const size_t begin = opening.text.size();
    size_t end = turn.text.size();
    for (size_t j = through->size(); j-- > 0 && turn.begins[j] >= begin;) {
      const auto& ends = model.end_tokens;
      if (std::find(ends.begin(), ends.end(), (*through)[j]) != ends.end()) end = turn.begins[j + 1];
    }
    for (size_t j = 0; j < all->size(); ++j) {
      if (whole.begins[j + 1] > begin && whole.begins[j] < end) example.learned[j] = 1;
    }
  }
  if (example.learned_count() == 0) return Wrong("no message is the assistant's: there is nothing to learn");
  return example;
}

absl::StatusOr<std::vector<TrainingExample>> Texts(const json& value, const LoadedLanguageModel& model,
                                                   const SftDataOptions& options) {
  const bool chat = value.contains("messages"), branched = value.contains("branches");
  if (chat == value.contains("prompt")) return Wrong("it has to have either \"prompt\" or \"messages\"");
  const auto members = chat       ? CheckMembers(value, {"messages", "branches"})
                       : branched ? CheckMembers(value, {"prompt", "branches"})
                                  : CheckMembers(value, {"prompt", "completion"});
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
      absl::StatusOr<std::vector<ChatMessage>> messages = Messages(value);
      if (!messages.ok()) return messages.status();
      if (branched) {
        if (absl::Status status = CheckMembers(tail, {"messages"}); !status.ok()) return status;
        const absl::StatusOr<std::vector<ChatMessage>> more = Messages(tail);
        if (!more.ok()) return more.status();
        messages->insert(messages->end(), more->begin(), more->end());
      }
      text = FromMessages(*messages, model);
    } else {
      absl::StatusOr<std::string> prompt = Text(value, "prompt");
      if (!prompt.ok()) return prompt.status();
      if (branched) {
        if (absl::Status status = CheckMembers(tail, {"prompt", "completion"}); !status.ok()) return status;
        const absl::StatusOr<std::string> more = Text(tail, "prompt");
        if (!more.ok()) return more.status();
        *prompt += *more;
      }
      const absl::StatusOr<std::string> completion = Text(branched ? tail : value, "completion");
      if (!completion.ok()) return completion.status();
      text = FromCompletion(*prompt, *completion, model, options);
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
  for (const TokenId token : record.joined.tokens) {
    if (token >= model.model->config().vocabulary_size)
      return Wrong(absl::StrCat("token ", token, " has no row in the model's embedding"));
  }
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
  for (const std::filesystem::path& file : files) {
    std::ifstream stream(file);
    if (!stream) return absl::NotFoundError(absl::StrCat(file.string(), " could not be read"));
    int64_t number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      absl::StatusOr<SftRecord> record = Parse(line, model, options);
      absl::Status status = record.status();
      if (status.ok()) {
        status = CheckLength(*record, model, options);
        if (!status.ok() && options.skip_long) {
          ++data.skipped;
          continue;
        }
      }
      if (!status.ok()) {
        return absl::Status(status.code(), absl::StrCat(file.string(), ":", number, ": ", status.message()));
      }
      data.texts += std::ssize(record->texts);
      data.tokens += std::ssize(record->joined.tokens);
      data.learned += record->joined.learned_count();
      for (const TrainingExample& text : record->texts) data.separate += std::ssize(text.tokens);
      data.records.push_back(*std::move(record));
    }
    if (stream.bad()) return absl::DataLossError(absl::StrCat(file.string(), " could not be read to its end"));
  }
  if (data.records.empty()) {
    return Wrong(absl::StrCat("there is no record to learn from",
                              data.skipped > 0 ? absl::StrCat(": all ", data.skipped, " are too long") : ""));
  }
  return data;
}

}  // namespace blazon::service
