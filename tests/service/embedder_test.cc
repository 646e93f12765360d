// all-MiniLM-L6-v2 against sentence-transformers, and what the embedder refuses.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "language/models/bert_embedder.h"
#include "service/checkpoint/embedder_loader.h"
#include "service/checkpoint/safetensors.h"
#include "tests/language/far_device.h"

namespace blazon::service {
namespace {

const char kRemedy[] = "; goldens are made by: python tests/reference/embedder_goldens.py";
const std::string kRoot = BLAZON_SOURCE_DIR;

class EmbedderTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto loaded = LoadTextEmbedder(kRoot + "/models/all-minilm-l6-v2");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    embedder = loaded->release();
    loaded = LoadTextEmbedder(kRoot + "/models/all-minilm-l6-v2", at::kCPU, language::EmbedderPrecision::kFp32);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    reference = loaded->release();
    std::ifstream file(kRoot + "/tests/goldens/embedder.json");
    ASSERT_TRUE(file) << kRemedy;
    texts = nlohmann::json::parse(file).get<std::vector<std::string>>();
  }

  static double Cosine(const float* a, const float* b) {
    double dot = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < embedder->dimension(); ++i) {
      dot += static_cast<double>(a[i]) * b[i];
      aa += static_cast<double>(a[i]) * a[i];
      bb += static_cast<double>(b[i]) * b[i];
    }
    return dot / std::sqrt(aa * bb);
  }

  // They live as long as the process. embedder: as commands load it; reference: in fp32.
  static inline const language::TextEmbedder *embedder = nullptr, *reference = nullptr;
  static inline std::vector<std::string> texts;
};

TEST_F(EmbedderTest, VectorsAgreeWithSentenceTransformers) {
  auto golden = ReadSafetensors(kRoot + "/tests/goldens/embedder.safetensors");
  ASSERT_TRUE(golden.ok()) << golden.status() << kRemedy;
  const at::Tensor expected = golden->at("vectors");
  ASSERT_EQ(embedder->dimension(), 384);
  ASSERT_EQ(expected.size(0), static_cast<int64_t>(texts.size())) << kRemedy;
  EXPECT_EQ(reference->precision(), language::EmbedderPrecision::kFp32);
  for (const language::TextEmbedder* each : {reference, embedder}) {
    const bool exact = each->precision() == language::EmbedderPrecision::kFp32;
    const auto vectors = each->Embed(texts);
    ASSERT_TRUE(vectors.ok()) << vectors.status();
    double worst = 1;
    for (size_t i = 0; i < texts.size(); ++i) {
      const float* vector = &(*vectors)[i * 384];
      const double cosine = Cosine(vector, expected.const_data_ptr<float>() + i * 384);
      EXPECT_GE(cosine, exact ? 0.9999 : 0.999) << texts[i] << kRemedy;
      worst = std::min(worst, cosine);
      double norm = 0;
      for (int j = 0; j < 384; ++j) norm += static_cast<double>(vector[j]) * vector[j];
      EXPECT_NEAR(norm, 1.0, 1e-5);
    }
    std::printf("%s: lowest cosine %.7f over %zu texts\n", exact ? "fp32" : "int8", worst, texts.size());
  }
}

TEST_F(EmbedderTest, EightBitsAreNearToFp32OnPassages) {
  if (embedder->precision() == language::EmbedderPrecision::kFp32)
    GTEST_SKIP() << "this processor has no AVX-512 with VNNI and BF16";
  std::vector<std::string> passages;
  for (const char* name : {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"}) {
    std::ifstream file(kRoot + "/" + name);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    for (size_t at = 0; at + 500 <= text.size() && passages.size() < 40; at += 500)
      passages.push_back(text.substr(at, at % 1000 == 0 ? 500 : 200));
  }
  ASSERT_EQ(passages.size(), 40u);
  const auto found = embedder->Embed(passages), expected = reference->Embed(passages);
  ASSERT_TRUE(found.ok() && expected.ok()) << found.status() << expected.status();
  double worst = 1, sum = 0;
  for (size_t i = 0; i < passages.size(); ++i) {
    const double cosine = Cosine(&(*found)[i * 384], &(*expected)[i * 384]);
    EXPECT_GE(cosine, 0.999) << passages[i];
    EXPECT_LT(cosine, 1 - 1e-7) << "8 bits were not used";
    worst = std::min(worst, cosine);
    sum += cosine;
  }
  std::printf("int8 against fp32: cosine %.6f at least, %.6f on average, of %zu passages\n", worst,
              sum / static_cast<double>(passages.size()), passages.size());
}

TEST_F(EmbedderTest, AnotherDeviceGivesTheSameVectorsAndStates) {
  const auto far = LoadTextEmbedder(kRoot + "/models/all-minilm-l6-v2", language::FarDevice());
  ASSERT_TRUE(far.ok()) << far.status();
  const std::vector<std::string> some(texts.begin(), texts.begin() + 4);
  const auto expected = reference->Embed(some), found = (*far)->Embed(some);
  ASSERT_TRUE(expected.ok() && found.ok()) << found.status();
  for (size_t i = 0; i < expected->size(); ++i) ASSERT_NEAR((*found)[i], (*expected)[i], 1e-5);
  const auto& bert = dynamic_cast<const language::BertEmbedder&>(**far);
  const auto states = bert.States(some, 4);
  ASSERT_TRUE(states.ok()) << states.status();
  EXPECT_TRUE((*states)[0][0].is_cpu());
}

TEST_F(EmbedderTest, AVectorDoesNotDependOnItsNeighbours) {
  const auto together = embedder->Embed(texts);
  ASSERT_TRUE(together.ok());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto alone = embedder->Embed({&texts[i], 1});
    ASSERT_TRUE(alone.ok());
    for (int j = 0; j < 384; ++j) ASSERT_NEAR((*alone)[j], (*together)[i * 384 + j], 2e-6) << texts[i];
  }
}

