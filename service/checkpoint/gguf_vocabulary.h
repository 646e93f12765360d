// A tokenizer written as GGUF's metadata ("tokenizer.ggml.*"). Reading is tokenizer_loader.h's.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "language/tokenizer/pipeline_tokenizer.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_writer.h"

namespace blazon::service {

// Takes over all that the file says of its tokenizer. kUnimplemented: a key of a kind that is not written; the message
// names it.
absl::Status CopyGgufVocabulary(const GgufFile& file, GgufWriter& writer);

// Byte-level BPE alone: tokens, their kinds, merges, the name of the family that cuts text alike, and whether a token
// comes before or behind every text. Ids up to `size`, the embedding's rows, that no token has are called unused.
// kUnimplemented: another kind of tokenizer, or one that cuts text as no family does which GGUF has a name for.
absl::Status WriteGgufVocabulary(const language::TokenizerConfig& config, int64_t size, GgufWriter& writer);

}  // namespace blazon::service
