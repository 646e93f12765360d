#include "language/tokenizer/pipeline_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

struct CreateModel {
  std::shared_ptr<const Vocabulary> vocabulary;
  bool bytes;

  using Result = absl::StatusOr<std::unique_ptr<const TokenModel>>;
  template <class Model>
  static Result Generic(absl::StatusOr<std::unique_ptr<Model>> model) {
    if (!model.ok()) return model.status();
    return std::unique_ptr<const TokenModel>(*std::move(model));
  }
  Result operator()(const BytePairConfig& config) const {
    return Generic(BytePairModel::Create(config, vocabulary, bytes));
  }
  Result operator()(const UnigramConfig& config) const { return Generic(UnigramModel::Create(config, vocabulary)); }
  Result operator()(const WordPieceConfig& config) const { return Generic(WordPieceModel::Create(config, vocabulary)); }
  Result operator()(const WordLevelConfig& config) const { return Generic(WordLevelModel::Create(config, vocabulary)); }
};

// Byte-level BPE takes the bytes themselves: writing them in the byte alphabet and back costs time and changes nothing.
bool TakesBytes(const TokenizerConfig& config) {
  const auto* const byte_pairs = std::get_if<BytePairConfig>(&config.model);
  return byte_pairs != nullptr && !byte_pairs->byte_fallback && byte_pairs->scores.empty() &&
         !config.pre_tokenizer.empty() &&
         std::holds_alternative<pre_tokenizers::ByteLevel>(config.pre_tokenizer.back());
}

}  // namespace

absl::StatusOr<std::unique_ptr<PipelineTokenizer>> PipelineTokenizer::Create(TokenizerConfig config) {
  constexpr size_t kMostTokens = 1 << 26;
  size_t size = config.tokens.size();
  for (const AddedToken& token : config.added_tokens) {
    if (token.id < 0 || static_cast<size_t>(token.id) >= kMostTokens) {
      return absl::InvalidArgumentError(absl::StrCat("added token \"", absl::Utf8SafeCHexEscape(token.content),
                                                     "\" has the id ", token.id, "; ids are 0 to ", kMostTokens - 1));
    }
    size = std::max(size, static_cast<size_t>(token.id) + 1);
  }
  if (size > kMostTokens) return absl::InvalidArgumentError(absl::StrCat("more than ", kMostTokens, " tokens"));
  for (const std::vector<TokenId>* const around : {&config.prefix, &config.suffix}) {
    for (const TokenId id : *around) {
      if (id >= 0 && static_cast<size_t>(id) < size) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("the special token ", id, " round a text is not in the vocabulary"));
    }
  }
  std::unique_ptr<PipelineTokenizer> tokenizer(new PipelineTokenizer());

  absl::StatusOr<Normalizer> normalizer = Normalizer::Create(config.normalizer);
  if (!normalizer.ok()) return normalizer.status();
  tokenizer->normalizer_ = *std::move(normalizer);
  const bool bytes = TakesBytes(config);
  absl::StatusOr<PreTokenizer> pre_tokenizer = PreTokenizer::Create(config.pre_tokenizer, /*raw_bytes=*/bytes);
  if (!pre_tokenizer.ok()) return pre_tokenizer.status();
  tokenizer->pre_tokenizer_ = *std::move(pre_tokenizer);
  absl::StatusOr<Decoder> decoder = Decoder::Create(config.decoder);
  if (!decoder.ok()) return decoder.status();
  tokenizer->decoder_ = *std::move(decoder);

  tokenizer->vocabulary_ = std::make_shared<const Vocabulary>(std::move(config.tokens));
  auto model = std::visit(CreateModel{tokenizer->vocabulary_, bytes}, config.model);
  if (!model.ok()) return model.status();
  tokenizer->model_ = *std::move(model);

  tokenizer->special_.resize(size);
  std::vector<AddedToken> raw, normalized;
  for (AddedToken& token : config.added_tokens) {
    tokenizer->special_[token.id] = token.special;
    tokenizer->added_ids_[token.content] = token.id;
    std::string spelling = token.content;
    if (token.normalized) {
      bool lost_first = false;
      token.content = tokenizer->normalizer_.Apply(token.content, &lost_first);
    }
    tokenizer->added_[token.id] = {std::move(spelling), token.content};
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  tokenizer->raw_added_ = AddedTokens(std::move(raw));
  tokenizer->normalized_added_ = AddedTokens(std::move(normalized));
  tokenizer->prefix_ = std::move(config.prefix);
  tokenizer->suffix_ = std::move(config.suffix);
  return tokenizer;
}

std::vector<TokenId> PipelineTokenizer::Encode(std::string_view text) const { return EncodeText(text, false); }

std::vector<TokenId> PipelineTokenizer::EncodeWithSpecials(std::string_view text) const {
  return EncodeText(text, true);
}

std::vector<TokenId> PipelineTokenizer::EncodeText(std::string_view text, bool with_special) const {
  std::string replaced;
  if (!IsValidUtf8(text)) text = replaced = ReplaceInvalidUtf8(text);
  std::vector<TokenId> ids;
  PreTokenizer::Scratch scratch;
  const auto add = [&](TokenId id) { ids.push_back(id); };
  raw_added_.Split(
      text, with_special,
      [&](std::string_view part) {
        bool begins_text = part.data() == text.data();
        std::string normalized;
        if (!normalizer_.empty()) {
          bool lost_first = false;
          part = normalized = normalizer_.Apply(part, &lost_first);
          begins_text = begins_text && !lost_first;
        }
        normalized_added_.Split(
            part, with_special,
            [&](std::string_view plain) {
              const bool first = begins_text && plain.data() == part.data();
              for (const PreTokenizer::Piece& piece : pre_tokenizer_.Split(plain, first, &scratch))
                model_->Encode(piece.text, &ids);
            },
            add);
      },
      add);
  return ids;
}

std::string_view PipelineTokenizer::Token(TokenId id) const {
  if (const auto added = added_.find(id); added != added_.end()) return added->second.decoded;
  return id >= 0 && static_cast<size_t>(id) < vocabulary_->tokens().size() ? vocabulary_->tokens()[id]
                                                                           : std::string_view();
}

std::string PipelineTokenizer::TokenBytes(TokenId id, bool first) const {
  if (IsSpecial(id)) return added_.at(id).spelling;
  const std::string_view token = Token(id);
  return token.empty() ? std::string() : decoder_.TokenBytes(token, first);
}

std::string PipelineTokenizer::TokenBytes(TokenId id) const { return TokenBytes(id, /*first=*/false); }

std::string PipelineTokenizer::FirstTokenBytes(TokenId id) const { return TokenBytes(id, /*first=*/true); }

std::string PipelineTokenizer::Decode(absl::Span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const TokenId id : ids) {
    const std::string_view token = Token(id);
    if (!token.empty() && !(skip_special && IsSpecial(id))) tokens.emplace_back(token);
  }
  return decoder_.Decode(std::move(tokens));
}

std::optional<TokenId> PipelineTokenizer::FindToken(std::string_view spelling) const {
  if (const auto added = added_ids_.find(spelling); added != added_ids_.end()) return added->second;
  return vocabulary_->Find(spelling);
}

}  // namespace blazon::language
