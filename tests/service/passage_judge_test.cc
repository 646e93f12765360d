// The answering adapter's judgement of passages: the same together as apart, and that of the model's own probabilities.
// What the committed adapter is worth, answers_test measures.
#include "service/passage_judge.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "service/answer_prompt.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {
namespace {

const char kRoot[] = BLAZON_SOURCE_DIR;

TEST(JudgePassages, EachPassageIsReadByItself) {
  const std::filesystem::path root = kRoot;
  const auto loaded = LoadLanguageModel(root / "models/smollm2-135m-instruct", {.dtype = language::Dtype::kFp32});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto adapter = ReadAdapter(root / "assets/answerer", *loaded->model);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  const std::string question = "When does the museum close on Thursdays?";
  const std::vector<std::string> passages = {
      AnswerPassage("Harbour museum", "Opening hours", "On Thursdays it stays open until 20:00."),
      AnswerPassage("Camera manual", "", "The battery lasts for about 400 pictures. Charge it before the first use.")};
  const auto together = JudgePassages(*loaded->model, **adapter, *loaded->tokenizer, question, passages);
  ASSERT_TRUE(together.ok()) << together.status();
  ASSERT_EQ(together->size(), 2u);
  EXPECT_GT((*together)[0], (*together)[1]);

  const c10::InferenceMode inference;
  for (size_t i = 0; i < passages.size(); ++i) {
    const std::vector<language::TokenId> tokens = AnswerTokens(*loaded->tokenizer, passages[i], question);
    const std::vector<int64_t> ids(tokens.begin(), tokens.end());
    const language::ModelInput input{.tokens = at::tensor(at::ArrayRef<int64_t>(ids), at::kLong),
                                     .adapter = adapter->get()};
    const at::Tensor hidden = loaded->model->Forward({&input, 1});  // [T, D]
    const at::Tensor probabilities = at::softmax(loaded->model->Logits(hidden.slice(0, -1).contiguous()), -1);
    const double refused = probabilities[0][loaded->tokenizer->Encode(" not stated").front()].item<double>();
    EXPECT_NEAR((*together)[i], std::log((1 - refused) / refused), 1e-3) << passages[i];
  }
}

TEST(PassageAround, TakesNeighboursThatFit) {
  const auto loaded = LoadLanguageModel(std::filesystem::path(kRoot) / "models/smollm2-135m-instruct");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const language::Tokenizer& tokenizer = *loaded->tokenizer;
  retrieval::ScoredChunk chunk;
  chunk.title = "Museum";
  chunk.text = "It opens at nine. It closes at five.\nOn Mondays it stays shut. Dogs wait outside.";
  chunk.span = {100, 100 + chunk.text.size()};
  const auto sentence = [&](const std::string& text) {
    retrieval::ScoredSentence result;
    result.text = text;
    const size_t begin = 100 + chunk.text.find(text);
    result.span = {begin, begin + text.size()};
    return result;
  };
  const Passage middle = PassageAround(sentence("It closes at five."), chunk, 1, 256, tokenizer);
  EXPECT_EQ(middle.text, "Context: Museum: It opens at nine. It closes at five. On Mondays it stays shut.\n");
  EXPECT_EQ(middle.span.begin, 100u);
  EXPECT_EQ(chunk.text.substr(middle.span.begin - 100, middle.span.size()),
            "It opens at nine. It closes at five.\nOn Mondays it stays shut.");
  EXPECT_EQ(PassageAround(sentence("Dogs wait outside."), chunk, 1, 256, tokenizer).text,
            "Context: Museum: On Mondays it stays shut. Dogs wait outside.\n");
  EXPECT_EQ(PassageAround(sentence("It opens at nine."), chunk, 0, 256, tokenizer).text,
            "Context: Museum: It opens at nine.\n");
  const int64_t alone = static_cast<int64_t>(tokenizer.Encode("Context: Museum: It closes at five.\n").size());
  EXPECT_EQ(PassageAround(sentence("It closes at five."), chunk, 1, alone, tokenizer).text,
            "Context: Museum: It closes at five.\n");
  EXPECT_EQ(PassageAround(sentence("It closes at five."), chunk, 1, alone - 1, tokenizer).text, "");
}

TEST(JudgePassages, RefusesWhatTheContextCannotHold) {
  const std::filesystem::path root = kRoot;
  const auto loaded = LoadLanguageModel(root / "models/smollm2-135m-instruct");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  std::string text;
  for (int i = 0; i < 9000; ++i) text += "word ";
  const std::vector<std::string> passages = {AnswerPassage("", "", text)};
  const auto odds = JudgePassages(*loaded->model, {}, *loaded->tokenizer, "Why?", passages);
  EXPECT_EQ(odds.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(odds.status().message(), "8192")) << odds.status();
}

}  // namespace
}  // namespace blazon::service
