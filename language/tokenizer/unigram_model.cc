#include "language/tokenizer/unigram_model.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/unicode.h"

namespace blazon::language {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr TokenId kUnknown = -1;  // in a path

}  // namespace

absl::StatusOr<std::unique_ptr<UnigramModel>> UnigramModel::Create(const UnigramConfig& config,
                                                                   std::shared_ptr<const Vocabulary> vocabulary) {
  const std::vector<std::string>& tokens = vocabulary->tokens();
  if (config.scores.size() != tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat(tokens.size(), " tokens, but ", config.scores.size(), " scores"));
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!std::isfinite(config.scores[id]))
      return absl::InvalidArgumentError(absl::StrCat("the score of token ", id, " is not a number"));
  }
  if (config.unknown_id && (*config.unknown_id < 0 || static_cast<size_t>(*config.unknown_id) >= tokens.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("unk_id is ", *config.unknown_id, "; the vocabulary has ", tokens.size(), " tokens"));
  }
  std::unique_ptr<UnigramModel> model(new UnigramModel());
  model->scores_ = config.scores;
  model->unknown_id_ = config.unknown_id;
  model->byte_fallback_ = config.byte_fallback;
  model->fallback_tokens_ = FindByteTokens(*vocabulary);
  if (!tokens.empty())
    model->unknown_score_ = *std::min_element(config.scores.begin(), config.scores.end()) - kUnknownPenalty;
  std::vector<std::pair<std::string_view, int32_t>> pieces;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (config.findable.empty() || config.findable[id]) pieces.emplace_back(tokens[id], static_cast<int32_t>(id));
  }
  model->trie_ = PieceTrie(std::move(pieces));
  model->vocabulary_ = std::move(vocabulary);
  return model;
}

void UnigramModel::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  struct BestPath {  // that ends at a byte
    double score = 0;
    size_t begin = SIZE_MAX;  // of its last token; SIZE_MAX: none ends here
    TokenId id = kUnknown;
  };
  std::vector<BestPath> best(piece.size() + 1);
  for (size_t begin = 0; begin < piece.size();) {
    const double score = best[begin].score;
    const size_t character = CharacterLength(piece[begin]);
    bool character_is_token = false;
    const auto offer = [&](size_t end, double token_score, TokenId id) {
      if (best[end].begin == SIZE_MAX || token_score + score > best[end].score)
        best[end] = {token_score + score, begin, id};
    };
    PieceTrie::Node node = PieceTrie::kRoot;
    for (size_t end = begin; end < piece.size() && trie_.Step(piece[end], &node);) {
      ++end;
      const TokenId id = trie_.value(node);
      if (id == PieceTrie::kNone) continue;
      offer(end, scores_[id], id);
      character_is_token |= end - begin == character;
    }
    if (!character_is_token) offer(begin + character, unknown_score_, unknown_id_.value_or(kUnknown));
    begin += character;
  }

  // Backwards along the best path; neighbouring unknown ones are one.
  std::vector<std::pair<size_t, size_t>> tokens;  // begin, end
  for (size_t end = piece.size(); end > 0; end = best[end].begin) {
    const bool unknown = best[end].id == unknown_id_.value_or(kUnknown);
    const bool follows_unknown = !tokens.empty() && best[tokens.back().second].id == unknown_id_.value_or(kUnknown);
    if (unknown && follows_unknown) {
      tokens.back().first = best[end].begin;
    } else {
      tokens.emplace_back(best[end].begin, end);
    }
  }
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    const std::string_view text = piece.substr(token->first, token->second - token->first);
    if (const std::optional<TokenId> id = vocabulary_->Find(text)) {
      ids->push_back(*id);
    } else if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) {
                 return fallback_tokens_[static_cast<uint8_t>(c)].has_value();
               })) {
      for (const char c : text) ids->push_back(*fallback_tokens_[static_cast<uint8_t>(c)]);
    } else if (unknown_id_) {
      ids->push_back(*unknown_id_);
    }
  }
}

}  // namespace blazon::language
