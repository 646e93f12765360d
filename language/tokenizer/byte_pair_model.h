// Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909): the neighbours that merge best are joined until none do.
// Over bytes (GPT-2), characters (CLIP), or characters with byte fallback and scores (SentencePiece: Llama 2, Gemma).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "language/tokenizer/token_model.h"
#include "language/tokenizer/vocabulary.h"

namespace blazon::language {

struct BytePairConfig {
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  // SentencePiece: any two neighbours merge whose joined text is a token, the highest score first; by id. Without
  // merges.
  std::vector<float> scores;
  // By id, with scores: tokens that are found by merging. Empty: all.
  std::vector<bool> mergeable;
  std::optional<std::string> unknown;     // nullopt: characters without a token are left out
  bool fuse_unknown = false;              // one unknown token for a run of unknown characters
  bool byte_fallback = false;             // a character without a token becomes its bytes' tokens, "<0xE4>"
  bool ignore_merges = false;             // a piece that is a token is that token, whatever the merges
  std::string continuing_subword_prefix;  // before a token that does not begin a piece
  std::string end_of_word_suffix;         // after a token that ends one
};

// Encoding takes O(n log n) time for a piece of n bytes, so a long run of one letter is no attack.
class BytePairModel final : public TokenModel {
 public:
  // bytes: pieces come as bytes, and the vocabulary writes them in GPT-2's byte alphabet. Not with byte_fallback.
  // kInvalidArgument: a merge names or makes a token that is not there, or the unknown token is not. The message names
  // it.
  static absl::StatusOr<std::unique_ptr<BytePairModel>> Create(const BytePairConfig& config,
                                                               std::shared_ptr<const Vocabulary> vocabulary,
                                                               bool bytes);

  void Encode(std::string_view piece, std::vector<TokenId>* ids) const override;
  std::optional<TokenId> unknown_token() const override { return unknown_; }

 private:
  static constexpr TokenId kNoToken = -1;
  struct Merge {
    int32_t rank = 0;  // lower merges first
    TokenId result = kNoToken;
  };
  struct Symbol {
    TokenId id;
    uint32_t previous, next;  // kEnd: none
    uint32_t begin, end;      // bytes of the piece
    uint32_t last;            // place of the last first symbol in it
  };
  struct Scratch;

  BytePairModel() = default;
  // Which of the first tokens a character has by its place in the piece.
  static size_t Place(bool first, bool last) { return (first ? 0 : 1) + (last ? 2 : 0); }
  TokenId FirstToken(std::string_view character, size_t place) const;
  void AddSymbols(std::string_view piece, std::vector<Symbol>* symbols) const;
  Merge FindMerge(std::string_view piece, const Symbol& left, const Symbol& right) const;
  void MergeFew(std::string_view piece, Scratch* scratch) const;
  void MergeMany(std::string_view piece, Scratch* scratch) const;
  void AppendBytes(std::string_view bytes, std::vector<TokenId>* ids) const;

  std::shared_ptr<const Vocabulary> vocabulary_;
  bool bytes_ = false, fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
  std::string prefix_, suffix_;
  std::optional<TokenId> unknown_;
  std::vector<std::optional<TokenId>> fallback_tokens_;  // by byte
  std::vector<TokenId> first_tokens_[4];                 // by Place, then by byte (bytes) or ASCII character
  absl::flat_hash_map<std::string, TokenId, TextHash, std::equal_to<>>
      byte_words_;                               // ignore_merges over bytes: whole tokens
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::vector<int32_t> score_ranks_;             // by id; with scores, instead of merges. -1: not found so
};

}  // namespace blazon::language
