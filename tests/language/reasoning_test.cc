// Reasoning told apart from answers, however the text is cut.
#include "language/reasoning.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace blazon::language {
namespace {

struct Case {
  const char* text;
  const char* reasoning;
  const char* answer;
  bool open = false;
};

const Case kCases[] = {
    {"", "", ""},
    {"An answer.", "", "An answer."},
    {"\n An answer.\n", "", "\n An answer.\n"},
    {"<think>\nTwo and two.\n</think>\n\nFour.", "Two and two.", "Four."},
    {" \n<think>a\n\nb</think>c", "a\n\nb", "c"},
    {"<think></think>Four.", "", "Four."},
    {"<think>\n\n</think>\n\nFour. </think>", "", "Four. </think>"},
    {"<think>cut off </thi", "cut off </thi", ""},
    {"<think>cut off \n", "cut off", ""},
    {"<think>a < b </ c </thin> d</think> e", "a < b </ c </thin> d", "e"},
    {"<think>a <think> b</think>c", "a <think> b", "c"},
    {"Not <think>at the beginning</think>.", "", "Not <think>at the beginning</think>."},
    {"<thin", "", "<thin"},
    {"<thinking>no</thinking>", "", "<thinking>no</thinking>"},
    {"<think>\xC3\xA4\xF0\x9F\x98\x80</think>\xC3\xB6", "\xC3\xA4\xF0\x9F\x98\x80", "\xC3\xB6"},
    {"\nit goes on</think>\nso", "it goes on", "so", true},
    {"", "", "", true},
};

TEST(ReasoningTest, IsToldApart) {
  for (const Case& each : kCases) {
    const auto pieces = SplitReasoning(each.text, each.open);
    EXPECT_EQ(pieces.reasoning, each.reasoning) << each.text;
    EXPECT_EQ(pieces.answer, each.answer) << each.text;
  }
  const auto again = SplitReasoning(WithReasoning("One.\nTwo.", "Three.\n"));
  EXPECT_EQ(again.reasoning, "One.\nTwo.");
  EXPECT_EQ(again.answer, "Three.\n");
}

// Byte by byte, and in pieces of random lengths: what came out is never taken back.
TEST(ReasoningTest, DoesNotDependOnHowTheTextIsCut) {
  std::mt19937 random(3);
  for (const Case& each : kCases) {
    const std::string text = each.text;
    for (int round = 0; round < 50; ++round) {
      ReasoningSplitter splitter(each.open);
      std::string reasoning, answer;
      const auto take = [&](const ReasoningSplitter::Pieces& pieces) {
        EXPECT_TRUE(pieces.reasoning.empty() || answer.empty()) << "reasoning after the answer: " << text;
        reasoning += pieces.reasoning;
        answer += pieces.answer;
      };
      for (size_t at = 0; at < text.size();) {
        const size_t length = round == 0 ? 1 : 1 + random() % 9;
        take(splitter.Push(std::string_view(text).substr(at, length)));
        at += length;
      }
      take(splitter.Finish());
      EXPECT_EQ(reasoning, each.reasoning) << text;
      EXPECT_EQ(answer, each.answer) << text;
    }
  }
}

// An answer without reasoning is not held back.
TEST(ReasoningTest, AnswersComeAtOnce) {
  ReasoningSplitter splitter;
  EXPECT_EQ(splitter.Push("<").answer, "");
  EXPECT_EQ(splitter.Push("b").answer, "<b");
  EXPECT_EQ(splitter.Push("old>\n\n").answer, "old>\n\n");
  ReasoningSplitter reasoned;
  reasoned.Push("<think>\nBecause ");
  EXPECT_EQ(reasoned.Push("of").reasoning, " of");
}

TEST(ReasoningTest, PromptsMayOpenIt) {
  EXPECT_TRUE(OpensReasoning("<|assistant|>\n<think>\n"));
  EXPECT_TRUE(OpensReasoning("<think>"));
  EXPECT_FALSE(OpensReasoning("<think>\nyes"));
  EXPECT_FALSE(OpensReasoning("<think>\n\n</think>\n\n"));
  EXPECT_FALSE(OpensReasoning(""));
}

}  // namespace
}  // namespace blazon::language
