// tokenizer.json, the file of the `tokenizers` package: a vocabulary and the steps round it.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "language/tokenizer/pipeline_tokenizer.h"

namespace blazon::service {

// What the file says about one text: the post-processor's tokens become prefix and suffix. Its truncation and padding
// are not applied: the caller decides what to do with long text. An added token has the id that the vocabulary gives
// its spelling, as in the package; one outside the vocabulary has the file's. kUnimplemented: a component that is not
// read, dropout or a file of another version; the message names it. kDataLoss: not JSON, nested more than 100 deep, or
// a member that is missing or of a wrong type; the message names it.
absl::StatusOr<language::TokenizerConfig> ReadTokenizerJson(std::string_view text);

}  // namespace blazon::service
