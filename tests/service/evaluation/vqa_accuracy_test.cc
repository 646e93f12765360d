// The VQA challenge's accuracy, by its definition written out, and its way of comparing answers.
#include "service/evaluation/vqa_accuracy.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

TEST(NormalizedAnswerTest, AsTheToolsOfTheChallenge) {
  EXPECT_EQ(NormalizedAnswer(" The Two  dogs\n"), "2 dogs");
  EXPECT_EQ(NormalizedAnswer("none"), "0");
  EXPECT_EQ(NormalizedAnswer("an apple, a pear"), "apple pear");  // the comma stands beside a space: it goes
  EXPECT_EQ(NormalizedAnswer("red/white"), "red white");          // a mark within a word becomes a space
  EXPECT_EQ(NormalizedAnswer("1,000/day"), "1000day");            // beside a grouped number all marks go
  EXPECT_EQ(NormalizedAnswer("3.5 m."), "3.5 m");                 // periods go where no digit follows
  EXPECT_EQ(NormalizedAnswer("a"), "");
}

// The mean over the ten sets of nine of min(1, equal ones / 3).
TEST(VqaAccuracyTest, IsTheMeanOverTheSetsWithoutOne) {
  const std::vector<double> expected = {0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1};
  for (size_t equal = 0; equal <= 10; ++equal) {
    std::vector<std::string> references(equal, "cat");
    while (references.size() < 10) references.push_back(absl::StrCat("dog", references.size()));
    EXPECT_NEAR(VqaAccuracy("The cat.", references), expected[equal], 1e-12) << equal;
  }
  // References that differ lose their punctuation; those that are all alike stand as they are.
  std::vector<std::string> dotted(10, "u.s.");
  EXPECT_NEAR(VqaAccuracy("U.S.", dotted), 0, 1e-12);
  dotted[0] = "usa";
  EXPECT_NEAR(VqaAccuracy("U.S.", dotted), 1, 1e-12);
}

TEST(VqaAccuracyTest, FilesAreJoinedAndScored) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "blazon_vqa";
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(folder / name) << text;
    return folder / name;
  };
  std::string answers;
  for (int i = 0; i < 10; ++i)
    absl::StrAppend(&answers, i > 0 ? "," : "", R"({"answer": ")", i < 2 ? "cat" : "dog", "\"}");
  const auto references =
      write("annotations.json", absl::StrCat(R"({"annotations": [{"question_id": 5, "answers": [)", answers,
                                             R"(]}, {"question_id": 6, "answers": ["two"]}]})"));
  const auto said =
      write("said.jsonl", "{\"question_id\": 5, \"answer\": \"cat\"}\n{\"id\": \"6\", \"text\": \"2\"}\n");
  const auto pairs = ReadAnswerPairs(said, references);
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  const auto scores = ScoreAnswers(*pairs);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(scores->questions, 2);
  EXPECT_EQ(scores->ten, 1);
  EXPECT_NEAR(scores->accuracy, 0.6, 1e-12);
  EXPECT_NEAR(scores->exact, 1.0, 1e-12);

  EXPECT_EQ(ReadAnswerPairs(folder / "none", references).status().code(), absl::StatusCode::kNotFound);
  for (const char* wrong : {"{\"question_id\": 9, \"answer\": \"x\"}", "{\"answer\": \"x\"}", "{\"id\": 5}", "x",
                            "{\"id\": 5, \"text\": \"x\"}\n{\"id\": 5, \"text\": \"y\"}"}) {
    const absl::Status status = ReadAnswerPairs(write("wrong.jsonl", wrong), references).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_NE(status.message().find("wrong.jsonl:"), std::string::npos) << status;
  }
  EXPECT_EQ(ScoreAnswers({}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blazon::service
