#include "language/tokenizer/tokenizer_trainer.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/byte_alphabet.h"
#include "language/tokenizer/byte_pair_trainer.h"
#include "language/tokenizer/unicode.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

constexpr std::string_view kUnknownToken = "<unk>";
constexpr int64_t kMostTokens = 1 << 24;

// The byte alphabet in the order of its characters.
std::vector<std::string> ByteTokens() {
  std::vector<int32_t> characters;
  for (int byte = 0; byte < 256; ++byte) characters.push_back(ByteCharacter(static_cast<uint8_t>(byte)));
  std::sort(characters.begin(), characters.end());
  std::vector<std::string> tokens;
  for (const int32_t character : characters) AppendUtf8(character, &tokens.emplace_back());
  return tokens;
}

bool HasUnknown(TokenizerKind kind) { return kind == TokenizerKind::kCharacter || kind == TokenizerKind::kWord; }

}  // namespace

absl::StatusOr<TokenizerKind> ParseTokenizerKind(std::string_view name) {
  if (name == "byte") return TokenizerKind::kByte;
  if (name == "character") return TokenizerKind::kCharacter;
  if (name == "word") return TokenizerKind::kWord;
  if (name == "bpe") return TokenizerKind::kBytePair;
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer \"", std::string(name), "\" is unknown; use byte, character, word or bpe"));
}

absl::StatusOr<TokenizerTrainer> TokenizerTrainer::Create(TokenizerTrainerOptions options) {
  if (HasUnknown(options.kind) && std::find(options.special_tokens.begin(), options.special_tokens.end(),
                                            kUnknownToken) == options.special_tokens.end())
    options.special_tokens.emplace_back(kUnknownToken);
  std::vector<std::string> sorted = options.special_tokens;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    return absl::InvalidArgumentError(absl::StrCat("the special token \"", *twice, "\" is given twice"));
  if (!sorted.empty() && sorted[0].empty()) return absl::InvalidArgumentError("a special token is empty");
  for (const std::string& token : sorted) {
    if (!IsValidUtf8(token)) return absl::InvalidArgumentError("a special token is not UTF-8");
  }
  if (options.min_frequency < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the minimum frequency is ", options.min_frequency, "; it must be at least 1"));
  }
  const int64_t least =
      static_cast<int64_t>(options.special_tokens.size()) + (options.kind == TokenizerKind::kBytePair ? 256 : 1);
  if (options.kind != TokenizerKind::kByte &&
      (options.vocabulary_size < least || options.vocabulary_size > kMostTokens)) {
    return absl::InvalidArgumentError(absl::StrCat("the vocabulary size is ", options.vocabulary_size,
                                                   "; it must be from ", least, " to ", kMostTokens));
  }
  TokenizerTrainer trainer;
  trainer.options_ = std::move(options);
  // Words are counted as the vocabulary writes them: in the byte alphabet.
  absl::StatusOr<PreTokenizer> pre_tokenizer =
      PreTokenizer::Create({pre_tokenizers::ByteLevel{.add_prefix_space = false}}, /*raw_bytes=*/false);
  if (!pre_tokenizer.ok()) return pre_tokenizer.status();
  trainer.pre_tokenizer_ = *std::move(pre_tokenizer);
  return trainer;
}

void TokenizerTrainer::Add(std::string_view text) {
  const auto count = [this](std::string_view each) {
    const auto found = counts_.find(each);
    if (found != counts_.end()) {
      ++found->second;
    } else {
      counts_.emplace(each, 1);
    }
  };
  if (options_.kind == TokenizerKind::kByte) return;
  if (options_.kind == TokenizerKind::kCharacter) {
    for (size_t at = 0; at < text.size(); at += CharacterLength(text[at]))
      count(text.substr(at, CharacterLength(text[at])));
    return;
  }
  PreTokenizer::Scratch scratch;
  for (const PreTokenizer::Piece& piece : pre_tokenizer_->Split(text, true, &scratch)) count(piece.text);
}

// Special tokens, and the byte alphabet where the kind has it.
std::vector<std::string> TokenizerTrainer::FirstTokens() const {
  std::vector<std::string> tokens = options_.special_tokens;
  if (HasUnknown(options_.kind)) return tokens;
  for (std::string& token : ByteTokens()) {
    if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(std::move(token));
  }
  return tokens;
}

// The most frequent ones that there is room for; of equally frequent ones the first in the order of bytes.
void TokenizerTrainer::AddWords(int64_t min_frequency, std::vector<std::string>* tokens) const {
  std::vector<std::pair<std::string, int64_t>> words(counts_.begin(), counts_.end());
  std::sort(words.begin(), words.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  for (auto& [word, count] : words) {
    if (static_cast<int64_t>(tokens->size()) >= options_.vocabulary_size || count < min_frequency) return;
    if (std::find(options_.special_tokens.begin(), options_.special_tokens.end(), word) ==
        options_.special_tokens.end())
      tokens->push_back(std::move(word));
  }
}

absl::StatusOr<TokenizerConfig> TokenizerTrainer::Train() const {
  if (counts_.empty() && options_.kind != TokenizerKind::kByte)
    return absl::FailedPreconditionError("there is no text to learn a tokenizer from");
  TokenizerConfig config;
  config.tokens = FirstTokens();
  const size_t first = options_.special_tokens.size();
  const std::optional<std::string> unknown =
      HasUnknown(options_.kind) ? std::optional<std::string>(kUnknownToken) : std::nullopt;
  BytePairConfig pairs;
  pairs.unknown = unknown;
  switch (options_.kind) {
    case TokenizerKind::kByte:
      break;
    case TokenizerKind::kCharacter:
      AddWords(1, &config.tokens);
      std::sort(config.tokens.begin() + static_cast<int64_t>(first), config.tokens.end());
      break;
    case TokenizerKind::kWord:
      AddWords(options_.min_frequency, &config.tokens);
      break;
    case TokenizerKind::kBytePair: {
      std::vector<CountedWord> words;
      for (const auto& [word, count] : counts_) words.push_back({word, count});
      TrainedMerges trained =
          TrainMerges(words, std::move(config.tokens), options_.vocabulary_size, options_.min_frequency);
      config.tokens = std::move(trained.tokens);
      pairs.merges = std::move(trained.merges);
      break;
    }
  }
  if (options_.kind == TokenizerKind::kWord) {
    config.model = WordLevelConfig{.unknown = unknown};
  } else {
    config.model = std::move(pairs);
  }
  for (size_t i = 0; i < first; ++i) {
    config.added_tokens.push_back(
        {.content = options_.special_tokens[i], .id = static_cast<TokenId>(i), .special = true});
  }
  if (options_.kind == TokenizerKind::kCharacter) {
    config.decoder = {decoders::Fuse()};
  } else {
    config.pre_tokenizer = {
        pre_tokenizers::ByteLevel{.add_prefix_space = false, .use_regex = options_.kind != TokenizerKind::kByte}};
    config.decoder = {decoders::ByteLevel()};
  }
  return config;
}

}  // namespace blazon::language
