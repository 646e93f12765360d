// WordPiece as BERT uses it (Devlin et al. 2019, arXiv 1810.04805): clean, lower-case, cut at spaces and punctuation,
// then the longest known piece first.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/special_tokens.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

struct WordPieceVocabulary {
  std::vector<std::string> tokens;  // by id; pieces inside a word begin with continuation_prefix
  // Control tokens; those that are in `tokens` count.
  std::vector<std::string> special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  std::string unknown = "[UNK]";
  std::string continuation_prefix = "##";
  int64_t max_word_characters = 100;  // a longer word becomes `unknown`
  bool clean_text = true;             // drop control characters, white space to spaces
  bool split_cjk = true;              // each Chinese character is a word
  bool strip_accents = true;
  bool lowercase = true;
};

// Invalid UTF-8 reads as U+FFFD, which clean_text drops.
// Encode and EncodeWithSpecials add neither [CLS] nor [SEP]: FindToken gives their ids to whoever builds the input.
class WordPieceTokenizer final : public Tokenizer {
 public:
  // kInvalidArgument: a token is empty or twice there, or `unknown` is not there.
  static absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> Create(WordPieceVocabulary vocabulary);

  std::vector<TokenId> Encode(std::string_view text) const override;
  std::vector<TokenId> EncodeWithSpecials(std::string_view text) const override;
  // The piece without its prefix; empty for an id outside the vocabulary.
  std::string TokenBytes(TokenId id) const override;
  // Words apart by one space; what the normaliser dropped does not come back.
  std::string Decode(absl::Span<const TokenId> ids, bool skip_special) const override;
  std::optional<TokenId> FindToken(std::string_view spelling) const override;
  bool IsSpecial(TokenId id) const override;
  int64_t vocabulary_size() const override { return static_cast<int64_t>(vocabulary_.tokens.size()); }

 private:
  WordPieceTokenizer() = default;
  void EncodePlain(std::string_view text, std::vector<TokenId>* ids) const;
  void EncodeRun(std::u32string* run, std::vector<TokenId>* ids) const;
  void EncodeWord(std::u32string_view word, std::vector<TokenId>* ids) const;

  WordPieceVocabulary vocabulary_;
  TokenId unknown_id_ = 0;
  size_t longest_piece_ = 0;   // bytes
  std::vector<bool> special_;  // by id
  SpecialTokens special_tokens_;
  std::unordered_map<std::string, TokenId> ids_;  // by spelling
};

}  // namespace blazon::language
