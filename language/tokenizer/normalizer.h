// What happens to text before it is cut into words, step by step. Steps and their defaults are those of the
// `tokenizers` package, whose results are followed to the character.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/precompiled_charsmap.h"
#include "language/tokenizer/regex.h"

namespace blazon::language {

namespace normalizers {
enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };  // Unicode normal forms
struct Lowercase {};                                  // character by character: a final sigma is none
struct Strip {                                        // white space at the ends
  bool left = true, right = true;
};
struct StripAccents {};  // drops all marks (M); does not decompose first
struct Replace {
  Pattern pattern;
  std::string content;
};
struct Prepend {  // before a text that is not empty
  std::string text;
};
struct Bert {
  bool clean_text = true;  // drops controls and U+FFFD; white space to spaces
  bool split_cjk = true;   // spaces round each Chinese character
  bool strip_accents = true;
  bool lowercase = true;
};
struct Nmt {};           // drops ASCII controls; other white space and zero-width characters to spaces
struct Precompiled {     // SentencePiece's table
  std::string charsmap;  // its bytes
};
struct ByteLevel {};  // writes the bytes in GPT-2's alphabet
using Step =
    std::variant<UnicodeForm, Lowercase, Strip, StripAccents, Replace, Prepend, Bert, Nmt, Precompiled, ByteLevel>;
}  // namespace normalizers

// Thread safety: const after construction.
class Normalizer {
 public:
  // kInvalidArgument, kUnimplemented: a pattern or a table is broken or not read.
  static absl::StatusOr<Normalizer> Create(const std::vector<normalizers::Step>& steps);

  bool empty() const { return steps_.empty(); }

  // `text`: well-formed UTF-8. *lost_first is set when the first character left no trace in what is returned, so that
  // the result does not begin where the text does.
  std::string Apply(std::string_view text, bool* lost_first) const;

 private:
  struct CompiledReplace {
    Regex regex;
    std::string content;
  };
  using CompiledStep = std::variant<normalizers::UnicodeForm, normalizers::Lowercase, normalizers::Strip,
                                    normalizers::StripAccents, CompiledReplace, normalizers::Prepend, normalizers::Bert,
                                    normalizers::Nmt, PrecompiledCharsmap, normalizers::ByteLevel>;
  std::vector<CompiledStep> steps_;
};

}  // namespace blazon::language
