// The tokenizer of every model family: added tokens are found, text is normalised, cut into pieces, and each piece
// given to the vocabulary's model; a decoder puts tokens together again. What each step is comes from the model's files
// (service/checkpoint/tokenizer_loader.h). Results equal those of the `tokenizers` package.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "language/tokenizer/added_tokens.h"
#include "language/tokenizer/byte_pair_model.h"
#include "language/tokenizer/decoder.h"
#include "language/tokenizer/normalizer.h"
#include "language/tokenizer/pre_tokenizer.h"
#include "language/tokenizer/token_model.h"
#include "language/tokenizer/tokenizer.h"
#include "language/tokenizer/unigram_model.h"
#include "language/tokenizer/vocabulary.h"
#include "language/tokenizer/word_piece_model.h"

namespace blazon::language {

struct TokenizerConfig {
  std::vector<std::string> tokens;  // the model's, by id; an empty one is a gap
  std::variant<BytePairConfig, UnigramConfig, WordPieceConfig, WordLevelConfig> model;
  std::vector<AddedToken> added_tokens;  // may lie outside `tokens`
  std::vector<normalizers::Step> normalizer;
  std::vector<pre_tokenizers::Step> pre_tokenizer;
  std::vector<decoders::Step> decoder;
  std::vector<TokenId> prefix, suffix;  // see Tokenizer::prefix
};

// Time to encode n bytes is O(n log n) at most, patterns of pre-tokenizers apart, which are linear for the families'.
class PipelineTokenizer final : public Tokenizer {
 public:
  // kInvalidArgument: the parts contradict each other; kUnimplemented: a pattern is not read. Messages name the part.
  static absl::StatusOr<std::unique_ptr<PipelineTokenizer>> Create(TokenizerConfig config);

  std::vector<TokenId> Encode(std::string_view text) const override;
  std::vector<TokenId> EncodeWithSpecials(std::string_view text) const override;
  absl::Span<const TokenId> prefix() const override { return prefix_; }
  absl::Span<const TokenId> suffix() const override { return suffix_; }
  std::string TokenBytes(TokenId id) const override;       // empty for an id outside the vocabulary
  std::string FirstTokenBytes(TokenId id) const override;  // the same
  std::string Decode(absl::Span<const TokenId> ids, bool skip_special) const override;  // leaves out such ids
  std::optional<TokenId> FindToken(std::string_view spelling) const override;
  std::optional<TokenId> unknown_token() const override { return model_->unknown_token(); }
  bool IsSpecial(TokenId id) const override { return id >= 0 && id < vocabulary_size() && special_[id]; }
  int64_t vocabulary_size() const override { return static_cast<int64_t>(special_.size()); }

 private:
  PipelineTokenizer() = default;
  std::vector<TokenId> EncodeText(std::string_view text, bool with_special) const;
  // As the decoder sees it; empty for an id outside the vocabulary.
  std::string_view Token(TokenId id) const;
  std::string TokenBytes(TokenId id, bool first) const;

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<bool> special_;  // by id
  struct Added {
    std::string spelling, decoded;  // as the decoder sees it: normalised where it is found normalised
  };
  absl::flat_hash_map<TokenId, Added> added_;
  absl::flat_hash_map<std::string, TokenId, TextHash, std::equal_to<>> added_ids_;  // by spelling
  AddedTokens raw_added_, normalized_added_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const TokenModel> model_;
  Decoder decoder_;
  std::vector<TokenId> prefix_, suffix_;
};

}  // namespace blazon::language
