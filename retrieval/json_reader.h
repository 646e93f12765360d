// A strict reader of JSON (RFC 8259) that says where each value stands.
//
// Thread safety: all functions may run together.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace blazon::retrieval {

// A string, number, true, false or null.
struct JsonScalar {
  enum class Kind { kString, kNumber, kWord } kind = Kind::kWord;
  std::string text;   // of a string, decoded (half surrogates are U+FFFD); else as it stands
  size_t begin = 0;   // in the source: of a string's characters, after the quote
  bool plain = true;  // no escape: `text` stands in the source byte for byte
};

// Names and indices from the top to a value.
using JsonPath = std::vector<std::string>;

// Reads one value that fills `source` (valid UTF-8) but for white space; calls `visit` for each scalar in order.
// kInvalidArgument: not JSON, or nested deeper than `max_nesting`; the message names the line, the first being
// `first_line`.
absl::Status ReadJson(std::string_view source, int max_nesting, size_t first_line,
                      const std::function<void(const JsonPath&, const JsonScalar&)>& visit);

}  // namespace blazon::retrieval
