#include "language/tokenizer/word_piece_model.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/unicode.h"

namespace blazon::language {
namespace {

absl::StatusOr<TokenId> FindUnknown(const std::string& spelling, const Vocabulary& vocabulary) {
  const std::optional<TokenId> found = vocabulary.Find(spelling);
  if (found) return *found;
  return absl::InvalidArgumentError(
      absl::StrCat("the vocabulary lacks the token for unknown words, \"", absl::Utf8SafeCHexEscape(spelling), "\""));
}

}  // namespace

absl::StatusOr<std::unique_ptr<WordPieceModel>> WordPieceModel::Create(const WordPieceConfig& config,
                                                                       std::shared_ptr<const Vocabulary> vocabulary) {
  const absl::StatusOr<TokenId> unknown = FindUnknown(config.unknown, *vocabulary);
  if (!unknown.ok()) return unknown.status();
  std::unique_ptr<WordPieceModel> model(new WordPieceModel());
  model->unknown_ = *unknown;
  model->max_word_characters_ = config.max_word_characters;
  std::vector<std::pair<std::string_view, int32_t>> pieces;
  for (size_t id = 0; id < vocabulary->tokens().size(); ++id)
    pieces.emplace_back(vocabulary->tokens()[id], static_cast<int32_t>(id));
  model->trie_ = PieceTrie(std::move(pieces));
  PieceTrie::Node node = PieceTrie::kRoot;
  for (const char c : config.continuing_subword_prefix) {
    if (model->trie_.Step(c, &node)) continue;
    model->continues_ = std::nullopt;
    break;
  }
  if (model->continues_) model->continues_ = node;
  model->vocabulary_ = std::move(vocabulary);
  return model;
}

void WordPieceModel::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  const size_t first = ids->size();
  const bool too_long = piece.size() > static_cast<size_t>(max_word_characters_) &&
                        CountCharacters(piece) > static_cast<size_t>(max_word_characters_);
  for (size_t begin = 0; begin < piece.size() && !too_long;) {
    TokenId longest = PieceTrie::kNone;
    size_t longest_end = begin;
    if (begin == 0 || continues_) {
      PieceTrie::Node node = begin == 0 ? PieceTrie::kRoot : *continues_;
      for (size_t end = begin; end < piece.size() && trie_.Step(piece[end], &node);) {
        ++end;
        if (trie_.value(node) == PieceTrie::kNone) continue;
        longest = trie_.value(node);
        longest_end = end;
      }
    }
    if (longest == PieceTrie::kNone) {
      ids->resize(first);
      break;
    }
    ids->push_back(longest);
    begin = longest_end;
  }
  if (ids->size() == first) ids->push_back(unknown_);
}

absl::StatusOr<std::unique_ptr<WordLevelModel>> WordLevelModel::Create(const WordLevelConfig& config,
                                                                       std::shared_ptr<const Vocabulary> vocabulary) {
  std::unique_ptr<WordLevelModel> model(new WordLevelModel());
  if (config.unknown) {
    const absl::StatusOr<TokenId> unknown = FindUnknown(*config.unknown, *vocabulary);
    if (!unknown.ok()) return unknown.status();
    model->unknown_ = *unknown;
  }
  model->vocabulary_ = std::move(vocabulary);
  return model;
}

void WordLevelModel::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  if (const std::optional<TokenId> id = vocabulary_->Find(piece)) {
    ids->push_back(*id);
  } else if (unknown_) {
    ids->push_back(*unknown_);
  }
}

}  // namespace blazon::language
