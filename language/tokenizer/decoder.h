// Tokens back to text, step by step. Steps and their defaults are those of the `tokenizers` package.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/tokenizer/regex.h"

namespace blazon::language {

namespace decoders {
struct ByteLevel {};     // GPT-2's byte alphabet to bytes; what is not written in it stays
struct ByteFallback {};  // "<0xE4>" to the byte; a run of such tokens that is not UTF-8 gives U+FFFD for each
struct Fuse {};          // all tokens become one: what follows sees the text
struct Metaspace {
  std::string replacement = "\u2581";  // one character; to spaces, and dropped from the first token if `prepended`
  bool prepended = true;
};
struct Replace {
  Pattern pattern;
  std::string content;
};
struct Strip {  // up to `start` and `stop` times `content` from both ends of each token
  int32_t content = ' ';
  int64_t start = 0, stop = 0;
};
struct WordPiece {  // tokens without the prefix are words of their own
  std::string prefix = "##";
  bool cleanup = true;  // no space before punctuation and contractions
};
struct BytePair {  // the suffix ends a word
  std::string suffix = "</w>";
};
using Step = std::variant<ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, WordPiece, BytePair>;
}  // namespace decoders

// Thread safety: const after construction.
class Decoder {
 public:
  // kInvalidArgument, kUnimplemented: a pattern is broken or not read.
  static absl::StatusOr<Decoder> Create(const std::vector<decoders::Step>& steps);

  // No steps at all: tokens are joined with spaces, as the package does.
  std::string Decode(std::vector<std::string> tokens) const;

  // What one token adds to a text that is decoded token by token: bytes, maybe a part of a character. `first`: it
  // begins the text. Joined, these are the bytes of Decode but where that looks ahead: a run of byte tokens that is not
  // UTF-8, a Strip at the end of the text, the last token of BytePair, a Replace across tokens behind a Fuse.
  std::string TokenBytes(std::string_view token, bool first) const;

 private:
  struct CompiledReplace {
    Regex regex;
    std::string content;
  };
  using CompiledStep = std::variant<decoders::ByteLevel, decoders::ByteFallback, decoders::Fuse, decoders::Metaspace,
                                    CompiledReplace, decoders::Strip, decoders::WordPiece, decoders::BytePair>;
  std::vector<CompiledStep> steps_;
};

}  // namespace blazon::language