TEST_F(EmbedderTest, TextPastTheLimitIsRefusedWithBothLengths) {
  EXPECT_EQ(embedder->max_tokens(), 256);
  EXPECT_EQ(embedder->CountTokens(""), 2);
  EXPECT_EQ(embedder->CountTokens("bees make honey"), 5);
  std::string text;
  for (int i = 0; i < 254; ++i) text += "bee ";
  EXPECT_EQ(embedder->CountTokens(text), 256);
  EXPECT_TRUE(embedder->Embed({&text, 1}).ok());
  const std::vector<std::string> batch = {"short", text + "bee"};
  const auto refused = embedder->Embed(batch);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.status().message(),
            "text 1 has 257 tokens; the embedder takes at most 256, [CLS] and [SEP] included. Split it.");
  EXPECT_TRUE(embedder->Embed({})->empty());
}

TEST_F(EmbedderTest, PiecesAreMeansOfTheirTokensInTheirText) {
  const std::vector<std::vector<std::string>> pieces = {{"Bees", " ", "make", " ", "honey", "."}, {"river ", "bank"}};
  const auto embedded = embedder->EmbedPieces(pieces);
  ASSERT_TRUE(embedded.ok()) << embedded.status();
  ASSERT_EQ(embedded->size(), 2u);
  const std::vector<std::string> whole = {"Bees make honey.", "river bank", "bank"};
  const auto vectors = embedder->Embed(whole);
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  for (int text = 0; text < 2; ++text) {
    const language::PieceEmbeddings& one = (*embedded)[text];
    ASSERT_EQ(one.pieces.size(), pieces[text].size() * 384);
    for (int j = 0; j < 384; ++j) ASSERT_NEAR(one.text[j], (*vectors)[text * 384 + j], 2e-6);
  }
  const std::vector<float>& words = (*embedded)[0].pieces;
  for (int j = 0; j < 384; ++j) EXPECT_EQ(words[384 + j], 0.0f) << "a space has no tokens";
  EXPECT_NEAR(Cosine(&words[0], &words[0]), 1.0, 1e-6);
  // "bank" beside "river" is not what "bank" is alone.
  EXPECT_LT(Cosine(&(*embedded)[1].pieces[384], &(*vectors)[2 * 384]), 0.95);
  const std::vector<std::vector<std::string>> long_text = {std::vector<std::string>(255, "bee ")};
  EXPECT_EQ(embedder->EmbedPieces(long_text).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EmbedderTest, TheFingerprintNamesWeightsAndProcedure) {
  EXPECT_TRUE(absl::StartsWith(embedder->fingerprint(), "bert:sha256:"));
  EXPECT_TRUE(absl::EndsWith(embedder->fingerprint(), ":mean:l2:256"));
  EXPECT_EQ(embedder->fingerprint(), (*LoadTextEmbedder(kRoot + "/models/all-minilm-l6-v2"))->fingerprint());
}

TEST_F(EmbedderTest, AFolderOfAnotherKindIsRefused) {
  EXPECT_EQ(LoadTextEmbedder(kRoot + "/models/no-such-folder").status().code(), absl::StatusCode::kNotFound);
  const auto other = LoadTextEmbedder(kRoot + "/models/efficientnet-lite0").status();
  EXPECT_FALSE(other.ok());
}

TEST(CrossEncoderTest, ScoresAgreeWithTransformers) {
  const char remedy[] = "; goldens are made by: python tests/reference/cross_encoder_goldens.py";
  const std::string folder = kRoot + "/tests/goldens/cross_encoder";
  const auto scorer = LoadReranker(folder);
  ASSERT_TRUE(scorer.ok()) << scorer.status() << remedy;
  std::ifstream file(folder + "/scores.json");
  ASSERT_TRUE(file) << remedy;
  const nlohmann::json golden = nlohmann::json::parse(file);
  const auto passages = golden["passages"].get<std::vector<std::string>>();
  double least = 1e9, most = -1e9;
  for (size_t q = 0; q < golden["queries"].size(); ++q) {
    const auto scores = (*scorer)->Score(golden["queries"][q].get<std::string>(), passages);
    ASSERT_TRUE(scores.ok()) << scores.status();
    for (size_t p = 0; p < passages.size(); ++p) {
      const double expected = golden["scores"][q][p];
      EXPECT_NEAR((*scores)[p], expected, 2e-5) << golden["queries"][q] << " with " << passages[p] << remedy;
      least = std::min(least, expected);
      most = std::max(most, expected);
    }
  }
  EXPECT_GT(most - least, 1) << "scores that do not differ prove nothing";
  EXPECT_TRUE((*scorer)->Score("bees", {})->empty());
  std::string text;
  for (int i = 0; i < 62; ++i) text += "noon ";
  const absl::Status refused = (*scorer)->Score("bees", {passages[0], text}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(refused.message(), "query and passage 1 have 66 tokens; the reranker reads at most 64"))
      << refused;
  const absl::Status embedder = LoadReranker(kRoot + "/models/all-minilm-l6-v2").status();
  EXPECT_TRUE(absl::StrContains(embedder.message(), "a reranker is a BertForSequenceClassification")) << embedder;
}

}  // namespace
}  // namespace blazon::service
