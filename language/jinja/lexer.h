// The tokens of a template: Jinja with trim_blocks and lstrip_blocks on, as chat templates are read.
// Source: the Jinja 3.1 template designer documentation (white space control, literals, operators).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::language::jinja {

struct Position {
  uint32_t line = 1, column = 1;  // from 1; columns count bytes
};

enum class TokenKind {
  kText,
  kOutputBegin,
  kOutputEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // of texts and strings what they stand for, else the spelling
  int64_t integer = 0;
  double number = 0;
  Position position;
};

// `source` is valid UTF-8. Comments and raw tags are gone; the last token is kEnd.
// kInvalidArgument: what no template may hold. kUnimplemented: what Jinja knows and Blazon does not (\N{...}, names
// with other than ASCII letters, integers of more than 64 bits). Messages begin with line and column.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// "chat template, line 3, column 14: `message`", of the kind that callers ask for.
absl::Status ErrorAt(absl::StatusCode code, Position position, std::string_view message);

}  // namespace blazon::language::jinja
