// The records of the answering adapter: which questions a passage comes with, and what it shall say to them.
#include "service/training/answer_records.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

// Titles whose hashes are on either side of the rule; the loader sets held_out by IsHeldOut, these say it themselves.
ReadingDocument MakeDocument(const std::string& title, bool held_out) {
  ReadingDocument document;
  document.title = title;
  document.held_out = held_out;
  for (int i = 0; i < 6; ++i) {
    document.sentences.push_back(absl::StrCat("Sentence ", i, " of ", title, "."));
    document.questions.push_back({absl::StrCat(title, " question ", i, "?"), i, absl::StrCat("answer ", i, ".")});
  }
  document.questions.push_back({absl::StrCat(title, " unanswered?"), -1, ""});
  return document;
}

// Letters counted: enough to tell texts apart.
retrieval::Embedder LetterEmbedder() {
  retrieval::Embedder embedder;
  embedder.dimension = 32;
  embedder.embed = [](absl::Span<const std::string> texts) -> absl::StatusOr<std::vector<float>> {
    std::vector<float> result;
    for (const std::string& text : texts) {
      std::vector<float> row(32, 0.1F);
      for (const char c : text) row[static_cast<unsigned char>(c) % 32] += 1;
      double norm = 0;
      for (const float x : row) norm += static_cast<double>(x) * x;
      for (const float x : row) result.push_back(static_cast<float>(x / std::sqrt(norm) / 2));  // cosines up to 1/4
    }
    return result;
  };
  return embedder;
}

std::vector<ReadingDocument> Documents() {
  return {MakeDocument("Alpha", false), MakeDocument("Beta", false), MakeDocument("Gamma", false),
          MakeDocument("Omega", true), MakeDocument("Psi", true)};
}

TEST(AnswerRecords, OnlyWhatThePassageHoldsIsAnswered) {
  const auto records =
      MakeAnswerRecords(Documents(), LetterEmbedder(), {.passes = 20, .seed = 3}, [](const std::string&) {});
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ(records->training.size(), 60u);
  EXPECT_EQ(records->held_out.size(), 40u);
  int64_t answered = 0, refused = 0, outside = 0, unanswered = 0, others = 0;
  std::set<std::string> prompts;
  for (const auto* set : {&records->training, &records->held_out}) {
    for (const std::string& line : *set) {
      const nlohmann::json record = nlohmann::json::parse(line);
      const std::string passage = record.at("prompt");
      prompts.insert(passage);
      ASSERT_TRUE(absl::StartsWith(passage, "Context: ")) << passage;
      const std::string title = passage.substr(9, passage.find(':', 9) - 9);
      const bool held_out = title == "Omega" || title == "Psi";
      EXPECT_EQ(held_out, set == &records->held_out);
      for (const nlohmann::json& branch : record.at("branches")) {
        const std::string prompt = branch.at("prompt"), completion = branch.at("completion");
        ASSERT_TRUE(absl::StartsWith(prompt, "Question: ") && absl::EndsWith(prompt, "?\nAnswer:")) << prompt;
        const std::string question = prompt.substr(10);
        const std::string owner = question.substr(0, question.find(' '));
        EXPECT_EQ(owner == "Omega" || owner == "Psi", held_out) << prompt;
        const bool numbered = absl::StrContains(question, " question ");
        const std::string number = numbered ? question.substr(question.find(" question ") + 10, 1) : "";
        const bool inside =
            owner == title && numbered && absl::StrContains(passage, absl::StrCat("Sentence ", number, " of"));
        EXPECT_EQ(completion, inside ? absl::StrCat(" answer ", number) : " not stated") << passage << prompt;
        ++(inside ? answered : refused);
        outside += !inside && owner == title && numbered;
        unanswered += owner == title && !numbered;
        others += owner != title;
      }
    }
  }
  EXPECT_EQ(records->answered, answered);
  EXPECT_EQ(records->refused, refused);
  EXPECT_EQ(unanswered, 100);  // each record has its document's one
  EXPECT_EQ(others, 200);      // two
  EXPECT_GT(outside, 100);
  EXPECT_GT(answered, 150);
  EXPECT_GT(prompts.size(), 50u);  // passages differ
}

TEST(AnswerRecords, TheSeedDecides) {
  const auto make = [](uint64_t seed) {
    return MakeAnswerRecords(Documents(), LetterEmbedder(), {.passes = 2, .seed = seed}, [](const std::string&) {})
        ->training;
  };
  EXPECT_EQ(make(1), make(1));
  EXPECT_NE(make(1), make(2));
}

TEST(AnswerRecords, RefusesImpossibleOptions) {
  const auto records = MakeAnswerRecords(Documents(), LetterEmbedder(), {.passes = 0}, [](const std::string&) {});
  EXPECT_EQ(records.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(records.status().message(), "passes is 0")) << records.status();
}

}  // namespace
}  // namespace blazon::service
