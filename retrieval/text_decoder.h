// Bytes of a text file to UTF-8.
//
// Thread safety: all functions may run together.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace blazon::retrieval {

struct DecodedText {
  std::string text;      // valid UTF-8 without NUL, '\n' at line ends, no byte-order mark
  std::string encoding;  // as Document::encoding
  int64_t replaced = 0;  // bytes that were not UTF-8, each now U+FFFD
};

// `declared`: the encoding that the file names, lower case; empty when it names none. kInvalidArgument: binary, or not
// in the encoding that its byte-order mark says; the message goes on from the file's name.
absl::StatusOr<DecodedText> DecodeText(std::string_view bytes, const std::string& declared = "");

// Valid UTF-8 without NUL and with '\n' at line ends: anything else becomes U+FFFD. For text out of other programs.
std::string ToCleanUtf8(std::string_view text);

// What a file's first bytes say it is, such as "a PDF file"; empty for text and for kinds unknown here.
std::string_view KindOfBytes(std::string_view bytes);

}  // namespace blazon::retrieval
