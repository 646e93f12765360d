// 30 questions over the sample documents that have an answer there, and 10 that have none, with the default models:
// is the cited chunk right, does the answer hold the expected string, are the others refused? Prints the table.
//
// BLAZON_QUESTIONS=dev runs the tuning set instead, without bars.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "service/answerer.h"
#include "service/evaluation/answer_measures.h"
#include "tests/service/default_collection.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;

struct Counts {
  int answerable = 0, cited = 0, generated = 0, replaced = 0, own_words = 0, extracted = 0, wrongly_refused = 0;
  int unanswerable = 0, refused = 0, low = 0;
  int sentences = 0, supported = 0, spans = 0;
};

std::vector<MeasuredQuestion> ReadQuestions(const fs::path& file) {
  std::ifstream stream(file);
  auto questions =
      ParseMeasuredQuestions(std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()));
  EXPECT_TRUE(questions.ok()) << file << ": " << questions.status();
  return questions.ok() ? *std::move(questions) : std::vector<MeasuredQuestion>();
}

// The first source is of the right document and contains the evidence.
bool CitesRight(const MeasuredQuestion& question, const AnswerResult& result) {
  return !result.sources.empty() && result.sources.front().path == question.document &&
         HoldsEvidence(question, result.sources.front().text);
}

TEST(Answers, AreRightCitedAndRefused) {
  const fs::path source = BLAZON_SOURCE_DIR;
  const char* set = std::getenv("BLAZON_QUESTIONS");
  const bool dev = set != nullptr && std::string_view(set) == "dev";
  const auto questions =
      ReadQuestions(source / (dev ? "tests/reference/dev_questions.tsv" : "tests/reference/questions.tsv"));
  ASSERT_GE(questions.size(), 40u);

  DefaultCollection collection;
  ASSERT_NO_FATAL_FAILURE(collection.Open("answers_test"));
  ASSERT_NO_FATAL_FAILURE(collection.Index(dev ? "tests/reference/dev_documents" : "assets/documents"));

  Answerer answerer(collection.models());
  Counts counts;
  const auto start = std::chrono::steady_clock::now();
  for (const MeasuredQuestion& question : questions) {
    AskRequest request;
    request.question = question.question;
    request.options.seed = 1;
    auto answer = answerer.Ask(request, *collection);
    ASSERT_TRUE(answer.ok()) << question.id << ": " << answer.status();
    request.extractive = true;
    auto extract = dev ? answer : answerer.Ask(request, *collection);  // the same sentences; tuning has no time to lose
    ASSERT_TRUE(extract.ok()) << question.id << ": " << extract.status();
    const bool refused = answer->outcome == AnswerOutcome::kNoAnswer;
    EXPECT_EQ(refused, answer->sources.empty());
    EXPECT_EQ(refused, answer->sentences.empty());
    for (const SupportingSentence& sentence : answer->sentences) {  // verbatim: the span gives the sentence
      const auto document = collection->Get(answer->sources[sentence.source].document_id);
      ASSERT_TRUE(document.ok()) << document.status();
      EXPECT_EQ(document->text.substr(sentence.byte_begin, sentence.byte_end - sentence.byte_begin), sentence.text)
          << question.id;
    }
    EXPECT_EQ(refused, answer->support.empty()) << question.id;
    for (const AnswerSentence& sentence : answer->support) {
      ++counts.sentences;
      counts.supported += sentence.supported;
      for (const SentenceCitation& citation : sentence.citations) {
        const size_t sources = answer->sources.size();
        const retrieval::ScoredChunk& piece =
            citation.piece < sources ? answer->sources[citation.piece] : answer->dropped.at(citation.piece - sources);
        const auto document = collection->Get(piece.document_id);
        ASSERT_TRUE(document.ok()) << document.status();
        EXPECT_EQ(document->text.substr(citation.span.begin, citation.span.size()), citation.text) << question.id;
        ++counts.spans;
      }
    }
    const bool cited = CitesRight(question, *answer), right = IsRightAnswer(question, answer->text);
    const bool extracted = !extract->sentences.empty() && IsRightAnswer(question, extract->sentences.front().text);
    if (question.expected.empty()) {
      ++counts.unanswerable;
      counts.refused += refused;
    } else {
      ++counts.answerable;
      counts.cited += cited;
      counts.generated += right;
      counts.replaced += !refused && answer->extractive;
      counts.own_words += right && !answer->extractive;
      counts.extracted += extracted;
      counts.wrongly_refused += refused;
    }
    counts.low += answer->outcome == AnswerOutcome::kLowConfidence;
    std::printf("%-4s %.2f %-7s %-5s %-6s %-6s %s => %s\n", question.id.c_str(), answer->confidence,
                refused                                            ? "refused"
                : answer->outcome == AnswerOutcome::kLowConfidence ? "low"
                                                                   : "",
                cited ? "cited" : "", right ? "answer" : "", extracted ? "extr." : "", question.question.c_str(),
                answer->text.c_str());
    std::fflush(stdout);
    if (dev && !refused) std::printf("          %s\n", answer->sentences.front().text.c_str());
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf(
      "\nOf %d questions with an answer: cited chunk right %d, answer right %d (%d in the model's words; %d of its "
      "answers were not\n"
      "borne out and replaced by the sentence), extractive baseline right %d, refused %d.\n"
      "Of %d questions without: refused %d. Low confidence: %d. %.2f questions a second%s.\n"
      "Of %d sentences of answers %d are borne out, with %d spans, each equal to the stored text.\n",
      counts.answerable, counts.cited, counts.generated, counts.own_words, counts.replaced, counts.extracted,
      counts.wrongly_refused, counts.unanswerable, counts.refused, counts.low,
      (dev ? 1 : 2) * questions.size() / seconds, dev ? "" : ", both ways", counts.sentences, counts.supported,
      counts.spans);
  if (dev) return;
  EXPECT_EQ(counts.answerable, 30);
  EXPECT_EQ(counts.unanswerable, 10);
  EXPECT_GE(counts.cited, 27);
  EXPECT_GE(counts.generated, 18);
  EXPECT_GE(counts.refused, 8);
}

}  // namespace
}  // namespace blazon::service
