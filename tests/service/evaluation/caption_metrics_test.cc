#include "service/evaluation/caption_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"

namespace blazon::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// pycocoevalcap and NLTK on the same strings.
TEST(CaptionMetrics, EqualThePublicImplementations) {
  std::ifstream file(BLAZON_SOURCE_DIR "/tests/goldens/caption_metrics.json");
  ASSERT_TRUE(file) << "goldens are made by: python tests/reference/caption_metric_goldens.py";
  const nlohmann::json golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden.size(), 3);
  for (const auto& [name, set] : golden.items()) {
    SCOPED_TRACE(name);
    std::vector<CaptionPair> pairs;
    for (const nlohmann::json& pair : set["pairs"]) {
      pairs.push_back({name, absl::StrSplit(pair["candidate"].get<std::string>(), ' '), {}});
      for (const nlohmann::json& reference : pair["references"])
        pairs.back().references.push_back(absl::StrSplit(reference.get<std::string>(), ' '));
    }
    const absl::StatusOr<CaptionScores> scores = ScoreCaptions(pairs);
    ASSERT_TRUE(scores.ok()) << scores.status();
    const nlohmann::json& expected = set["scores"];
    for (int order = 0; order < 4; ++order) EXPECT_NEAR(scores->bleu[order], expected["bleu"][order], 1e-6) << order;
    EXPECT_NEAR(scores->rouge_l, expected["rougeL"], 1e-6);
    EXPECT_NEAR(scores->meteor, expected["meteor"], 1e-6);
    EXPECT_NEAR(scores->cider_d, expected["ciderD"], 1e-6);
    EXPECT_NEAR(scores->exact, expected["exact"], 1e-6);
    EXPECT_EQ(scores->pictures, std::ssize(pairs));
  }
}

TEST(CaptionMetrics, AnEmptyCaptionCountsAsNothing) {
  const absl::StatusOr<CaptionScores> scores = ScoreCaptions(std::vector<CaptionPair>{{"a", {}, {{"a", "cat"}}}});
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(scores->empty, 1);
  EXPECT_EQ(scores->rouge_l, 0);
  EXPECT_EQ(scores->meteor, 0);
  EXPECT_EQ(scores->cider_d, 0);
  EXPECT_EQ(scores->exact, 0);
  EXPECT_NEAR(scores->bleu[0], 0, 1e-6);
}

TEST(CaptionMetrics, RefusesWhatCannotBeScored) {
  EXPECT_EQ(ScoreCaptions({}).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::Status status = ScoreCaptions(std::vector<CaptionPair>{{"cat.jpg", {"a"}, {}}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("cat.jpg"));
}

TEST(CaptionWords, AreLowerCasedWithoutPunctuation) {
  EXPECT_THAT(*CaptionWords("A Cat, on  the MAT."), ElementsAre("a", "cat", "on", "the", "mat"));
  EXPECT_THAT(*CaptionWords("It's 3.5 m - Ärger!"), ElementsAre("it's", "3.5", "m", "ärger"));
  EXPECT_THAT(*CaptionWords(" ... "), ElementsAre());
  EXPECT_THAT(*CaptionWords(""), ElementsAre());
  EXPECT_EQ(CaptionWords("\xff cat").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blazon::service
