// Questions that measure answers are read, or refused by line; thresholds are chosen as counting them out says.
#include "service/evaluation/answer_measures.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"

namespace blazon::service {
namespace {

TEST(ParseMeasuredQuestionsTest, ReadsWhatIsAsked) {
  const auto questions = ParseMeasuredQuestions(
      "# a note\n"
      "id\tquestion\texpected\tdocument\tevidence\n"
      "a1\tHow heavy is it?\t9.4|nine\tpump.txt\t9.4  kilograms\r\n"
      "\n"
      "off12\tWho wrote Hamlet?\t-\t-\t-\n"
      "b\tWhere?\there\n");
  ASSERT_TRUE(questions.ok()) << questions.status();
  ASSERT_EQ(questions->size(), 3u);
  const MeasuredQuestion& first = questions->front();
  EXPECT_EQ(first.group(), "a");
  EXPECT_EQ(first.expected, (std::vector<std::string>{"9.4", "nine"}));
  EXPECT_EQ(first.document, "pump.txt");
  EXPECT_TRUE(HoldsEvidence(first, "It has 9.4\nkilograms."));
  EXPECT_FALSE(HoldsEvidence(first, "It has 9.4 pounds."));
  EXPECT_TRUE(IsRightAnswer(first, "About NINE kilograms"));
  EXPECT_FALSE(IsRightAnswer(first, "ten"));
  std::string long_answer = "nine";
  for (int i = 0; i < 24; ++i) long_answer += " word";
  EXPECT_TRUE(IsRightAnswer(first, long_answer));
  EXPECT_FALSE(IsRightAnswer(first, long_answer + " more"));
  EXPECT_EQ((*questions)[1].group(), "off");
  EXPECT_TRUE((*questions)[1].expected.empty());
  EXPECT_FALSE(IsRightAnswer((*questions)[1], "Shakespeare"));
  EXPECT_EQ((*questions)[2].document, "");
}

TEST(ParseMeasuredQuestionsTest, NamesTheLineThatIsWrong) {
  struct Case {
    const char *text, *says;
  };
  for (const Case& c :
       {Case{"", "no question"}, Case{"# only a note\n", "no question"},
        Case{"a1\twhy?\tso\na2 why? so\n", "line 2 has 1 fields"}, Case{"a\tb\tc\td\te\tf\n", "line 1 has 6 fields"},
        Case{"a1\t \tso\n", "empty field: question"}, Case{"\n\na1\twhy?\t\n", "line 3 has an empty field: expected"},
        Case{"a1\twhy?\tso|\n", "expects an empty string"}, Case{"a1\twhy?\t-\tnotes.md\t-\n", "names a document"},
        Case{"a1\twhy?\tso\t-\twords\n", "evidence without a document"},
        Case{"a1\twhy?\tso\na1\thow?\tso\n", "line 2: the id a1 stands twice"}}) {
    const auto questions = ParseMeasuredQuestions(c.text);
    EXPECT_EQ(questions.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_TRUE(absl::StrContains(questions.status().message(), c.says)) << questions.status();
  }
}

std::vector<MeasuredAnswer> RandomAnswers(std::mt19937& random, int count) {
  std::vector<MeasuredAnswer> answers;
  for (int i = 0; i < count; ++i) {
    MeasuredAnswer answer;
    answer.answerable = random() % 2 == 0;
    answer.found = random() % 10 != 0;
    // Some alike, some on the grid of thresholds, some 0 or 1.
    const double drawn = static_cast<double>(random() % 100001) / 100000;
    answer.confidence = random() % 4 == 0 ? std::min(1.0, static_cast<double>(random() % 6) * 0.2) : drawn;
    answer.right = answer.found && random() % 3 != 0;
    answer.cited = answer.found && random() % 3 != 0;
    answers.push_back(answer);
  }
  return answers;
}

TEST(CalibrateThresholdTest, RefusesAsMuchAsIsAllowedAndNoMore) {
  std::mt19937 random(7);
  int chosen = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const std::vector<MeasuredAnswer> answers = RandomAnswers(random, 1 + static_cast<int>(random() % 40));
    const double share = static_cast<double>(random() % 11) / 10;
    const auto answerable =
        std::count_if(answers.begin(), answers.end(), [](const MeasuredAnswer& answer) { return answer.answerable; });
    const auto threshold = CalibrateThreshold(answers, share);
    if (answerable == 0) {
      EXPECT_EQ(threshold.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    const auto may = [&](double candidate) {
      return static_cast<double>(MeasureThreshold(answers, candidate).false_refusals) <=
             share * static_cast<double>(answerable) + 1e-9;
    };
    if (!threshold.ok()) {
      EXPECT_EQ(threshold.status().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_FALSE(may(0));
      continue;
    }
    ++chosen;
    EXPECT_TRUE(may(*threshold)) << *threshold;
    if (*threshold < 1) {
      EXPECT_FALSE(may(*threshold + 1.0001e-4)) << *threshold << " is not the greatest";
    }
  }
  EXPECT_GT(chosen, 200);
  EXPECT_EQ(CalibrateThreshold({}, 1.5).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(AbstentionCurveTest, HasAPointWhereverSomethingChanges) {
  std::mt19937 random(11);
  const std::vector<MeasuredAnswer> answers = RandomAnswers(random, 200);
  const std::vector<AbstentionPoint> curve = AbstentionCurve(answers);
  ASSERT_EQ(curve.front().threshold, 0);
  for (size_t i = 1; i < curve.size(); ++i) {
    EXPECT_GT(curve[i].threshold, curve[i - 1].threshold);
    EXPECT_GE(curve[i].refused, curve[i - 1].refused);
    EXPECT_GE(curve[i].false_refusals, curve[i - 1].false_refusals);
    EXPECT_LE(curve[i].right, curve[i - 1].right);
  }
  for (int step = 0; step <= 10000; step += 7) {  // between two points nothing changes
    const double threshold = std::min(step * 1e-4, 1.0);
    auto after = std::find_if(curve.begin(), curve.end(),
                              [&](const AbstentionPoint& point) { return point.threshold > threshold + 1e-9; });
    const AbstentionPoint measured = MeasureThreshold(answers, threshold), &told = *(after - 1);
    EXPECT_EQ(measured.refused, told.refused) << threshold;
    EXPECT_EQ(measured.false_refusals, told.false_refusals) << threshold;
    EXPECT_EQ(measured.right, told.right) << threshold;
    EXPECT_EQ(measured.cited, told.cited) << threshold;
  }
}

// As published tables of Wilson's interval have it.
TEST(ShareIntervalTest, IsWilsons) {
  EXPECT_NEAR(ShareInterval(0, 10).low, 0, 1e-12);
  EXPECT_NEAR(ShareInterval(0, 10).high, 0.2775, 5e-5);
  EXPECT_NEAR(ShareInterval(5, 10).low, 0.2366, 5e-5);
  EXPECT_NEAR(ShareInterval(5, 10).high, 0.7634, 5e-5);
  EXPECT_NEAR(ShareInterval(10, 10).high, 1, 1e-12);
}

}  // namespace
}  // namespace blazon::service
