#include "language/chat_template.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

// The ChatML templates as checkpoints spell them. A default system message stands between opening and closing.
constexpr std::string_view kDefaultSystemOpening =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n";
constexpr std::string_view kDefaultSystemClosing = "<|im_end|>\n' }}{% endif %}";
constexpr std::string_view kLoop = "{% for message in messages %}";
constexpr std::string_view kTurns =
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

constexpr std::string_view kStart = "<|im_start|>";
constexpr std::string_view kEnd = "<|im_end|>";
constexpr std::string_view kRoles[] = {"system", "user", "assistant"};

// Line breaks are written as such or as the escape \n; both mean the same inside Jinja's quotes.
std::string WithLineBreaks(std::string_view jinja) {
  std::string text;
  for (size_t i = 0; i < jinja.size(); ++i) {
    if (jinja.substr(i).starts_with("\\n")) {
      text += '\n';
      ++i;
    } else {
      text += jinja[i];
    }
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Recognise(std::string_view jinja) {
  const std::string text = WithLineBreaks(jinja);
  const std::string_view view = text;
  ChatTemplate chat_template;
  if (view == absl::StrCat(std::string(kLoop), std::string(kTurns))) return chat_template;
  const std::string ending = absl::StrCat(std::string(kDefaultSystemClosing), std::string(kTurns));
  if (view.starts_with(kDefaultSystemOpening) && view.ends_with(ending) &&
      view.size() >= kDefaultSystemOpening.size() + ending.size()) {
    const std::string_view message =
        view.substr(kDefaultSystemOpening.size(), view.size() - kDefaultSystemOpening.size() - ending.size());
    // Quotes, backslashes and control tokens would make it something else than a plain string.
    if (message.find_first_of("'\\{}<>") == std::string_view::npos) {
      chat_template.default_system_ = std::string(message);
      return chat_template;
    }
  }
  constexpr size_t kShown = 120;
  return absl::UnimplementedError(absl::StrCat(
      "the model's chat template is not one that Blazon knows (ChatML as SmolLM2 writes it); it begins: \"",
      absl::Utf8SafeCHexEscape(text.substr(0, kShown)), "\". The model can still complete a raw prompt"));
}

absl::StatusOr<std::vector<TokenId>> ChatTemplate::Render(absl::Span<const ChatMessage> messages,
                                                          bool add_generation_prompt,
                                                          const Tokenizer& tokenizer) const {
  if (messages.empty()) return absl::InvalidArgumentError("messages: there must be at least one");
  const std::optional<TokenId> start = tokenizer.FindToken(kStart), end = tokenizer.FindToken(kEnd);
  if (!start || !end || !tokenizer.IsSpecial(*start) || !tokenizer.IsSpecial(*end)) {
    return absl::FailedPreconditionError(
        "the chat template needs the control tokens <|im_start|> and <|im_end|>, which the tokenizer lacks");
  }
  std::vector<TokenId> ids;
  const auto append = [&](const std::string& text) {
    const std::vector<TokenId> plain = tokenizer.Encode(text);
    ids.insert(ids.end(), plain.begin(), plain.end());
  };
  const auto append_turn = [&](const std::string& role, const std::string& content) {
    ids.push_back(*start);
    append(absl::StrCat(role, "\n", content));
    ids.push_back(*end);
    append("\n");
  };
  if (default_system_ && messages.front().role != "system") append_turn("system", *default_system_);
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (std::find(std::begin(kRoles), std::end(kRoles), message.role) == std::end(kRoles)) {
      return absl::InvalidArgumentError(absl::StrCat("messages[", i, "].role is \"",
                                                     absl::Utf8SafeCHexEscape(message.role.substr(0, 40)),
                                                     "\"; it must be system, user or assistant"));
    }
    append_turn(message.role, message.content);
  }
  if (add_generation_prompt) {
    ids.push_back(*start);
    append("assistant\n");
  }
  return ids;
}

}  // namespace blazon::language
