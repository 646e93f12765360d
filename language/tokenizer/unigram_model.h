// Unigram language model segmentation (Kudo 2018, arXiv 1804.10959): the cut of a piece into tokens whose scores sum to
// the most, found by Viterbi's algorithm.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/piece_trie.h"
#include "language/tokenizer/token_model.h"
#include "language/tokenizer/vocabulary.h"

namespace blazon::language {

struct UnigramConfig {
  std::vector<double> scores;  // log probabilities by id
  // Stands for a run of characters without tokens, each at the lowest score - 10. nullopt: they are left out.
  std::optional<TokenId> unknown_id;
  bool byte_fallback = false;  // such a run becomes its bytes' tokens, "<0xE4>", where all are there
  // By id: tokens that are found in text. Empty: all.
  std::vector<bool> findable;
};

// Time is linear in the piece's length x the longest token.
class UnigramModel final : public TokenModel {
 public:
  // kInvalidArgument: sizes differ, a score is no number, or unknown_id is outside the vocabulary.
  static absl::StatusOr<std::unique_ptr<UnigramModel>> Create(const UnigramConfig& config,
                                                              std::shared_ptr<const Vocabulary> vocabulary);

  void Encode(std::string_view piece, std::vector<TokenId>* ids) const override;
  std::optional<TokenId> unknown_token() const override { return unknown_id_; }

 private:
  UnigramModel() = default;

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  std::optional<TokenId> unknown_id_;
  bool byte_fallback_ = false;
  std::vector<std::optional<TokenId>> fallback_tokens_;  // by byte
  PieceTrie trie_;                                       // of the tokens
};

}  // namespace blazon::language
