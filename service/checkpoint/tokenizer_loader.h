// Tokenizers out of model files.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/tokenizer/tokenizer.h"
#include "service/checkpoint/gguf.h"

namespace blazon::service {

// The tokenizer of a Hugging Face folder, from the first of these that is there:
// - tokenizer.json (service/checkpoint/tokenizer_json.h). Where its post-processor adds nothing, add_bos_token and
//   add_eos_token of tokenizer_config.json count.
// - vocab.json and merges.txt: byte-level BPE as GPT-2 has it, with add_prefix_space and the same two flags of
//   tokenizer_config.json, where there is one, and its added_tokens_decoder.
// - vocab.txt: WordPiece as BERT has it, with the older tokenizer_config.json where there is one.
// control_tokens: spellings that are control tokens whatever the files say; those that the vocabulary lacks get the ids
// behind it, in order, as with the extra_special_tokens of transformers.
// kNotFound: none of them; the message names them. kUnimplemented: a component that is not read; the message names it.
// kDataLoss: a file contradicts itself.
absl::StatusOr<std::unique_ptr<language::Tokenizer>> LoadTokenizer(const std::filesystem::path& folder,
                                                                   absl::Span<const std::string> control_tokens = {});

// The tokenizer in a GGUF's metadata ("tokenizer.ggml.*"), encoding as the one does that the file was converted from.
// Models "gpt2" (with the pre-tokenisers of GPT-2, SmolLM, Llama 3, Qwen2 and BLOOM), "llama" (SentencePiece BPE),
// "bert" and "t5" (Unigram). The file may be closed afterwards. kUnimplemented: a tokenizer or pre-tokeniser that is
// not known; the message names it. kDataLoss: its tables contradict each other.
absl::StatusOr<std::unique_ptr<language::Tokenizer>> LoadGgufTokenizer(const GgufFile& file);

}  // namespace blazon::service
