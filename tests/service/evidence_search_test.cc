// What becomes of the chunks and sentences that are found, with the default models.
#include "service/evidence_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "service/answerer.h"
#include "tests/service/default_collection.h"

namespace blazon::service {
namespace {

class EvidenceSearchTest : public testing::Test {
 protected:
  void SetUp() override { collection_.Open("evidence_search_test"); }

  void Put(const std::string& path, const std::string& title, const std::string& text) {
    retrieval::Document document;
    document.path = path;
    document.title = title;
    document.text = text;
    const auto put = collection_->Put({&document, 1});
    ASSERT_TRUE(put.ok()) << put.status();
  }

  absl::StatusOr<AnswerResult> Ask(AskRequest request) {
    return Answerer(collection_.models()).Ask(request, *collection_);
  }

  DefaultCollection collection_;
};

TEST_F(EvidenceSearchTest, ThinEvidenceIsMarkedAndStrongIsNot) {
  Put("mill.txt", "The mill at Orlen",
      "The mill stands below the weir. It has four wheels of oak. On Sundays a miller shows how flour is made.");
  AskRequest request;
  request.question = "How many wheels has the mill?";
  auto answer = Ask(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->outcome, AnswerOutcome::kAnswered);
  EXPECT_TRUE(absl::StrContains(answer->text, "four")) << answer->text;
  EXPECT_EQ(answer->sentences.front().text, "It has four wheels of oak.");
  EXPECT_EQ(answer->sentences.front().score, answer->confidence);

  request.question = "What did the miller's grandfather do in the war?";
  answer = Ask(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->outcome, AnswerOutcome::kNoAnswer);
  EXPECT_TRUE(answer->sources.empty());

  request.refuse_below = 0;
  answer = Ask(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->outcome, AnswerOutcome::kLowConfidence);
  EXPECT_FALSE(answer->text.empty());
  EXPECT_EQ(answer->sources.size(), 1u);
}

TEST_F(EvidenceSearchTest, SentencesWithoutRoomAreNamed) {
  const std::string by_hand =
      "In the village of Orlen, where nobody remembers it otherwise, the bell is rung by hand every evening at seven, "
      "whatever the weather and whoever happens to be passing by.";
  Put("long.txt", "Bell", by_hand);
  AskRequest request;
  request.question = "When is the bell rung?";
  request.context_tokens = 16;
  EXPECT_EQ(Ask(request).status().code(), absl::StatusCode::kInvalidArgument);

  Put("short.txt", "Bell", "The bell is rung at seven.");
  const auto answer = Ask(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_EQ(answer->dropped.size(), 1u);
  EXPECT_EQ(answer->dropped[0].path, "long.txt");
  EXPECT_EQ(answer->drop_reasons[0], DropReason::kNoRoom);
}

TEST_F(EvidenceSearchTest, ChunksBehindTheLastSentenceLookedAtAreNamed) {
  for (int i = 0; i < 30; ++i) {
    std::string text;
    for (int k = 0; k < 10; ++k) absl::StrAppend(&text, "Bell ", i, " rang ", k + 2, " times. ");
    Put(absl::StrCat(i, ".txt"), absl::StrCat("Bell ", i), text);
  }
  AskRequest request;
  request.question = "How often did bell 7 ring?";
  request.count = 50;
  request.refuse_below = 0;
  const auto answer = Ask(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_GT(std::count(answer->drop_reasons.begin(), answer->drop_reasons.end(), DropReason::kNotRead), 0);
}

}  // namespace
}  // namespace blazon::service
