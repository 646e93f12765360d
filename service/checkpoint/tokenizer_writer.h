// Writes tokenizers as tokenizer.json, the file of the `tokenizers` package.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/tokenizer/pipeline_tokenizer.h"

namespace blazon::service {

// The file that ReadTokenizerJson reads as `config`, and the package as the same tokenizer. The same config gives the
// same bytes. prefix and suffix must be empty.
// kUnimplemented: a model or step that Blazon's trainer does not make; the message names it. What is written: BPE
// without scores, WordLevel; pre-tokenizer ByteLevel; decoders ByteLevel and Fuse; no normalizer.
absl::StatusOr<std::string> WriteTokenizerJson(const language::TokenizerConfig& config);

// Writes tokenizer.json and tokenizer_config.json into `folder`, which must exist, each durable and all or nothing. The
// special tokens "<|endoftext|>" and "<unk>", where there are any, are named as what they are.
// As WriteTokenizerJson; kUnavailable, kResourceExhausted: a file cannot be written; the message names it.
absl::Status SaveTokenizer(const language::TokenizerConfig& config, const std::filesystem::path& folder);

}  // namespace blazon::service
