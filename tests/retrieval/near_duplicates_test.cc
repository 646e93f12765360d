#include "retrieval/near_duplicates.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::retrieval {
namespace {

std::vector<std::string> Words(std::mt19937& random, int count) {
  std::vector<std::string> words;
  for (int i = 0; i < count; ++i) words.push_back(absl::StrCat("word", random() % 5000));
  return words;
}

absl::StatusOr<std::vector<NearDuplicate>> FindIn(const std::vector<std::string>& texts, double threshold) {
  NearDuplicates near;
  for (const std::string& text : texts) near.Add(text);
  return near.Find(threshold, [&texts](size_t i) -> absl::StatusOr<std::string> { return texts[i]; });
}

TEST(NearDuplicatesTest, FindThePairsThatComparingAllFinds) {
  std::mt19937 random(3);
  std::vector<std::string> texts;
  for (int i = 0; i < 24; ++i) {
    std::vector<std::string> words = Words(random, 200);
    texts.push_back(absl::StrJoin(words, " "));
    for (int copy = 0; copy < 2; ++copy) {  // with some words put in anew
      std::vector<std::string> changed = words;
      for (unsigned changes = random() % 12; changes > 0; --changes) changed[random() % changed.size()] = "another";
      texts.push_back(absl::StrJoin(changed, ", "));
    }
  }
  std::set<std::pair<size_t, size_t>> expected, found;
  for (size_t a = 0; a < texts.size(); ++a) {
    for (size_t b = a + 1; b < texts.size(); ++b) {
      if (Similarity(texts[a], texts[b]) >= 0.8) expected.emplace(a, b);
    }
  }
  ASSERT_GT(expected.size(), 12u);
  const auto pairs = FindIn(texts, 0.8);
  ASSERT_TRUE(pairs.ok());
  for (const NearDuplicate& pair : *pairs) {
    EXPECT_DOUBLE_EQ(pair.similarity, Similarity(texts[pair.first], texts[pair.second]));
    found.emplace(pair.first, pair.second);
  }
  for (const auto& pair : found) EXPECT_TRUE(expected.contains(pair));
  EXPECT_GE(found.size() * 20, expected.size() * 19) << "of 20 pairs, 19 are found at the least";
}

TEST(NearDuplicatesTest, ShortTextsAndWrongThresholds) {
  const auto pairs =
      FindIn({"", "one two three", "one two three", "one two three four five", "One, two; three four FIVE!"}, 0.9);
  ASSERT_TRUE(pairs.ok());
  ASSERT_EQ(pairs->size(), 1u);
  EXPECT_EQ((*pairs)[0].first, 3u);
  EXPECT_EQ((*pairs)[0].second, 4u);
  EXPECT_EQ(FindIn({}, 0.2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_DOUBLE_EQ(Similarity("a b c d e", "a b c d e f"), 0.5);
}

}  // namespace
}  // namespace blazon::retrieval
