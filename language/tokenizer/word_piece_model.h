// WordPiece as BERT uses it (Devlin et al. 2019, arXiv 1810.04805): the longest known token first, again and again; and
// WordLevel, which knows whole words only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/piece_trie.h"
#include "language/tokenizer/token_model.h"
#include "language/tokenizer/vocabulary.h"

namespace blazon::language {

struct WordPieceConfig {
  std::string unknown = "[UNK]";  // a word that cannot be cut into tokens is unknown as a whole
  std::string continuing_subword_prefix = "##";
  int64_t max_word_characters = 100;  // a longer word is unknown
};

class WordPieceModel final : public TokenModel {
 public:
  // kInvalidArgument: `unknown` is not in the vocabulary.
  static absl::StatusOr<std::unique_ptr<WordPieceModel>> Create(const WordPieceConfig& config,
                                                                std::shared_ptr<const Vocabulary> vocabulary);

  void Encode(std::string_view piece, std::vector<TokenId>* ids) const override;
  std::optional<TokenId> unknown_token() const override { return unknown_; }

 private:
  WordPieceModel() = default;

  std::shared_ptr<const Vocabulary> vocabulary_;
  TokenId unknown_ = 0;
  int64_t max_word_characters_ = 0;
  PieceTrie trie_;                                // of the tokens
  std::optional<PieceTrie::Node> continues_ = 0;  // where tokens inside a word begin; nullopt: there are none
};

struct WordLevelConfig {
  std::optional<std::string> unknown = "<unk>";  // nullopt: words without a token are left out
};

class WordLevelModel final : public TokenModel {
 public:
  // kInvalidArgument: `unknown` is not in the vocabulary.
  static absl::StatusOr<std::unique_ptr<WordLevelModel>> Create(const WordLevelConfig& config,
                                                                std::shared_ptr<const Vocabulary> vocabulary);

  void Encode(std::string_view piece, std::vector<TokenId>* ids) const override;
  std::optional<TokenId> unknown_token() const override { return unknown_; }

 private:
  WordLevelModel() = default;

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::optional<TokenId> unknown_;
};

}  // namespace blazon::language
