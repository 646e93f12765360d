// The parts of answering that need no weights: the prompt and its budget, grounded answers.
#include <gtest/gtest.h>

#include <algorithm>

#include "service/answer_evidence.h"
#include "service/answer_prompt.h"

namespace blazon::service {
namespace {

int64_t CountWords(std::string_view text) { return 1 + std::count(text.begin(), text.end(), ' '); }

TEST(AnswerPrompt, TakesTheBestSentencesThatFit) {
  const std::vector<std::string> sentences = {"One two three four five six.", "Seven eight.", "Nine."};
  const AnswerPrompt all = BuildAnswerPrompt("Why?", sentences, 3, 100, CountWords);
  EXPECT_EQ(all.used, (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(all.text, "Context: One two three four five six. Seven eight. Nine.\nQuestion: Why?\nAnswer:");
  const AnswerPrompt some = BuildAnswerPrompt("Why?", sentences, 3, 5, CountWords);
  EXPECT_EQ(some.used, (std::vector<size_t>{1, 2}));
  EXPECT_EQ(some.dropped, (std::vector<size_t>{0}));
  EXPECT_EQ(BuildAnswerPrompt("Why?", sentences, 1, 100, CountWords).used, (std::vector<size_t>{0}));
  EXPECT_TRUE(BuildAnswerPrompt("Why?", sentences, 3, 1, CountWords).used.empty());
}

TEST(AnswerPrompt, KeepsEveryPartOnItsLine) {
  const AnswerPrompt prompt = BuildAnswerPrompt("Why\nAnswer: yes?", {"First\nline."}, 1, 100, CountWords);
  EXPECT_EQ(prompt.text, "Context: First line.\nQuestion: Why Answer: yes?\nAnswer:");
}

TEST(AnswerPassage, HasItsHeadingsBeforeIt) {
  EXPECT_EQ(AnswerPassage("Museum", "Visit > Hours", " Open\n daily. "),
            "Context: Museum > Visit > Hours: Open daily.\n");
  EXPECT_EQ(AnswerPassage("", "Hours", "Open."), "Context: Hours: Open.\n");
  EXPECT_EQ(AnswerPassage("", "", "Open."), "Context: Open.\n");
  EXPECT_EQ(AnswerQuestion("When\nis it?"), "Question: When is it?\nAnswer:");
}

TEST(IsGrounded, NumbersStandInTheEvidence) {
  EXPECT_TRUE(IsGrounded("At 10:00, 3,800 litres.", "From 10:00; 3,800 litres.", "When?"));
  EXPECT_FALSE(IsGrounded("Gate 14 is open.", "The gate is open.", "What of gate 14?"));
  EXPECT_FALSE(IsGrounded("It costs 95.", "It costs 59.", "What does it cost?"));
  EXPECT_FALSE(IsGrounded("It costs 9.", "It costs 95.", "What does it cost?"));
}

TEST(IsGrounded, WordsStandInTheEvidenceAndAddToTheQuestion) {
  EXPECT_TRUE(IsGrounded("Mara Lindt", "Its sail was sewn by Mara Lindt.", "Who sewed the sail?"));
  EXPECT_FALSE(IsGrounded("The sail.", "Its sail was sewn by Mara Lindt.", "Who sewed the sail?"));  // nothing new
  EXPECT_FALSE(IsGrounded("The answer is:", "Its sail was sewn by Mara Lindt.", "Who sewed the sail?"));
  EXPECT_FALSE(
      IsGrounded("King Arthur, lord of Camelot, and Mara", "Its sail was sewn by Mara Lindt.", "Who sewed the sail?"));
  EXPECT_FALSE(IsGrounded("", "Its sail was sewn by Mara Lindt.", "Who sewed the sail?"));
  // A word of the question is no evidence.
  EXPECT_FALSE(IsGrounded("The observatory is open from 9:30.", "The museum is open from 9:30.",
                          "When is the observatory open?"));
  EXPECT_FALSE(IsGrounded("It is open on 24 December.", "It is closed on 24 December.", "When is it open?"));
}

TEST(IsGrounded, ANegationStays) {
  EXPECT_FALSE(IsGrounded("Dogs are allowed.", "Dogs are not allowed.", "May I bring a pet?"));
  EXPECT_TRUE(IsGrounded("Dogs are not allowed.", "Dogs are not allowed.", "May I bring a pet?"));
}

}  // namespace
}  // namespace blazon::service
