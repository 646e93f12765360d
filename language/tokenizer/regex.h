// Regular expressions as tokenizer files write them: in Oniguruma's Ruby syntax, over Unicode. Run by PCRE2's compiler
// to machine code; what the two write differently is translated (\s, \w, \d, \h, nested classes) or refused.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::language {

// A stretch of a text: matched, or between matches.
struct TextSpan {
  size_t begin = 0, end = 0;
  bool matched = false;
};

// A string to find, or a regular expression.
struct Pattern {
  std::string text;
  bool regex = false;
};

// Thread safety: const after construction; every method may be called from any thread.
class Regex {
 public:
  // kInvalidArgument: not a regular expression. kUnimplemented: it uses what is not translated (\b, \W in a class,
  // intersections, negated classes inside classes, `{n,m}+`). Messages quote the pattern.
  static absl::StatusOr<Regex> Create(const Pattern& pattern);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Cuts `text`, well-formed UTF-8, into matches and what lies between them, in order and without gaps. Empty matches
  // are spans too. An empty text is one empty span that is no match.
  // A pattern that needs more than ten million steps at one place finds nothing more in this text.
  void Split(std::string_view text, std::vector<TextSpan>* spans) const;

 private:
  struct Code;
  Regex();

  std::string literal_;         // the string to find, when the pattern is no regular expression
  std::unique_ptr<Code> code_;  // null for a literal
};

}  // namespace blazon::language
