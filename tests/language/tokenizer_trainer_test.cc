// Tokenizers that Blazon learns, against those that the `tokenizers` package learns from the same texts.
#include "language/tokenizer/tokenizer_trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "language/tokenizer/pipeline_tokenizer.h"
#include "service/checkpoint/tokenizer_json.h"
#include "service/checkpoint/tokenizer_writer.h"

namespace blazon::language {
namespace {

using nlohmann::json;

constexpr char kRemedy[] =
    "\nThe goldens are made by: python tests/reference/tokenizer_trainer_goldens.py (needs the package tokenizers)";

const json& Golden() {
  static const json& golden =
      *new json(json::parse(std::ifstream(std::string(BLAZON_SOURCE_DIR) + "/tests/goldens/tokenizer_trainer.json")));
  return golden;
}

TokenizerConfig Learn(const TokenizerTrainerOptions& options, const std::vector<std::string>& texts) {
  auto trainer = TokenizerTrainer::Create(options);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  for (const std::string& text : texts) trainer->Add(text);
  auto config = trainer->Train();
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

std::unique_ptr<PipelineTokenizer> Make(TokenizerConfig config) {
  auto tokenizer = PipelineTokenizer::Create(std::move(config));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// As Blazon writes and reads it.
TokenizerConfig ThroughFile(const TokenizerConfig& config) {
  const auto text = service::WriteTokenizerJson(config);
  EXPECT_TRUE(text.ok()) << text.status();
  auto read = service::ReadTokenizerJson(*text);
  EXPECT_TRUE(read.ok()) << read.status();
  return *std::move(read);
}

TokenizerTrainerOptions OptionsOf(const json& made) {
  return {.kind = *ParseTokenizerKind(made["kind"].get<std::string>()),
          .vocabulary_size = made["vocabulary_size"],
          .min_frequency = made["min_frequency"],
          .special_tokens = made["special"]};
}

TEST(TokenizerTrainerTest, LearnsWhatThePackageLearns) {
  ASSERT_FALSE(Golden()["cases"].empty()) << kRemedy;
  for (const json& made : Golden()["cases"]) {
    SCOPED_TRACE(made["kind"].get<std::string>() + " of " + made["texts"].get<std::string>() + kRemedy);
    const TokenizerConfig config = Learn(OptionsOf(made), Golden()["texts"][made["texts"].get<std::string>()]);
    ASSERT_EQ(config.tokens, made["tokens"].get<std::vector<std::string>>());
    if (const auto* const pairs = std::get_if<BytePairConfig>(&config.model)) {
      ASSERT_EQ(pairs->merges, (made["merges"].get<std::vector<std::pair<std::string, std::string>>>()));
    }
    for (const TokenizerConfig& each : {config, ThroughFile(config)}) {
      const auto tokenizer = Make(each);
      for (size_t i = 0; i < Golden()["strings"].size(); ++i) {
        const std::string text = Golden()["strings"][i];
        EXPECT_EQ(tokenizer->EncodeWithSpecials(text), made["ids"][i].get<std::vector<TokenId>>()) << text;
      }
    }
  }
}

TEST(TokenizerTrainerTest, GivesTextsBack) {
  const std::vector<std::string> texts = Golden()["texts"]["strings"];
  for (const TokenizerKind kind :
       {TokenizerKind::kByte, TokenizerKind::kCharacter, TokenizerKind::kWord, TokenizerKind::kBytePair}) {
    const auto tokenizer =
        Make(ThroughFile(Learn({.kind = kind, .vocabulary_size = 100000, .min_frequency = 1}, texts)));
    for (const std::string& text : texts) {
      const std::vector<TokenId> ids = tokenizer->Encode(text);
      EXPECT_EQ(tokenizer->Decode(ids, /*skip_special=*/false), text) << static_cast<int>(kind);
      std::string joined;
      for (const TokenId id : ids) joined += tokenizer->TokenBytes(id);
      EXPECT_EQ(joined, text) << static_cast<int>(kind);
    }
  }
}

TEST(TokenizerTrainerTest, CharactersAreTheMostFrequentInOrder) {
  const TokenizerConfig config = Learn({.kind = TokenizerKind::kCharacter, .vocabulary_size = 5}, {"zéézéa", "aabcz"});
  EXPECT_EQ(config.tokens, (std::vector<std::string>{"<|endoftext|>", "<unk>", "a", "z", "é"}));
  const auto tokenizer = Make(config);
  EXPECT_EQ(tokenizer->Encode("zab"), (std::vector<TokenId>{3, 2, 1}));
  EXPECT_EQ(tokenizer->unknown_token(), 1);
}

TEST(TokenizerTrainerTest, TheOrderOfTextsDoesNotMatter) {
  std::vector<std::string> texts = Golden()["texts"]["documents"];
  const TokenizerConfig forward = Learn({.vocabulary_size = 1000}, texts);
  std::reverse(texts.begin(), texts.end());
  EXPECT_EQ(*service::WriteTokenizerJson(forward),
            *service::WriteTokenizerJson(Learn({.vocabulary_size = 1000}, texts)));
}

TEST(TokenizerTrainerTest, RefusesWhatMakesNoTokenizer) {
  const auto refused = [](TokenizerTrainerOptions options, const char* message) {
    const auto trainer = TokenizerTrainer::Create(std::move(options));
    EXPECT_EQ(trainer.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(trainer.status().message().find(message), std::string::npos) << trainer.status();
  };
  refused({.vocabulary_size = 256}, "the vocabulary size is 256; it must be from 257");
  refused({.kind = TokenizerKind::kWord, .vocabulary_size = 2}, "it must be from 3");
  refused({.min_frequency = 0}, "the minimum frequency is 0");
  refused({.special_tokens = {"<a>", "<a>"}}, "\"<a>\" is given twice");
  refused({.special_tokens = {""}}, "a special token is empty");
  EXPECT_EQ(ParseTokenizerKind("unigram").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(TokenizerTrainer::Create({})->Train().status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace blazon::language
