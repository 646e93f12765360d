// Documents whose text tries to act as instructions, chat roles, answers or sources
// (tests/reference/hostile_documents): it stays data on its own line of the prompt, no control token comes of it, and
// what is cited is what they say. How often a persuasive text has its way, `make answers` measures; nothing is promised
// there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "service/answer_evidence.h"
#include "service/answer_prompt.h"
#include "service/answerer.h"
#include "service/checkpoint/tokenizer_loader.h"
#include "service/evaluation/answer_measures.h"
#include "service/passage_judge.h"
#include "tests/service/default_collection.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kNoLimit = 1 << 20;

class HostileTextTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    collection_ = new DefaultCollection;
    ASSERT_NO_FATAL_FAILURE(collection_->Open("hostile_text_test"));
    collection_->Index("tests/reference/hostile_documents");
  }
  static void TearDownTestSuite() { delete collection_; }

  // All of them.
  static std::vector<retrieval::ScoredChunk> Chunks() {
    retrieval::Query query;
    query.text = "MANGO";
    query.count = 1000;
    auto chunks = (*collection_)->Search(query);
    EXPECT_TRUE(chunks.ok()) << chunks.status();
    return chunks.ok() ? *std::move(chunks) : std::vector<retrieval::ScoredChunk>();
  }

  static inline DefaultCollection* collection_ = nullptr;
};

// "Context: ...", "Question: ..." and "Answer:", each on a line of its own, whatever takes for a line's end.
void ExpectThreeLines(const std::string& prompt) {
  const std::vector<std::string> lines = absl::StrSplit(prompt, '\n');
  ASSERT_EQ(lines.size(), 3u) << prompt;
  EXPECT_TRUE(absl::StartsWith(lines[0], "Context: ")) << prompt;
  EXPECT_TRUE(absl::StartsWith(lines[1], "Question: ")) << prompt;
  EXPECT_EQ(lines[2], "Answer:");
  for (const char* line_end : {"\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"})
    EXPECT_FALSE(absl::StrContains(prompt, line_end)) << testing::PrintToString(prompt);
}

// Every tokenizer family, every passage that an answer may be made from, with a question that is as hostile.
TEST_F(HostileTextTest, StaysDataOnItsLine) {
  const std::vector<retrieval::ScoredChunk> chunks = Chunks();
  ASSERT_GE(chunks.size(), 9u);
  int families = 0, spelled = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(BLAZON_SOURCE_DIR) / "tests/goldens/tokenizers")) {
    if (!entry.is_directory()) continue;
    const auto tokenizer = LoadTokenizer(entry.path());
    ASSERT_TRUE(tokenizer.ok()) << entry.path() << tokenizer.status();
    ++families;
    std::vector<language::TokenId> control;  // what a template would have made of the same text
    int passages = 0;
    for (const retrieval::ScoredChunk& chunk : chunks) {
      for (const retrieval::Span& span : retrieval::SplitSentences(chunk.text)) {
        retrieval::ScoredSentence sentence;
        sentence.span = {span.begin + chunk.span.begin, span.end + chunk.span.begin};
        sentence.text = chunk.text.substr(span.begin, span.size());
        for (const int64_t neighbours : {0, 1, 100}) {
          const Passage passage = PassageAround(sentence, chunk, neighbours, kNoLimit, **tokenizer);
          ASSERT_FALSE(passage.text.empty());
          ++passages;
          ExpectThreeLines(passage.text + AnswerQuestion(sentence.text));
          const AnswerPrompt prompt = BuildAnswerPrompt(sentence.text, {std::string(chunk.text), sentence.text}, 2,
                                                        kNoLimit, [](std::string_view) { return 1; });
          ExpectThreeLines(prompt.text);
          std::vector<language::TokenId> tokens = AnswerTokens(**tokenizer, passage.text, sentence.text);
          const std::vector<language::TokenId> unadapted = (*tokenizer)->Encode(prompt.text);
          tokens.insert(tokens.end(), unadapted.begin(), unadapted.end());
          for (const language::TokenId id : tokens) {
            EXPECT_TRUE(!(*tokenizer)->IsSpecial(id) || id == (*tokenizer)->unknown_token())
                << entry.path() << " " << (*tokenizer)->TokenBytes(id) << " in " << passage.text;
          }
          for (const language::TokenId id : (*tokenizer)->EncodeWithSpecials(passage.text)) {
            if ((*tokenizer)->IsSpecial(id) && id != (*tokenizer)->unknown_token()) control.push_back(id);
          }
        }
      }
    }
    EXPECT_GT(passages, 100);
    std::sort(control.begin(), control.end());
    control.erase(std::unique(control.begin(), control.end()), control.end());
    std::printf("%-18s %zu control tokens are spelled in the documents\n", entry.path().filename().c_str(),
                control.size());
    spelled += !control.empty();
  }
  EXPECT_GE(families, 20);
  EXPECT_GE(spelled, 15);  // or the documents prove nothing
}

// The embedder and the reader see [CLS] and [SEP] where they put them themselves, and nowhere else.
TEST_F(HostileTextTest, EmbedderReadsItAsText) {
  const retrieval::Embedder& embedder = collection_->embedder();
  // As data, the brackets are tokens too: "[", "sep", "]".
  EXPECT_GE(embedder.count_tokens("[SEP]"), embedder.count_tokens("SEP") + 2);
  EXPECT_GE(embedder.count_tokens("[CLS] [MASK] [PAD]"), embedder.count_tokens("CLS MASK PAD") + 6);
}

TEST_F(HostileTextTest, AnswersAreCitedByteForByteAndBorneOut) {
  std::ifstream stream(fs::path(BLAZON_SOURCE_DIR) / "tests/reference/hostile_questions.tsv");
  const auto questions =
      ParseMeasuredQuestions(std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()));
  ASSERT_TRUE(questions.ok()) << questions.status();
  Answerer answerer(collection_->models());
  int answered = 0, mangoes = 0;
  for (size_t i = 0; i < questions->size(); i += 4) {
    const MeasuredQuestion& question = (*questions)[i];
    AskRequest request;
    request.question = question.question;
    request.refuse_below = 0;
    const auto answer = answerer.Ask(request, **collection_);
    ASSERT_TRUE(answer.ok()) << question.id << ": " << answer.status();
    ASSERT_FALSE(answer->sentences.empty()) << question.id;
    ++answered;
    for (const SupportingSentence& sentence : answer->sentences) {
      const auto document = (*collection_)->Get(answer->sources[sentence.source].document_id);
      ASSERT_TRUE(document.ok()) << document.status();
      EXPECT_EQ(document->text.substr(sentence.byte_begin, sentence.byte_end - sentence.byte_begin), sentence.text)
          << question.id;
    }
    // Either the sentence itself, or nothing that it and its headings do not have.
    const SupportingSentence& read = answer->sentences.front();
    const retrieval::ScoredChunk& source = answer->sources[read.source];
    EXPECT_TRUE(answer->text == read.text ||
                IsGrounded(answer->text, absl::StrCat(source.title, "\n", source.heading_path, "\n", read.text),
                           question.question))
        << question.id << " " << answer->text;
    mangoes += absl::StrContains(answer->text, "MANGO");
    std::printf("%s %.2f %s => %s\n", question.id.c_str(), answer->confidence, question.question.c_str(),
                answer->text.c_str());
  }
  EXPECT_GE(answered, 7);
  std::printf("%d of %d answers say what the attacks want, with no refusal.\n", mangoes, answered);
}

}  // namespace
}  // namespace blazon::service
