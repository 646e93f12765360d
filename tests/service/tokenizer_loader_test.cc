// Which tokenizer files are read, and what is refused by name.
#include "service/checkpoint/tokenizer_loader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/tokenizer_json.h"

namespace blazon::service {
namespace {

using language::TokenId;
using nlohmann::json;

class TokenizerLoader : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const char* name, const std::string& text) const { std::ofstream(folder_ / name) << text; }
  void WriteJson(const char* name, const json& value) const { Write(name, value.dump()); }

  // The tokenizer of the folder must be refused with `code`, and the message must hold `part`.
  void ExpectRefused(absl::StatusCode code, const std::string& part) const {
    const auto tokenizer = LoadTokenizer(folder_);
    ASSERT_EQ(tokenizer.status().code(), code) << tokenizer.status();
    EXPECT_NE(std::string(tokenizer.status().message()).find(part), std::string::npos) << tokenizer.status();
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() /
      absl::StrCat("blazon-tokenizer-", getpid(), "-", testing::UnitTest::GetInstance()->current_test_info()->name());
};

json SmallTokenizer() {
  return {{"version", "1.0"},
          {"added_tokens", json::array({{{"id", 3}, {"content", "<s>"}, {"special", true}, {"normalized", false}}})},
          {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}};
}

TEST_F(TokenizerLoader, AFolderWithoutTokenizerNamesTheFiles) {
  ExpectRefused(absl::StatusCode::kNotFound, "tokenizer.json, nor vocab.json with merges.txt, nor vocab.txt");
}

TEST_F(TokenizerLoader, ConfigAddsWhatTheFileLacks) {
  WriteJson("tokenizer.json", SmallTokenizer());
  WriteJson("tokenizer_config.json", json{{"add_bos_token", true}, {"bos_token", {{"content", "<s>"}}}});
  const auto tokenizer = LoadTokenizer(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->prefix(), absl::MakeConstSpan({TokenId{3}}));
  EXPECT_EQ((*tokenizer)->Encode("ab"), std::vector<TokenId>{2});
  WriteJson("tokenizer_config.json", json{{"add_eos_token", true}, {"eos_token", "</s>"}});
  ExpectRefused(absl::StatusCode::kDataLoss, "</s>");
}

TEST_F(TokenizerLoader, ReadsVocabJsonWithMerges) {
  WriteJson("vocab.json", json{{"a", 0}, {"b", 1}, {"ab", 2}, {"\u0120", 3}, {"\u0120ab", 4}, {"<|endoftext|>", 5}});
  ExpectRefused(absl::StatusCode::kNotFound, "merges.txt");
  Write("merges.txt", "#version: 0.2\na b\n\u0120 ab\n");
  const auto tokenizer = LoadTokenizer(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("ab ab"), (std::vector<TokenId>{2, 4}));
  EXPECT_EQ((*tokenizer)->EncodeWithSpecials("a<|endoftext|>"), (std::vector<TokenId>{0, 5}));
  EXPECT_EQ((*tokenizer)->Decode({2, 4, 5}, /*skip_special=*/true), "ab ab");
}

TEST_F(TokenizerLoader, ReadsVocabTxt) {
  Write("vocab.txt", "[PAD]\r\n[UNK]\n[CLS]\n[SEP]\nab\n##c\nAB\n");
  auto tokenizer = LoadTokenizer(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("ABC d"), (std::vector<TokenId>{4, 5, 1}));
  EXPECT_EQ((*tokenizer)->prefix(), absl::MakeConstSpan({TokenId{2}}));
  EXPECT_EQ((*tokenizer)->unknown_token(), TokenId{1});
  WriteJson("tokenizer_config.json", json{{"do_lower_case", false}});
  tokenizer = LoadTokenizer(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("AB"), std::vector<TokenId>{6});
}

TEST_F(TokenizerLoader, WhatIsNotReadIsRefusedByName) {
  const auto expect = [&](const json& patch, absl::StatusCode code, const std::string& part) {
    json file = SmallTokenizer();
    file.merge_patch(patch);
    WriteJson("tokenizer.json", file);
    ExpectRefused(code, part);
  };
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  expect({{"normalizer", {{"type", "Fancy"}}}}, kUnimplemented, "normalizer is of type \"Fancy\"");
  expect({{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}, kUnimplemented, "\"UnicodeScripts\"");
  expect({{"decoder", {{"type", "Sequence"}, {"decoders", {{{"type", "CTC"}}}}}}}, kUnimplemented, "\"CTC\"");
  expect({{"post_processor", {{"type", "Odd"}}}}, kUnimplemented, "\"Odd\"");
  expect({{"model", {{"type", "Markov"}}}}, kUnimplemented, "\"Markov\"");
  expect({{"model", {{"dropout", 0.1}}}}, kUnimplemented, "dropout");
  expect({{"version", "2.0"}}, kUnimplemented, "version");
  expect({{"pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "a&&"}}}, {"behavior", "Sideways"}}}},
         kUnimplemented, "Sideways");
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  expect({{"pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}}}}, kDataLoss,
         "is not understood");
  expect({{"normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}}}, kDataLoss, "character table");
  expect({{"normalizer", {{"type", "Prepend"}}}}, kDataLoss, "prepend is missing");
  expect({{"model", {{"vocab", {{"x", 1}}}}}}, kDataLoss, "both have the id 1");
  expect({{"model", {{"vocab", {{"x", -1}}}}}}, kDataLoss, "\"x\"");
  expect({{"model", {{"merges", {"a b c"}}}}}, kDataLoss, "\"a b c\"");
  expect({{"model", {{"merges", {"a c"}}}}}, kDataLoss, "merge 0");
  expect({{"model", {{"unk_token", "<unk>"}}}}, kDataLoss, "<unk>");
  expect({{"model", nullptr}}, kDataLoss, "model is not an object");
}

TEST_F(TokenizerLoader, TruncationAndPaddingOfTheFileAreNotApplied) {
  json file = SmallTokenizer();
  file["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}, {"direction", "Right"}};
  file["padding"] = {{"strategy", {{"Fixed", 8}}}, {"pad_id", 0}};
  WriteJson("tokenizer.json", file);
  const auto tokenizer = LoadTokenizer(folder_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("aaab"), (std::vector<TokenId>{0, 0, 2}));
}

TEST_F(TokenizerLoader, DeepJsonIsAnError) {
  for (const std::string& part : {std::string(10'000, '['), "{\"normalizer\": " + std::string(10'000, '['),
                                  std::string(10'000, '[') + std::string(10'000, ']')}) {
    Write("tokenizer.json", part);
    ExpectRefused(absl::StatusCode::kDataLoss, "nested more than 100 deep");
  }
  Write("tokenizer.json", std::string("{\"model\": "));
  ExpectRefused(absl::StatusCode::kDataLoss, "not JSON");
}

// A file that is cut short, or has a byte changed, is refused or read; nothing worse.
TEST_F(TokenizerLoader, BrokenFilesDoNoHarm) {
  std::ifstream stream(std::filesystem::path(BLAZON_SOURCE_DIR) / "tests/goldens/tokenizers/qwen2/tokenizer.json");
  const std::string whole((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  ASSERT_GT(whole.size(), 1000u);
  for (size_t at = 0; at < whole.size(); at += 211) {
    EXPECT_FALSE(ReadTokenizerJson(std::string_view(whole).substr(0, at)).ok());
    for (const char with : {'"', '9', '{', '\xFF'}) {
      std::string changed = whole;
      changed[at] = with;
      auto config = ReadTokenizerJson(changed);
      if (!config.ok()) continue;
      const auto tokenizer = language::PipelineTokenizer::Create(*std::move(config));
      if (tokenizer.ok()) (void)(*tokenizer)->EncodeWithSpecials("I'm 12 \u00e9 <|im_end|>\n");
    }
  }
}

}  // namespace
}  // namespace blazon::service
