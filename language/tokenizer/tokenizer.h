// Text to token ids and back. The implementation for all model families is PipelineTokenizer.
//
// Thread safety: const after construction; every method may be called from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace blazon::language {

using TokenId = int32_t;

// A part of a text: of a template, whose spelled-out control tokens count, or data, in which they never do.
struct TextSegment {
  std::string text;
  bool is_data = false;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Encodes `text` as plain data: no special token is added and none is recognised in it, so text of users and
  // documents can never act as a control token. Tokens that were added to the vocabulary and are not special are
  // recognised. Invalid UTF-8 is read as U+FFFD. Text is never cut short.
  virtual std::vector<TokenId> Encode(std::string_view text) const = 0;

  // The same, but control tokens that are spelled out in `text` ("<|im_start|>") become their ids. For templates only.
  virtual std::vector<TokenId> EncodeWithSpecials(std::string_view text) const = 0;

  // The ids of all segments as one text: control tokens are recognised where they lie wholly within one segment that is
  // not data, and what stands between two of them is encoded in one piece by Encode, across segments. So the ids are
  // those of EncodeWithSpecials on the whole text wherever data spells no control token.
  // A tokenizer whose control tokens take the white space beside them overrides it.
  virtual std::vector<TokenId> EncodeSegments(absl::Span<const TextSegment> segments) const;

  // The special tokens that the model expects before and behind one text ([CLS] and [SEP]; Llama's <s>), as the
  // tokenizer's file says. Neither Encode nor EncodeWithSpecials adds them: whoever builds a model's input does, once,
  // and not where a chat template has spelled them out already.
  virtual absl::Span<const TokenId> prefix() const { return {}; }
  virtual absl::Span<const TokenId> suffix() const { return {}; }

  // The bytes of one token inside a text; may be a part of a UTF-8 character. Joined, tokens' bytes are the text that
  // is streamed. Control tokens give their spelling.
  virtual std::string TokenBytes(TokenId id) const = 0;

  // The same for the token that begins a text: some tokenizers drop a space there ("▁Hello": "Hello", elsewhere "
  // Hello"). Decode's text begins with this, and so does an answer; text that goes on from a prompt is all TokenBytes.
  virtual std::string FirstTokenBytes(TokenId id) const { return TokenBytes(id); }

  // Text of `ids`; incomplete UTF-8 becomes U+FFFD. Control tokens are left out when `skip_special` is set.
  virtual std::string Decode(absl::Span<const TokenId> ids, bool skip_special) const = 0;

  // The id of a token by its spelling in the vocabulary; nullopt when there is none.
  virtual std::optional<TokenId> FindToken(std::string_view spelling) const = 0;

  // The token that stands for text which the vocabulary cannot spell. nullopt: there is no such text (bytes have
  // tokens), or its characters are left out, as the reference does (SmolLM2 has no token for 21 rare bytes).
  virtual std::optional<TokenId> unknown_token() const { return std::nullopt; }

  virtual bool IsSpecial(TokenId id) const = 0;
  virtual int64_t vocabulary_size() const = 0;  // all ids are below; there may be gaps
};

}  // namespace blazon::language
