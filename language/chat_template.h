// A conversation as the prompt that a chat model was trained on.
//
// Checkpoints carry their prompt format as a Jinja program. It is run as transformers' apply_chat_template runs it
// (jinja2 with trim_blocks and lstrip_blocks, loop controls, raise_exception, strftime_now, and tojson that leaves
// characters as they are); what Blazon cannot run just so is refused, never approximated (language/jinja/parser.h).
//
// Text of users can never act as a control token: every byte that the program writes is known to be template text or
// data, through whatever filters and methods it went (language/jinja/text.h), and control tokens are recognised in
// template text alone (Tokenizer::EncodeSegments). Data are contents, texts of parts and string variables; roles are
// template text, since Render admits four words only and some templates build a control token of them ("<|user|>").
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

struct ChatPart {
  enum class Kind { kText, kImage };
  Kind kind = Kind::kText;
  std::string text = {};  // of a text
};

struct ChatMessage {
  std::string role;                  // "system", "user", "assistant" or "tool"
  std::string content;               // plain data: control tokens spelled out in it stay text
  std::vector<ChatPart> parts = {};  // when not empty, stands instead of `content`, which must then be empty
};

// Names that templates know special tokens by, and their spelling: {"bos_token", "<s>"}. Template text.
using ChatTemplateTokens = std::vector<std::pair<std::string, std::string>>;

using ChatSegment = TextSegment;

struct ChatRenderOptions {
  bool add_generation_prompt = true;
  // Further variables of the template, such as enable_thinking. Strings are data.
  std::vector<std::pair<std::string, std::variant<bool, int64_t, std::string>>> variables = {};
  // Local time for strftime_now; nullopt: now.
  std::optional<std::tm> now = {};
  // For templates that take the content of a message as one text and no parts: the parts of a message become one text,
  // in which this, as template text, stands for each image. Empty: templates get the parts.
  std::string image_text = {};
};

// Thread safety: const; every method may be called from any thread. Copies share the parsed program.
class ChatTemplate {
 public:
  // kInvalidArgument: `jinja` is no valid template. kUnimplemented: it uses what Blazon does not evaluate. The message
  // names the construct, line and column.
  static absl::StatusOr<ChatTemplate> Parse(std::string_view jinja, ChatTemplateTokens tokens);

  // The prompt for `messages`; with add_generation_prompt, followed by the opening of the assistant's turn. Between two
  // control tokens, template text and data are encoded in one piece, as transformers encodes the whole text; so the ids
  // are transformers' wherever no control token is spelled out in the data.
  // kInvalidArgument: no messages, an unknown role, both content and parts, or the template raises an exception (the
  // message is the template's). kFailedPrecondition: `tokenizer` lacks one of the special tokens given to Parse.
  // kUnimplemented, kResourceExhausted: as language/jinja/evaluator.h says.
  absl::StatusOr<std::vector<TokenId>> Render(absl::Span<const ChatMessage> messages, bool add_generation_prompt,
                                              const Tokenizer& tokenizer) const;
  absl::StatusOr<std::vector<TokenId>> Render(absl::Span<const ChatMessage> messages, const ChatRenderOptions& options,
                                              const Tokenizer& tokenizer) const;
  // Render in its two steps, for who puts something between them (the places of images, which template text names).
  // The text of the prompt, neighbours differing in is_data. Errors: as above.
  absl::StatusOr<std::vector<ChatSegment>> RenderSegments(absl::Span<const ChatMessage> messages,
                                                          const ChatRenderOptions& options = {}) const;
  absl::StatusOr<std::vector<TokenId>> EncodeSegments(absl::Span<const ChatSegment> segments,
                                                      const Tokenizer& tokenizer) const;

  // Whether the template reads a message's content as a list of parts and writes nothing of a plain string, as those of
  // some vision models do. Render then hands it `content` as one part of text.
  bool reads_parts() const { return reads_parts_; }

  // The control token that ends the assistant's turn, at which generation stops: the first that the template writes
  // behind the content of an assistant's message that is the last. nullopt: it writes none, or takes no such messages.
  std::optional<TokenId> EndOfTurn(const Tokenizer& tokenizer) const;

 private:
  struct Program;
  ChatTemplate() = default;

  std::shared_ptr<const Program> program_;
  ChatTemplateTokens tokens_;
  bool reads_parts_ = false;
};

}  // namespace blazon::language
