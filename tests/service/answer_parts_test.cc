// The parts of answering that need no weights: the prompt and its budget, grounded answers, what bears an answer out,
// and questions that go on from others.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/answer_evidence.h"
#include "service/answer_prompt.h"
#include "service/answer_support.h"
#include "service/question_completion.h"

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

// Gives each text the vector that it is told.
retrieval::Embedder TellingEmbedder(std::map<std::string, std::vector<float>> vectors) {
  retrieval::Embedder embedder;
  embedder.dimension = 4;
  embedder.max_tokens = 40;
  embedder.count_tokens = CountWords;
  embedder.embed = [vectors = std::move(vectors)](absl::Span<const std::string> texts) {
    std::vector<float> rows;
    for (const std::string& text : texts) {
      const auto found = vectors.find(text);
      const std::vector<float> row = found == vectors.end() ? std::vector<float>(4, 0.5F) : found->second;
      rows.insert(rows.end(), row.begin(), row.end());
    }
    return absl::StatusOr<std::vector<float>>(rows);
  };
  return embedder;
}

TEST(FindSupport, DoesAsTheReferenceDoes) {
  const char* remake = "python3 tests/reference/support_goldens.py";
  std::ifstream stream(BLAZON_SOURCE_DIR "/tests/goldens/support.json");
  const nlohmann::json cases = nlohmann::json::parse(stream, nullptr, false);
  ASSERT_TRUE(cases.is_array()) << remake;
  int supported = 0, several = 0;
  for (const nlohmann::json& each : cases) {
    const std::string question = each["question"], answer = each["answer"];
    SCOPED_TRACE(absl::StrCat(question, " ", answer, "; to make the goldens anew: ", remake));
    std::vector<retrieval::ScoredChunk> chunks;
    std::vector<SourceSentence> sentences;
    std::vector<std::vector<float>> vectors = each["vectors"];
    for (const nlohmann::json& piece : each["pieces"]) {
      retrieval::ScoredChunk& chunk = chunks.emplace_back();
      chunk.title = piece["title"];
      chunk.heading_path = piece["heading"];
      chunk.span = {1000, 1000};  // the document has text before it
      chunk.line = 7;
      for (const std::string text : piece["sentences"]) {
        const size_t begin = chunk.span.end, i = sentences.size();
        absl::StrAppend(&chunk.text, text, "\n");
        chunk.span.end = 1000 + chunk.text.size();
        sentences.push_back({chunks.size() - 1, {begin, begin + text.size()}, vectors[i], each["relevance"][i]});
      }
    }
    std::vector<const retrieval::ScoredChunk*> pieces;
    for (const retrieval::ScoredChunk& chunk : chunks) pieces.push_back(&chunk);
    const auto support = FindSupport(question, answer, pieces, sentences, TellingEmbedder({{answer, each["vector"]}}));
    ASSERT_TRUE(support.ok()) << support.status();
    ASSERT_EQ(support->size(), 1u);
    const AnswerSentence& found = support->front();
    const nlohmann::json& expected = each["expected"];
    EXPECT_EQ(found.supported, expected["supported"].get<bool>());
    EXPECT_NEAR(found.score, expected["score"].get<double>(), 1e-5);
    ASSERT_EQ(found.citations.size(), expected["citations"].size());
    for (size_t i = 0; i < found.citations.size(); ++i) {
      const SentenceCitation& citation = found.citations[i];
      const SourceSentence& sentence = sentences[expected["citations"][i][0].get<size_t>()];
      EXPECT_EQ(citation.span.begin, sentence.span.begin);
      EXPECT_EQ(citation.piece, sentence.piece);
      const retrieval::ScoredChunk& chunk = chunks[citation.piece];
      EXPECT_EQ(chunk.text.substr(citation.span.begin - 1000, citation.span.size()), citation.text);
      EXPECT_EQ(citation.line, LineOf(chunk, sentence.span));
      EXPECT_NEAR(citation.score, expected["citations"][i][1].get<double>(), 1e-5);
    }
    supported += found.supported;
    several += found.citations.size() > 1;
  }
  EXPECT_GT(supported, 10);
  EXPECT_LT(supported, static_cast<int>(cases.size()) - 10);
  EXPECT_GT(several, 0);
}

