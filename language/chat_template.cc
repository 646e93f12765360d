#include "language/chat_template.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/jinja/evaluator.h"
#include "language/jinja/parser.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

using jinja::Dict;
using jinja::DictPtr;
using jinja::None;
using jinja::Text;
using jinja::Value;

constexpr std::string_view kRoles[] = {"system", "user", "assistant", "tool"};

Value Data(std::string_view text) {
  return IsValidUtf8(text) ? Text(text, /*is_data=*/true) : Text(ReplaceInvalidUtf8(text), /*is_data=*/true);
}

Value ToValue(Dict dict) { return DictPtr(std::make_shared<const Dict>(std::move(dict))); }

Value PartValue(const ChatPart& part) {
  Dict dict;
  const bool is_image = part.kind == ChatPart::Kind::kImage;
  dict.Set(Value::String("type"), Value::String(is_image ? "image" : "text"));
  if (!is_image) dict.Set(Value::String("text"), Data(part.text));
  return ToValue(std::move(dict));
}

// The parts as one text.
Text Joined(const std::vector<ChatPart>& parts, std::string_view image_text) {
  Text text;
  for (const ChatPart& part : parts) {
    const bool is_image = part.kind == ChatPart::Kind::kImage;
    text.Append(is_image ? image_text : ReplaceInvalidUtf8(part.text), /*is_data=*/!is_image);
  }
  return text;
}

Value MessageValue(const ChatMessage& message, bool reads_parts, std::string_view image_text) {
  Dict dict;
  dict.Set(Value::String("role"), Value::String(message.role));
  if (!message.parts.empty() && !image_text.empty()) {
    dict.Set(Value::String("content"), Joined(message.parts, image_text));
  } else if (message.parts.empty() && !reads_parts) {
    dict.Set(Value::String("content"), Data(message.content));
  } else {
    std::vector<Value> parts;
    for (const ChatPart& part : message.parts) parts.push_back(PartValue(part));
    if (message.parts.empty()) parts.push_back(PartValue({ChatPart::Kind::kText, message.content}));
    dict.Set(Value::String("content"), Value::List(std::move(parts)));
  }
  return ToValue(std::move(dict));
}

absl::Status CheckMessages(absl::Span<const ChatMessage> messages) {
  if (messages.empty()) return absl::InvalidArgumentError("messages: there must be at least one");
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (std::find(std::begin(kRoles), std::end(kRoles), message.role) == std::end(kRoles)) {
      return absl::InvalidArgumentError(absl::StrCat("messages[", i, "].role is \"",
                                                     absl::Utf8SafeCHexEscape(message.role.substr(0, 40)),
                                                     "\"; it must be system, user, assistant or tool"));
    }
    if (!message.parts.empty() && !message.content.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "] has both content and parts; give the text as one of the parts"));
    }
  }
  return absl::OkStatus();
}

bool HasData(const absl::StatusOr<std::vector<ChatSegment>>& segments) {
  return segments.ok() && std::any_of(segments->begin(), segments->end(), [](const auto& s) { return s.is_data; });
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Block block;
};

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string_view jinja, ChatTemplateTokens tokens) {
  absl::StatusOr<jinja::Block> block = jinja::Parse(jinja);
  if (!block.ok()) return block.status();
  ChatTemplate chat_template;
  chat_template.program_ = std::make_shared<const Program>(Program{*std::move(block)});
  chat_template.tokens_ = std::move(tokens);
  const ChatMessage probe = {"user", "probe"};
  if (!HasData(chat_template.RenderSegments({probe}))) {
    chat_template.reads_parts_ = true;
    chat_template.reads_parts_ = HasData(chat_template.RenderSegments({probe}));
  }
  return chat_template;
}

absl::StatusOr<std::vector<ChatSegment>> ChatTemplate::RenderSegments(absl::Span<const ChatMessage> messages,
                                                                      const ChatRenderOptions& options) const {
  if (absl::Status status = CheckMessages(messages); !status.ok()) return status;
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    list.push_back(MessageValue(message, reads_parts_, options.image_text));
  }
  // What transformers gives every template: special tokens and variables first, which these four do not give way to.
  Dict variables;
  for (const auto& [name, spelling] : tokens_) variables.Set(Value::String(name), Value::String(spelling));
  for (const auto& [name, value] : options.variables) {
    const std::string* text = std::get_if<std::string>(&value);
    const bool* truth = std::get_if<bool>(&value);
    variables.Set(Value::String(name), text ? Data(*text) : truth ? Value(*truth) : Value(std::get<int64_t>(value)));
  }
  variables.Set(Value::String("messages"), Value::List(std::move(list)));
  variables.Set(Value::String("tools"), None{});
  variables.Set(Value::String("documents"), None{});
  variables.Set(Value::String("add_generation_prompt"), options.add_generation_prompt);
  const absl::StatusOr<Text> text = jinja::Render(program_->block, variables, {.limits = {}, .now = options.now});
  if (!text.ok()) return text.status();
  std::vector<ChatSegment> segments;
  size_t begin = 0;
  for (const Text::Run& run : text->runs()) {
    segments.push_back({text->bytes().substr(begin, run.end - begin), run.is_data});
    begin = run.end;
  }
  return segments;
}

absl::StatusOr<std::vector<TokenId>> ChatTemplate::Render(absl::Span<const ChatMessage> messages,
                                                          bool add_generation_prompt,
                                                          const Tokenizer& tokenizer) const {
  return Render(messages, ChatRenderOptions{.add_generation_prompt = add_generation_prompt}, tokenizer);
}

absl::StatusOr<std::vector<TokenId>> ChatTemplate::Render(absl::Span<const ChatMessage> messages,
                                                          const ChatRenderOptions& options,
                                                          const Tokenizer& tokenizer) const {
  absl::StatusOr<std::vector<ChatSegment>> segments = RenderSegments(messages, options);
  if (!segments.ok()) return segments.status();
  return EncodeSegments(*segments, tokenizer);
}

absl::StatusOr<std::vector<TokenId>> ChatTemplate::EncodeSegments(absl::Span<const ChatSegment> segments,
                                                                  const Tokenizer& tokenizer) const {
  for (const auto& [name, spelling] : tokens_) {
    const std::optional<TokenId> id = tokenizer.FindToken(spelling);
    if (!id || !tokenizer.IsSpecial(*id)) {
      return absl::FailedPreconditionError(absl::StrCat("the chat template's ", name, " \"",
                                                        absl::Utf8SafeCHexEscape(spelling),
                                                        "\" is no control token of the tokenizer"));
    }
  }
  return tokenizer.EncodeSegments(segments);
}

std::optional<TokenId> ChatTemplate::EndOfTurn(const Tokenizer& tokenizer) const {
  const absl::StatusOr<std::vector<ChatSegment>> segments =
      RenderSegments({{"user", "question"}, {"assistant", "answer"}}, {.add_generation_prompt = false});
  if (!segments.ok() || segments->size() < 2 || segments->back().is_data) return std::nullopt;
  if ((*segments)[segments->size() - 2].text != "answer") return std::nullopt;
  for (const TokenId id : tokenizer.EncodeWithSpecials(segments->back().text)) {
    if (tokenizer.IsSpecial(id)) return id;
  }
  return std::nullopt;
}

}  // namespace blazon::language
