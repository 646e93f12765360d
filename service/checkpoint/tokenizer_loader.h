// Tokenizers out of model files.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "language/tokenizer/byte_pair_tokenizer.h"
#include "language/tokenizer/word_piece_tokenizer.h"
#include "service/checkpoint/gguf.h"

namespace blazon::service {

// The tokenizer in a GGUF's metadata ("tokenizer.ggml.*"). The file may be closed afterwards.
// kUnimplemented: a tokenizer or pre-tokeniser that is not known; the message names it. kDataLoss: its tables
// contradict each other.
absl::StatusOr<std::unique_ptr<language::BytePairTokenizer>> LoadGgufTokenizer(const GgufFile& file);

// The WordPiece tokenizer of a Hugging Face folder: tokenizer.json, or vocab.txt with tokenizer_config.json.
// Truncation and padding that tokenizer.json may ask for are not applied: the caller decides what to do with long text.
absl::StatusOr<std::unique_ptr<language::WordPieceTokenizer>> LoadWordPieceTokenizer(
    const std::filesystem::path& folder);

}  // namespace blazon::service
