// Text to token ids and back. Implementations: BytePairTokenizer (GGUF vocabularies), WordPieceTokenizer (BERT).
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
  // documents can never act as a control token. Invalid UTF-8 is read as U+FFFD.
  virtual std::vector<TokenId> Encode(std::string_view text) const = 0;

  // The same, but control tokens that are spelled out in `text` ("<|im_start|>") become their ids. For templates only.
  virtual std::vector<TokenId> EncodeWithSpecials(std::string_view text) const = 0;

  // The ids of all segments as one text: control tokens are recognised where they lie wholly within one segment that is
  // not data, and what stands between two of them is encoded in one piece by Encode, across segments. So the ids are
  // those of EncodeWithSpecials on the whole text wherever data spells no control token.
  // A tokenizer whose control tokens take the white space beside them overrides it.
  virtual std::vector<TokenId> EncodeSegments(absl::Span<const TextSegment> segments) const;

  // The bytes of one token; may be a part of a UTF-8 character. Control tokens give their spelling.
  virtual std::string TokenBytes(TokenId id) const = 0;

  // Text of `ids`; incomplete UTF-8 becomes U+FFFD. Control tokens are left out when `skip_special` is set.
  virtual std::string Decode(absl::Span<const TokenId> ids, bool skip_special) const = 0;

  // The id of a token by its spelling in the vocabulary; nullopt when there is none.
  virtual std::optional<TokenId> FindToken(std::string_view spelling) const = 0;

  virtual bool IsSpecial(TokenId id) const = 0;
  virtual int64_t vocabulary_size() const = 0;
};

}  // namespace blazon::language
