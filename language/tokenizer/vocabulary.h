// Tokens and their ids, looked up both ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// Finds std::string keys by std::string_view.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

// Thread safety: const after construction. Not to be moved: the index points into the tokens.
class Vocabulary {
 public:
  // tokens: by id; an empty one is a gap. Of equal tokens the last one is found.
  // hidden: ids that become gaps: control tokens, which no text of users may give.
  explicit Vocabulary(std::vector<std::string> tokens, const std::vector<TokenId>& hidden = {});
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  std::optional<TokenId> Find(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  const std::vector<std::string>& tokens() const { return tokens_; }
  bool IsHidden(std::string_view token) const { return hidden_.contains(token); }

 private:
  std::vector<std::string> tokens_;
  absl::flat_hash_set<std::string, TextHash, std::equal_to<>> hidden_;
  absl::flat_hash_map<std::string_view, TokenId, TextHash, std::equal_to<>> ids_;
};

// The token of each byte, spelled "<0x0A>"; nullopt where the vocabulary has none.
std::vector<std::optional<TokenId>> FindByteTokens(const Vocabulary& vocabulary);

}  // namespace blazon::language