TEST(FindSupport, LooksAtEachSentenceOfTheAnswer) {
  retrieval::ScoredChunk chunk;
  chunk.text = "The boat weighs 120 kilograms.\nIts sail was sewn by Mara Lindt.";
  chunk.span = {0, chunk.text.size()};
  chunk.line = 1;
  const std::vector<float> vector = {1, 0, 0, 0};
  const std::vector<SourceSentence> sentences = {{0, {0, 30}, vector, 0}, {0, {31, 63}, vector, 0}};
  const std::vector<const retrieval::ScoredChunk*> pieces = {&chunk};
  const std::string answer = "Mara Lindt sewed it. The mast was made in Oslo. It weighs 120 kilograms.";
  const auto support = FindSupport("Who made the boat?", answer, pieces, sentences, TellingEmbedder({}));
  ASSERT_TRUE(support.ok()) << support.status();
  ASSERT_EQ(support->size(), 3u);
  EXPECT_EQ(answer.substr((*support)[1].span.begin, (*support)[1].span.size()), "The mast was made in Oslo.");
  EXPECT_TRUE((*support)[0].supported && !(*support)[1].supported && (*support)[2].supported);
  EXPECT_EQ((*support)[0].citations.at(0).text, "Its sail was sewn by Mara Lindt.");
  EXPECT_EQ((*support)[0].citations[0].line, 2);
  EXPECT_EQ((*support)[2].citations.at(0).text, "The boat weighs 120 kilograms.");
  // A sentence of more tokens than the embedder takes is compared by its words alone.
  std::string longer = "It weighs 120 kilograms";
  for (int i = 0; i < 60; ++i) longer += " and";
  const auto wordy = FindSupport("Who made the boat?", longer, pieces, sentences, TellingEmbedder({}));
  ASSERT_TRUE(wordy.ok() && wordy->size() == 1) << wordy.status();
  EXPECT_TRUE(wordy->front().supported);
  EXPECT_TRUE(FindSupport("Why?", " ", pieces, sentences, TellingEmbedder({}))->empty());
}

TEST(CompleteQuestion, CarriesOverWhatIsMissing) {
  const auto complete = [](std::vector<EarlierTurn> turns, std::string_view question) {
    return CompleteQuestion(question, turns);
  };
  const EarlierTurn opens = {"When does the museum open?", "At ten"};
  EXPECT_EQ(complete({opens}, "And on Sundays?"), "When does the museum open on Sundays?");
  EXPECT_EQ(complete({opens}, "How much does it cost?"), "How much does the museum cost?");
  EXPECT_EQ(complete({opens}, "And its café?"), "the museum's café?");
  EXPECT_EQ(complete({opens, {"And on Sundays?", "At eleven"}}, "For children?"),
            "When does the museum open on Sundays for children?");
  EXPECT_EQ(complete({{"Who founded the club?", "Theresa Okafor did."}}, "When was she born?"),
            "When was Theresa Okafor born?");
  EXPECT_EQ(complete({{"When was the bridge built?", ""}}, "Who built it?"), "Who built the bridge?");
  EXPECT_EQ(complete({opens}, "Why?"), "Why (museum open)?");
}

TEST(CompleteQuestion, LeavesAWholeQuestionAlone) {
  const std::vector<EarlierTurn> turns = {{"When does the museum open?", "At ten"}};
  for (const char* whole : {"How heavy is the garden pump?", "Is it allowed to fish in the Alver?",
                            "Is there a sauna in the swimming hall?", "opening hours library"}) {
    EXPECT_EQ(CompleteQuestion(whole, turns), whole);
  }
  EXPECT_EQ(CompleteQuestion("And on Sundays?", {}), "And on Sundays?");
  EXPECT_EQ(CompleteQuestion("And on Sundays?", std::vector<EarlierTurn>{{"", ""}}), "And on Sundays?");
  EXPECT_EQ(CompleteQuestion("?", turns), "?");
  EXPECT_EQ(CompleteQuestion("", turns), "");
  // What would become too long stays as it is.
  const std::vector<EarlierTurn> long_turn = {{std::string(600, 'x') + "?", ""}};
  EXPECT_EQ(CompleteQuestion("And on Sundays?", long_turn), "And on Sundays?");
}

}  // namespace
}  // namespace blazon::service
