// Makes a tokenizer from texts.
//
//   byte       a token a byte; nothing is learned
//   character  a token a character that occurs; others are "<unk>"
//   word       a token a word, with the space before it, as GPT-2's pattern cuts a text; others are "<unk>"
//   byte pair  GPT-2's: bytes, and the merges of neighbours that occur most often (byte_pair_trainer.h)
// Texts come back as they were, byte by byte, wherever no token is "<unk>".
//
// The same texts and options give the same tokenizer, in whatever order the texts come. Vocabulary and merges are those
// that the `tokenizers` package learns (BpeTrainer, WordLevelTrainer).
// Thread safety: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "language/tokenizer/pipeline_tokenizer.h"
#include "language/tokenizer/pre_tokenizer.h"
#include "language/tokenizer/vocabulary.h"

namespace blazon::language {

enum class TokenizerKind { kByte, kCharacter, kWord, kBytePair };

// "byte", "character", "word" or "bpe". kInvalidArgument: another name; the message lists them.
absl::StatusOr<TokenizerKind> ParseTokenizerKind(std::string_view name);

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

struct TokenizerTrainerOptions {
  TokenizerKind kind = TokenizerKind::kBytePair;
  int64_t vocabulary_size = 8192;  // at most, special tokens included. Not for bytes, whose number is known
  int64_t min_frequency = 2;       // of what becomes a token: a merge, a word. 1 is taken for characters
  std::vector<std::string> special_tokens = {std::string(kEndOfText)};  // the first ids, in this order
};

class TokenizerTrainer {
 public:
  // kInvalidArgument: an option is out of range, or a special token is empty or given twice; the message names it.
  static absl::StatusOr<TokenizerTrainer> Create(TokenizerTrainerOptions options);

  // text: well-formed UTF-8. Cut as a whole: the end of one text and the beginning of the next are never one word.
  void Add(std::string_view text);

  // kFailedPrecondition: nothing was added that a token could be made of.
  absl::StatusOr<TokenizerConfig> Train() const;

 private:
  TokenizerTrainer() = default;
  std::vector<std::string> FirstTokens() const;
  void AddWords(int64_t min_frequency, std::vector<std::string>* tokens) const;

  TokenizerTrainerOptions options_;
  std::optional<PreTokenizer> pre_tokenizer_;
  absl::flat_hash_map<std::string, int64_t, TextHash, std::equal_to<>> counts_;  // of words or characters
};

}  // namespace blazon::language
