// Tokens and their ids, looked up both ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
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
  explicit Vocabulary(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
    ids_.reserve(tokens_.size());
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (!tokens_[id].empty()) ids_[tokens_[id]] = static_cast<TokenId>(id);
    }
  }
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  std::optional<TokenId> Find(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  const std::vector<std::string>& tokens() const { return tokens_; }

 private:
  const std::vector<std::string> tokens_;
  absl::flat_hash_map<std::string_view, TokenId, TextHash, std::equal_to<>> ids_;
};

// The token of each byte, spelled "<0x0A>"; nullopt where the vocabulary has none.
std::vector<std::optional<TokenId>> FindByteTokens(const Vocabulary& vocabulary);

}  // namespace blazon::language
