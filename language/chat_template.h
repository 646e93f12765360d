// A conversation as the prompt that a chat model was trained on.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

struct ChatMessage {
  std::string role;     // "system", "user" or "assistant"
  std::string content;  // plain data: control tokens spelled out in it stay text
};

// ChatML ("<|im_start|>role\ncontent<|im_end|>\n"), with an optional default system message.
// Thread safety: const; Render may be called from any thread.
class ChatTemplate {
 public:
  // Checkpoints carry their template as a Jinja program. Blazon does not run it; it knows the text of some.
  // kUnimplemented: an unknown one; the message shows how it begins.
  static absl::StatusOr<ChatTemplate> Recognise(std::string_view jinja);

  // The prompt for `messages`; with `add_generation_prompt`, followed by the opening of the assistant's turn.
  // Control tokens come from the template alone: roles and contents are encoded as plain data.
  // kInvalidArgument: no messages, or an unknown role. kFailedPrecondition: `tokenizer` lacks a control token of the
  // template.
  absl::StatusOr<std::vector<TokenId>> Render(absl::Span<const ChatMessage> messages, bool add_generation_prompt,
                                              const Tokenizer& tokenizer) const;

  // What stands in for a missing system message; nullopt: nothing does.
  const std::optional<std::string>& default_system() const { return default_system_; }
  // The token that ends a turn: generation stops at it.
  std::string_view end_of_turn() const { return "<|im_end|>"; }

 private:
  ChatTemplate() = default;
  std::optional<std::string> default_system_;
};

}  // namespace blazon::language
