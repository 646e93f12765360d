// Measures of rankings beside trec_eval's, and the files that they are made from.
#include "retrieval/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using testing::HasSubstr;

TEST(EvaluationTest, EqualsTrecEval) {
  const std::string file = BLAZON_SOURCE_DIR "/tests/goldens/ranking.json";
  const std::string remake = "made by: python3 tests/reference/ranking_goldens.py";
  const nlohmann::json cases = nlohmann::json::parse(ReadFile(file), nullptr, false);
  ASSERT_TRUE(cases.is_array()) << remake;
  ASSERT_EQ(cases.size(), 4u) << remake;
  for (const nlohmann::json& c : cases) {
    Judgements judgements;
    Rankings run;
    for (const auto& [query, documents] : c["judgements"].items()) {
      for (const auto& [document, relevance] : documents.items()) judgements[query][document] = relevance;
    }
    for (const auto& [query, documents] : c["run"].items()) {
      for (const auto& [document, score] : documents.items()) run[query].push_back({document, score});
    }
    const RankingMeasures measures = Evaluate(run, judgements);
    EXPECT_EQ(measures.queries, static_cast<int64_t>(judgements.size()));
    EXPECT_NEAR(measures.ndcg_at_10, c["expected"]["ndcg_at_10"], 1e-9) << remake;
    EXPECT_NEAR(measures.recall_at_100, c["expected"]["recall_at_100"], 1e-9) << remake;
    EXPECT_NEAR(measures.reciprocal_rank, c["expected"]["reciprocal_rank"], 1e-9) << remake;
    EXPECT_GT(measures.ndcg_at_10, 0.01);
    EXPECT_LT(measures.ndcg_at_10, 0.95);
  }
}

TEST(EvaluationTest, WhatIsMissingCountsAsNothing) {
  const Judgements judgements = {{"a", {{"x", 1}}}, {"b", {{"y", 2}}}, {"c", {{"z", 0}}}};
  const RankingMeasures measures = Evaluate({{"a", {{"x", 3}}}, {"d", {{"x", 1}}}}, judgements);
  EXPECT_EQ(measures.queries, 2);  // c has nothing relevant
  EXPECT_EQ(measures.ndcg_at_10, 0.5);
  EXPECT_EQ(measures.reciprocal_rank, 0.5);
  EXPECT_EQ(Evaluate({}, {}).queries, 0);
}

TEST(EvaluationTest, ReadsBothKindsOfFilesAndNamesBadLines) {
  EXPECT_EQ((*ParseJudgements("query-id\tcorpus-id\tscore\n1\tdoc-7\t2\r\n\n"))["1"]["doc-7"], 2);
  EXPECT_EQ((*ParseJudgements("1 0 doc-7 -1\n1 0 doc-8 1"))["1"]["doc-7"], -1);
  EXPECT_THAT(std::string(ParseJudgements("a b c\nd e f\n").status().message()), HasSubstr("line 2"));
  EXPECT_THAT(std::string(ParseJudgements("1 d 1\n1 d 1").status().message()), HasSubstr("line 2"));
  EXPECT_FALSE(ParseJudgements("").ok());

  const auto queries =
      *ParseQueries("{\"_id\": \"7\", \"text\": \"how \\u00e4?\", \"metadata\": {\"text\": \"no\"}}\n8\twhy?\n");
  ASSERT_EQ(queries.size(), 2u);
  EXPECT_EQ(queries[0].text, "how ä?");
  EXPECT_EQ(queries[1].id, "8");
  for (const char* bad : {"{\"_id\": \"7\"}", "{\"_id\":", "no tab", "7\tx\n7\ty", "\tx", ""})
    EXPECT_FALSE(ParseQueries(bad).ok()) << bad;

  EXPECT_EQ(FormatRankings({{"q", {{"a", 0.25}, {"b", 0.5}, {"c", 0.25}}}}, "us"),
            "q Q0 b 1 0.5 us\nq Q0 c 2 0.25 us\nq Q0 a 3 0.25 us\n");
}

}  // namespace
}  // namespace blazon::retrieval
