#include "retrieval/extractive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "retrieval/words.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Sentences(const std::string& text) {
  std::vector<std::string> sentences;
  size_t last = 0;
  for (const Span& span : SplitSentences(text)) {
    EXPECT_GE(span.begin, last);
    EXPECT_LT(span.begin, span.end);
    EXPECT_LE(span.end, text.size());
    last = span.end;
    sentences.push_back(text.substr(span.begin, span.size()));
  }
  return sentences;
}

TEST(SplitSentencesTest, EndsWhereSentencesEnd) {
  EXPECT_THAT(Sentences("One. Two! Three? \"Four.\" Five"), ElementsAre("One.", "Two!", "Three?", "\"Four.\"", "Five"));
  EXPECT_THAT(Sentences("It costs 3.50 euros, i.e. little. See Fig. 2 and Dr. J. Smith. Done."),
              ElementsAre("It costs 3.50 euros, i.e. little.", "See Fig. 2 and Dr. J. Smith.", "Done."));
  EXPECT_THAT(Sentences("Open approx. 9 a.m. to noon. Closed e.g. Mondays."),
              ElementsAre("Open approx. 9 a.m. to noon.", "Closed e.g. Mondays."));
  EXPECT_THAT(Sentences(""), ElementsAre());
  EXPECT_THAT(Sentences(" \n\n "), ElementsAre());
  EXPECT_THAT(Sentences("\xe4\xbb\x8a\xe6\x97\xa5\xe3\x80\x82\xe6\x98\x8e\xe6\x97\xa5\xe3\x80\x82"),
              ElementsAre("\xe4\xbb\x8a\xe6\x97\xa5\xe3\x80\x82", "\xe6\x98\x8e\xe6\x97\xa5\xe3\x80\x82"));
}

TEST(SplitSentencesTest, LinesEndSentencesOnlyWhereParagraphsItemsAndRowsEnd) {
  EXPECT_THAT(Sentences("This sentence is wrapped over two lines of a plain\ntext file. And ends."),
              ElementsAre("This sentence is wrapped over two lines of a plain\ntext file.", "And ends."));
  EXPECT_THAT(Sentences("Title\n\nText here"), ElementsAre("Title", "Text here"));
  EXPECT_THAT(Sentences("- first item\n- second item\n1. third"),
              ElementsAre("- first item", "- second item", "1. third"));
  EXPECT_THAT(Sentences("adult | 4\nchild | 2"), ElementsAre("adult | 4", "child | 2"));
  EXPECT_THAT(Sentences("Opening hours: nine to five\nTelephone: 123"),
              ElementsAre("Opening hours: nine to five", "Telephone: 123"));
}

TEST(SplitSentencesTest, AnyTextIsSafe) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 200; ++i) {
      const char* pieces[] = {". ", "\n", " ",   "e.g.", "A",  "b",  "\xc3\xa9", "\xf0\x9f\xa6\x8a",
                              "|",  "- ", "1. ", "!?",   "\"", "\t", "\xff",     "\xc3"};
      text += pieces[random() % 16];
    }
    Sentences(text);
  }
  Sentences(std::string(1 << 20, '.'));
  Sentences(std::string(1 << 20, '\n'));
}

TEST(SplitWordsTest, PiecesAreTheTextAndKnowTheirKind) {
  EXPECT_THAT(SplitWords("What's 25\xe2\x82\xac, now?"),
              ElementsAre("What", "'", "s", " ", "25\xe2\x82\xac", ", ", "now", "?"));
  EXPECT_THAT(SplitWords(""), ElementsAre());
  EXPECT_EQ(KindOf("What"), WordKind::kQuestion);
  EXPECT_EQ(KindOf("the"), WordKind::kFunction);
  EXPECT_EQ(KindOf("\xc3\x89"
                   "cole"),
            WordKind::kContent);
  EXPECT_EQ(KindOf(", "), WordKind::kGap);
  std::string bytes =
                  "a\xff"
                  "b \xe2\x82",
              joined;
  for (const std::string& piece : SplitWords(bytes)) joined += piece;
  EXPECT_EQ(joined, bytes);
}

TEST(RankSentencesTest, AWordThatIsNotSpokenOfShowsInTheConfidence) {
  std::vector<ScoredChunk> chunks(1);
  chunks[0].document_id = "d";
  chunks[0].text = "The ferry leaves at seven.";
  chunks[0].span = {0, chunks[0].text.size()};
  const auto told = RankSentences("When ferry leaves?", chunks, SampleEmbedder());
  const auto untold = RankSentences("When ferry sinks?", chunks, SampleEmbedder());
  ASSERT_TRUE(told.ok() && untold.ok());
  EXPECT_NEAR(told->at(0).weakest, 1.0, 1e-6);
  EXPECT_LT(untold->at(0).weakest, 0.5);
  EXPECT_LT(untold->at(0).confidence, told->at(0).confidence);
  EXPECT_TRUE(RankSentences("?!", chunks, SampleEmbedder()).ok());
}

TEST(RankSentencesTest, TheAnsweringSentenceComesFirstWithItsPlace) {
  std::vector<ScoredChunk> chunks(2);
  chunks[0].document_id = chunks[1].document_id = "d";
  chunks[0].title = chunks[1].title = "Ferry";
  const std::string document =
      "The boat is blue. The ferry leaves at seven every morning. It was built in 1962. Tickets cost four euros.";
  chunks[0].span = {0, 80};
  chunks[1].span = {18, document.size()};
  for (ScoredChunk& chunk : chunks) chunk.text = document.substr(chunk.span.begin, chunk.span.size());
  const auto ranked = RankSentences("When does the ferry leave in the morning?", chunks, SampleEmbedder());
  ASSERT_TRUE(ranked.ok()) << ranked.status();
  ASSERT_EQ(ranked->size(), 3u);
  EXPECT_EQ((*ranked)[0].text, "The ferry leaves at seven every morning.");
  EXPECT_EQ(document.substr((*ranked)[0].span.begin, (*ranked)[0].span.size()), (*ranked)[0].text);
  RankOptions all;
  all.count = 100;
  // Overlapping chunks share their sentences.
  EXPECT_EQ(RankSentences("ferry", chunks, SampleEmbedder(), all)->size(), 4u);
  EXPECT_TRUE(RankSentences("ferry", {}, SampleEmbedder())->empty());
}

}  // namespace
}  // namespace blazon::retrieval
