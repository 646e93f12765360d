#include "service/training/example_texts.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/reasoning.h"
#include "service/checkpoint/quoted.h"

namespace blazon::service {
namespace {

using language::ChatMessage;
using language::TokenId;
using language::TrainingExample;
using nlohmann::json;

absl::Status Unfit(const std::string& what) { return absl::InvalidArgumentError(what); }

void Append(const std::vector<TokenId>& tokens, char learned, TrainingExample& example) {
  example.tokens.insert(example.tokens.end(), tokens.begin(), tokens.end());
  example.learned.resize(example.tokens.size(), learned);
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

}  // namespace

absl::Status CheckMembers(const json& object, std::initializer_list<const char*> names) {
  for (const auto& [key, value] : object.items()) {
    if (std::none_of(names.begin(), names.end(), [&](const char* name) { return key == name; }))
      return Unfit(absl::StrCat("member ", Quoted(key), " is unknown here; there are ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TextMember(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string())
    return Unfit(absl::StrCat("\"", name, "\" is missing or no string"));
  return found->get<std::string>();
}

absl::StatusOr<std::string> CompletionMember(const json& object, const char* name) {
  absl::StatusOr<std::string> completion = TextMember(object, name);
  if (!completion.ok() || !object.contains("reasoning")) return completion;
  const absl::StatusOr<std::string> reasoning = TextMember(object, "reasoning");
  if (!reasoning.ok()) return reasoning.status();
  if (reasoning->find(language::kReasoningEnd) != std::string::npos)
    return Unfit(absl::StrCat("\"reasoning\" holds ", language::kReasoningEnd, ", which ends it"));
  return language::WithReasoning(*reasoning, *completion);
}

absl::StatusOr<std::vector<ChatMessage>> MessagesMember(const json& object) {
  const auto found = object.find("messages");
  if (found == object.end() || !found->is_array()) return Unfit("\"messages\" is missing or no list");
  std::vector<ChatMessage> messages;
  for (const json& each : *found) {
    if (!each.is_object()) return Unfit("a message is no object");
    if (absl::Status status = CheckMembers(each, {"role", "content", "reasoning"}); !status.ok()) return status;
    absl::StatusOr<std::string> role = TextMember(each, "role"), content = CompletionMember(each, "content");
    if (!role.ok()) return role.status();
    if (!content.ok()) return content.status();
    if (each.contains("reasoning") && *role != "assistant")
      return Unfit(absl::StrCat("a message of ", Quoted(*role), " has \"reasoning\"; only the assistant's do"));
    messages.push_back({.role = *std::move(role), .content = *std::move(content)});
  }
  return messages;
}

absl::StatusOr<std::vector<TokenId>> PromptTokens(const json& object, const LoadedLanguageModel& model) {
  if (object.contains("prompt") == object.contains("messages"))
    return Unfit("it has to have either \"prompt\" or \"messages\"");
  std::vector<TokenId> tokens;
  if (object.contains("messages")) {
    if (!model.chat_template.ok()) return model.chat_template.status();
    const absl::StatusOr<std::vector<ChatMessage>> messages = MessagesMember(object);
    if (!messages.ok()) return messages.status();
    auto rendered = model.chat_template->Render(*messages, true, *model.tokenizer);
    if (!rendered.ok()) return rendered.status();
    tokens = *std::move(rendered);
  } else {
    const absl::StatusOr<std::string> prompt = TextMember(object, "prompt");
    if (!prompt.ok()) return prompt.status();
    tokens.assign(model.tokenizer->prefix().begin(), model.tokenizer->prefix().end());
    const std::vector<TokenId> text = model.tokenizer->Encode(*prompt);
    tokens.insert(tokens.end(), text.begin(), text.end());
    if (tokens.empty()) return Unfit("\"prompt\" is empty, and the model puts no token before a text");
  }
  if (absl::Status status = CheckRows(tokens, model); !status.ok()) return status;
  return tokens;
}

absl::StatusOr<TrainingExample> CompletionExample(const std::string& prompt, const std::string& completion,
                                                  const LoadedLanguageModel& model, bool end_token) {
  TrainingExample example;
  const auto prefix = model.tokenizer->prefix();
  Append({prefix.begin(), prefix.end()}, 0, example);
  Append(model.tokenizer->Encode(prompt), 0, example);
  if (example.tokens.empty()) return Unfit("\"prompt\" is empty, and the model puts no token before a text");
  Append(model.tokenizer->Encode(completion), 1, example);
  if (end_token) {
    if (model.end_tokens.empty()) return Unfit("the model names no token that ends a text; use --no-end-token");
    Append({model.end_tokens[0]}, 1, example);
  }
  if (example.learned_count() == 0) return Unfit("\"completion\" is empty: there is nothing to learn");
  return example;
}

// What the assistant says is told apart in the text, since a token may hold the template's line break and the first
// space of an answer; such a token is learned, as transformers' assistant masks have it.
absl::StatusOr<TrainingExample> ConversationExample(const std::vector<ChatMessage>& messages,
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
    if (i == 0) return Unfit("the first message is the assistant's; there is nothing that it answers");
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
  if (example.learned_count() == 0) return Unfit("no message is the assistant's: there is nothing to learn");
  return example;
}

absl::Status CheckRows(const std::vector<TokenId>& tokens, const LoadedLanguageModel& model) {
  for (const TokenId token : tokens) {
    if (token >= model.model->config().vocabulary_size)
      return Unfit(absl::StrCat("token ", token, " has no row in the model's embedding"));
  }
  return absl::OkStatus();
}

absl::Status ForEachLine(const std::vector<std::filesystem::path>& files,
                         const std::function<absl::Status(std::string_view line)>& take) {
  for (const std::filesystem::path& file : files) {
    std::ifstream stream(file);
    if (!stream) return absl::NotFoundError(absl::StrCat(file.string(), " could not be read"));
    int64_t number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      if (absl::Status status = take(line); !status.ok())
        return absl::Status(status.code(), absl::StrCat(file.string(), ":", number, ": ", status.message()));
    }
    if (stream.bad()) return absl::DataLossError(absl::StrCat(file.string(), " could not be read to its end"));
  }
  return absl::OkStatus();
}

}  // namespace blazon::service
