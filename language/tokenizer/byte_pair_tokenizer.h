// Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909; the byte alphabet of GPT-2, Radford et al.
// 2019).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "language/tokenizer/special_tokens.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// How text is cut into words before merging; no merge crosses a cut.
enum class PreTokenizer {
  kGpt2,    // GPT-2's pattern: contractions, " letters", " numbers", " other", white space
  kSmolLm,  // each digit (\p{N}) alone, then GPT-2's pattern on what is between digits
};

struct BytePairVocabulary {
  std::vector<std::string> tokens;  // by id; in GPT-2's byte alphabet ("Ġthe"), control tokens literally
  std::vector<bool> special;        // by id: control tokens
  std::vector<std::pair<std::string, std::string>> merges;  // best first, in the byte alphabet
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
};

// Encoding takes O(n log n) time for a word of n bytes, so a long run of one letter is no attack.
class BytePairTokenizer final : public Tokenizer {
 public:
  // A byte need not have a token: SmolLM2 has none for 21 of them (some control characters, bytes that begin private
  // characters). Such bytes are left out when encoding, as the tokenizer that the models were trained with does.
  // kInvalidArgument: sizes differ, a token is empty or twice there, a token is not written in the byte alphabet, or a
  // merge names or makes a token that is not there. The message names it.
  static absl::StatusOr<std::unique_ptr<BytePairTokenizer>> Create(const BytePairVocabulary& vocabulary);

  std::vector<TokenId> Encode(std::string_view text) const override;
  std::vector<TokenId> EncodeWithSpecials(std::string_view text) const override;
  std::string TokenBytes(TokenId id) const override;  // empty for an id outside the vocabulary
  // Leaves out ids outside the vocabulary.
  std::string Decode(absl::Span<const TokenId> ids, bool skip_special) const override;
  std::optional<TokenId> FindToken(std::string_view spelling) const override;  // spelled in the byte alphabet: "Ġthe"
  bool IsSpecial(TokenId id) const override;
  int64_t vocabulary_size() const override { return static_cast<int64_t>(bytes_.size()); }

 private:
  struct Merge {
    int32_t rank = 0;  // lower merges first
    TokenId result = 0;
  };
  struct Scratch;

  BytePairTokenizer() = default;
  void EncodePlain(std::string_view text, std::vector<TokenId>* ids) const;
  void EncodeWord(std::string_view word, Scratch* scratch, std::vector<TokenId>* ids) const;

  PreTokenizer pre_tokenizer_ = PreTokenizer::kGpt2;
  std::vector<std::string> bytes_;  // by id: what the token stands for
  std::vector<bool> special_;       // by id
  SpecialTokens special_tokens_;
  TokenId byte_tokens_[256] = {};                 // the token of each single byte; -1: none
  std::unordered_map<std::string, TokenId> ids_;  // by spelling in the vocabulary
  absl::flat_hash_map<uint64_t, Merge> merges_;   // by left id << 32 | right id
};

}  // namespace blazon::language
