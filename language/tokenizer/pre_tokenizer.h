// Cuts normalised text into the pieces that the model sees one by one, step by step. Steps and their defaults are those
// of the `tokenizers` package.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/tokenizer/regex.h"

namespace blazon::language {

namespace pre_tokenizers {
// What becomes of the matches of a pattern, the delimiters.
enum class Behavior {
  kRemoved,
  kIsolated,            // a piece each
  kMergedWithPrevious,  // the end of the piece before
  kMergedWithNext,      // the beginning of the piece behind
  kContiguous,          // neighbouring ones are one piece
};
enum class PrependScheme { kAlways, kFirst, kNever };

struct ByteLevel {
  bool add_prefix_space = true;  // a space before each piece that has none
  bool use_regex = true;         // cut by GPT-2's pattern
};
struct Split {
  Pattern pattern;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  // the pattern is what lies between delimiters
};
struct Metaspace {                                 // spaces to `replacement`
  std::string replacement = "\u2581";              // one character
  PrependScheme prepend = PrependScheme::kAlways;  // before each piece, or the one that begins the text
  bool split = true;                               // cut before each replacement
};
struct Digits {  // \p{N}
  bool individual = false;
};
struct Whitespace {};       // words (\w+) and runs of other characters, without white space
struct WhitespaceSplit {};  // cuts at white space only
struct Bert {};             // cuts at white space and round punctuation
struct Punctuation {
  Behavior behavior = Behavior::kIsolated;
};
struct CharDelimiterSplit {
  int32_t delimiter = ' ';
};
using Step = std::variant<ByteLevel, Split, Metaspace, Digits, Whitespace, WhitespaceSplit, Bert, Punctuation,
                          CharDelimiterSplit>;
}  // namespace pre_tokenizers

// Thread safety: const after construction.
class PreTokenizer {
 public:
  struct Piece {
    std::string_view text;  // never empty
    bool begins_text = false;
  };
  // Working memory, for one text at a time.
  struct Scratch {
    std::vector<Piece> pieces, next;
    std::vector<TextSpan> spans;
    std::deque<std::string> changed;  // texts that steps changed; `pieces` point into them
  };

  // raw_bytes: leaves out the writing in the byte alphabet of a last ByteLevel step, for a model that takes bytes.
  // kInvalidArgument, kUnimplemented: a pattern is broken or not read.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<pre_tokenizers::Step>& steps, bool raw_bytes);

  // The pieces of `text`, well-formed UTF-8; they live as long as `text` and `scratch` stay as they are.
  // begins_text: nothing stands before it.
  absl::Span<const Piece> Split(std::string_view text, bool begins_text, Scratch* scratch) const;

 private:
  struct CompiledSplit {
    Regex regex;
    pre_tokenizers::Behavior behavior;
    bool invert;
  };
  struct CompiledByteLevel {
    bool add_prefix_space, use_regex, raw_bytes;
  };
  using CompiledStep = std::variant<CompiledByteLevel, CompiledSplit, pre_tokenizers::Metaspace, pre_tokenizers::Digits,
                                    pre_tokenizers::Whitespace, pre_tokenizers::WhitespaceSplit, pre_tokenizers::Bert,
                                    pre_tokenizers::Punctuation, pre_tokenizers::CharDelimiterSplit>;
  static void Apply(const CompiledStep& step, const Piece& piece, Scratch* scratch);
  std::vector<CompiledStep> steps_;
};

}  // namespace blazon::language
