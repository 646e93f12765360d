#include "retrieval/fusion.h"

#include <gtest/gtest.h>

namespace blazon::retrieval {
namespace {

std::vector<Candidate> Candidates() {
  return {{1, 10.0, 0, 0.2, 0}, {2, 0.0, 0, 0.9, 0}, {3, 5.0, 0, 0.8, 0}, {4, 0.0, 0, 0.1, 0}};
}

std::vector<int64_t> Ids(const std::vector<Candidate>& candidates) {
  std::vector<int64_t> ids;
  for (const Candidate& candidate : candidates) ids.push_back(candidate.chunk_id);
  return ids;
}

TEST(FusionTest, WeightedSumIsThatOfNormalisedScores) {
  auto candidates = Candidates();
  FuseWeightedSum(0.4, candidates);
  EXPECT_EQ(Ids(candidates), (std::vector<int64_t>{3, 2, 1, 4}));
  EXPECT_NEAR(candidates[0].score, 0.4 * 0.5 + 0.6 * 0.7 / 0.8, 1e-12);
  EXPECT_NEAR(candidates[1].score, 0.6, 1e-12);
  EXPECT_NEAR(candidates[3].score, 0.0, 1e-12);
  FuseWeightedSum(1, candidates);
  EXPECT_EQ(Ids(candidates), (std::vector<int64_t>{1, 3, 2, 4}));
  FuseWeightedSum(0, candidates);
  EXPECT_EQ(Ids(candidates), (std::vector<int64_t>{2, 3, 1, 4}));
}

TEST(FusionTest, ReciprocalRankCountsRanksAndNoRankForNoWords) {
  auto candidates = Candidates();
  FuseReciprocalRank(candidates);
  EXPECT_EQ(Ids(candidates), (std::vector<int64_t>{1, 3, 2, 4}));
  EXPECT_NEAR(candidates[0].score, 1.0 / 61 + 1.0 / 63, 1e-12);
  EXPECT_NEAR(candidates[1].score, 1.0 / 62 + 1.0 / 62, 1e-12);
  EXPECT_NEAR(candidates[2].score, 1.0 / 61, 1e-12);
}

TEST(FusionTest, NothingAndEqualScoresAreNoTrouble) {
  std::vector<Candidate> none;
  FuseWeightedSum(0.4, none);
  FuseReciprocalRank(none);
  std::vector<Candidate> equal = {{9, 0, 0, 0.5, 0}, {2, 0, 0, 0.5, 0}};
  FuseWeightedSum(0.4, equal);
  EXPECT_EQ(Ids(equal), (std::vector<int64_t>{2, 9}));
}

}  // namespace
}  // namespace blazon::retrieval
