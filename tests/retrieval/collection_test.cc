// A collection, case by case: what is put is found, survives reopening, and is refused where it must be.
#include "retrieval/collection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<Collection> MustOpen(const std::filesystem::path& folder, CollectionOptions options) {
  absl::StatusOr<std::unique_ptr<Collection>> collection = Collection::Open(folder, std::move(options));
  EXPECT_TRUE(collection.ok()) << collection.status();
  return collection.ok() ? *std::move(collection) : nullptr;
}

std::vector<ScoredChunk> MustSearch(const Collection& collection, const Query& query) {
  absl::StatusOr<std::vector<ScoredChunk>> result = collection.Search(query);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : std::vector<ScoredChunk>();
}

Query Ask(const std::string& text, int64_t count = 8, SearchMode mode = SearchMode::kBoth) {
  Query query;
  query.text = text;
  query.count = count;
  query.mode = mode;
  return query;
}

TEST(CollectionTest, FindsWhatWasPutByWordsAndByMeaningAndAfterReopening) {
  TemporaryFolder folder;
  auto collection = MustOpen(folder, WriteOptions());
  const std::vector<Document> documents = {
      TextDocument("tea.txt", "Green tea is steeped at eighty degrees for two minutes."),
      TextDocument("bees.txt", "The hive was inspected in March. The queen had survived the winter."),
      TextDocument("ferry.txt", "The ferry leaves the harbour at seven and returns at noon.")};
  const auto outcomes = collection->Put(documents);
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  EXPECT_EQ(*outcomes, std::vector<PutOutcome>(3, PutOutcome::kAdded));
  for (int round = 0; round < 3; ++round) {
    for (const SearchMode mode : {SearchMode::kBoth, SearchMode::kWords, SearchMode::kMeaning}) {
      const auto found = MustSearch(*collection, Ask("When was the hive inspected?", 2, mode));
      ASSERT_FALSE(found.empty());
      EXPECT_EQ(found[0].path, "bees.txt");
      EXPECT_EQ(found[0].document_id, DocumentId("tests", "bees.txt"));
      EXPECT_EQ(found[0].line, 1);
      EXPECT_EQ(documents[1].text.substr(found[0].span.begin, found[0].span.size()), found[0].text);
      if (mode != SearchMode::kMeaning) {
        EXPECT_GT(found[0].word_score, 0);
        EXPECT_DOUBLE_EQ(found[0].coverage, 1.0);
      }
      if (mode != SearchMode::kWords) {
        EXPECT_GT(found[0].cosine, 0.3);
      }
    }
    EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
    collection.reset();
    collection = MustOpen(folder, round == 0 ? WriteOptions() : ReadOptions());
  }
}

TEST(CollectionTest, PutsUnchangedDocumentsWithoutEmbedding) {
  TemporaryFolder folder;
  auto calls = std::make_shared<std::atomic<int64_t>>(0);
  CollectionOptions options = WriteOptions();
  options.embedder = SampleEmbedder(32, calls);
  auto collection = MustOpen(folder, options);
  std::vector<Document> documents = {TextDocument("a.txt", "one two"), TextDocument("b.txt", "three four")};
  ASSERT_TRUE(collection->Put(documents).ok());
  EXPECT_EQ(*calls, 2);
  EXPECT_THAT(*collection->Put(documents), ::testing::Each(PutOutcome::kUnchanged));
  EXPECT_EQ(*calls, 2);
  EXPECT_TRUE(*collection->IsCurrent("tests", "a.txt", documents[0].content_digest, documents[0].parser));
  EXPECT_FALSE(*collection->IsCurrent("tests", "a.txt", documents[1].content_digest, documents[0].parser));
  documents[1] = TextDocument("b.txt", "five six");
  EXPECT_THAT(*collection->Put(documents), ::testing::ElementsAre(PutOutcome::kUnchanged, PutOutcome::kReplaced));
  EXPECT_EQ(*calls, 3);
  documents[0].metadata["shelf"] = "top";
  EXPECT_THAT(*collection->Put(documents), ::testing::ElementsAre(PutOutcome::kReplaced, PutOutcome::kUnchanged));
  EXPECT_EQ(collection->Stats()->documents, 2);
  EXPECT_TRUE(MustSearch(*collection, Ask("three four", 8, SearchMode::kWords)).empty());
  options.chunker.target_tokens = 64;  // another chunker: everything is cut again
  collection.reset();
  collection = MustOpen(folder, options);
  EXPECT_THAT(*collection->Put(documents), ::testing::Each(PutOutcome::kReplaced));
}

TEST(CollectionTest, RefusesAnotherEmbedderAndSaysHowToReembed) {
  TemporaryFolder folder;
  ASSERT_TRUE(MustOpen(folder, WriteOptions())->Put({TextDocument("a.txt", "one two")}).ok());
  CollectionOptions other = ReadOptions();
  other.embedder = SampleEmbedder(32, nullptr, "other/2");
  const auto opened = Collection::Open(folder, other);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("bag-of-words/1"));
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("blazon index add"));
  other.embedder = Embedder{};  // without one, words can be searched still
  EXPECT_EQ(MustSearch(*MustOpen(folder, other), Ask("two", 8, SearchMode::kWords)).size(), 1u);
  EXPECT_EQ(MustOpen(folder, other)->Search(Ask("two")).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(CollectionTest, KeepsSettings) {
  TemporaryFolder folder;
  CollectionOptions without_embedder;
  without_embedder.mode = OpenMode::kWrite;
  {
    const auto collection = MustOpen(folder, WriteOptions());
    ASSERT_TRUE(collection->Put({TextDocument("a.txt", "one two")}).ok());
    EXPECT_EQ(*collection->Setting("refuse_below"), "");
    const int64_t generation = collection->Stats()->generation;
    ASSERT_TRUE(collection->SetSetting("refuse_below", "0.5").ok());
    ASSERT_TRUE(collection->SetSetting("other", "text").ok());
    EXPECT_EQ(collection->Stats()->generation, generation + 2);
    for (const char* name : {"", "a.b", "a b", "../x"})
      EXPECT_EQ(collection->SetSetting(name, "x").code(), absl::StatusCode::kInvalidArgument) << name;
    const auto reader = MustOpen(folder, ReadOptions());
    EXPECT_EQ(*reader->Setting("refuse_below"), "0.5");
    EXPECT_EQ(reader->SetSetting("refuse_below", "1").code(), absl::StatusCode::kFailedPrecondition);
  }
  const auto collection = MustOpen(folder, without_embedder);
  EXPECT_EQ(collection->Stats()->settings,
            (std::map<std::string, std::string>{{"other", "text"}, {"refuse_below", "0.5"}}));
  ASSERT_TRUE(collection->SetSetting("other", "").ok());
  EXPECT_EQ(*collection->Setting("other"), "");
  EXPECT_EQ(collection->Stats()->settings.size(), 1u);
  EXPECT_EQ(MustSearch(*MustOpen(folder, ReadOptions()), Ask("two")).size(), 1u);
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
}

TEST(CollectionTest, SecondWriterIsTurnedAwayAtOnceByNameAndReadersAreNot) {
  TemporaryFolder folder;
  CollectionOptions options = WriteOptions();
  options.holder = "127.0.0.1:50051";
  EXPECT_FALSE(FindWriter(folder).has_value());
  auto writer = MustOpen(folder, options);
  ASSERT_TRUE(writer->Put({TextDocument("a.txt", "one two")}).ok());
  const pid_t child = fork();
  if (child == 0) {  // another process; nothing of the parent's is touched
    const auto start = std::chrono::steady_clock::now();
    const auto second = Collection::Open(folder, WriteOptions());
    const bool fast = std::chrono::steady_clock::now() - start < std::chrono::seconds(1);
    const std::string message(second.status().message());
    const bool named = message.find(absl::StrCat(getppid())) != std::string::npos &&
                       message.find("127.0.0.1:50051") != std::string::npos;
    const auto reader = Collection::Open(folder, ReadOptions());
    const bool read = reader.ok() && (*reader)->Search(Ask("one"))->size() == 1;
    _exit(second.status().code() == absl::StatusCode::kUnavailable && fast && named && read ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  // In the same process too.
  EXPECT_EQ(Collection::Open(folder, WriteOptions()).status().code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(FindWriter(folder).has_value());
  EXPECT_EQ(FindWriter(folder)->pid, getpid());
  EXPECT_EQ(FindWriter(folder)->holder, "127.0.0.1:50051");
  writer.reset();
  EXPECT_FALSE(FindWriter(folder).has_value());
  EXPECT_NE(MustOpen(folder, WriteOptions()), nullptr);
}

TEST(CollectionTest, ReaderSeesWholeGenerationsWhileAWriterWorks) {
  TemporaryFolder folder;
  auto writer = MustOpen(folder, WriteOptions());
  // Each generation holds ten documents that all say its number.
  const auto generation = [](int number) {
    std::vector<Document> documents;
    for (int i = 0; i < 10; ++i)
      documents.push_back(TextDocument(absl::StrCat(i, ".txt"), absl::StrCat("common generation", number)));
    return documents;
  };
  ASSERT_TRUE(writer->Put(generation(0)).ok());
  auto reader = MustOpen(folder, ReadOptions());
  std::atomic<bool> done = false;
  std::thread writing([&] {
    for (int number = 1; number <= 60; ++number) EXPECT_TRUE(writer->Put(generation(number)).ok());
    done = true;
  });
  int searches = 0;
  while (!done || searches == 0) {
    for (const Collection* collection : {writer.get(), reader.get()}) {
      const auto found = MustSearch(*collection, Ask("common", 100));
      ASSERT_EQ(found.size(), 10u);
      for (const ScoredChunk& chunk : found) ASSERT_EQ(chunk.text, found[0].text);
    }
    ++searches;
  }
  writing.join();
  EXPECT_EQ(MustSearch(*reader, Ask("common"))[0].text, "common generation60");
  EXPECT_TRUE(writer->Verify().ok()) << writer->Verify();
}

TEST(CollectionTest, DeletedDocumentsAreGoneAndEverySurvivorFindsItself) {
  constexpr int kDocuments = 200;
  for (const int percent : {5, 50, 95}) {
    TemporaryFolder folder;
    auto collection = MustOpen(folder, WriteOptions());
    std::mt19937 random(static_cast<unsigned>(percent));
    std::vector<Document> documents;
    for (int i = 0; i < kDocuments; ++i) {
      std::string text;
      for (int w = 0; w < 12; ++w) absl::StrAppend(&text, "w", random() % 5000, " ");
      documents.push_back(TextDocument(absl::StrCat("d", i, ".txt"), text));
      if (documents.size() % 50 == 0) {
        ASSERT_TRUE(collection->Put(absl::MakeSpan(documents).subspan(documents.size() - 50)).ok());
      }
    }
    std::vector<std::string> gone;
    std::set<std::string> alive;
    for (const Document& document : documents) {
      const std::string id = DocumentId("tests", document.path);
      if (static_cast<int>(random() % 100) < percent)
        gone.push_back(id);
      else
        alive.insert(id);
    }
    ASSERT_EQ(*collection->Delete(gone), static_cast<int64_t>(gone.size()));
    EXPECT_EQ(*collection->Delete(gone), 0);
    for (int round = 0; round < 2; ++round) {
      for (const Document& document : documents) {
        const std::string id = DocumentId("tests", document.path);
        const auto found = MustSearch(*collection, Ask(document.text, 10, SearchMode::kMeaning));
        ASSERT_EQ(found.size(), std::min<size_t>(10, alive.size()));
        for (const ScoredChunk& chunk : found) ASSERT_TRUE(alive.contains(chunk.document_id));
        if (alive.contains(id)) {
          ASSERT_EQ(found[0].document_id, id);
        }
      }
      ASSERT_TRUE(collection->Verify().ok()) << collection->Verify();
      const CollectionStats stats = *collection->Stats();
      EXPECT_EQ(stats.documents, static_cast<int64_t>(alive.size()));
      EXPECT_LE(stats.dead_vectors, stats.vectors * 3 / 10);
      collection.reset();
      collection = MustOpen(folder, WriteOptions());
    }
  }
}

TEST(CollectionTest, FiltersNarrowSearchAndStillFillTheCount) {
  TemporaryFolder folder;
  auto collection = MustOpen(folder, WriteOptions());
  std::vector<Document> documents;
  for (int i = 0; i < 300; ++i) {
    documents.push_back(TextDocument(absl::StrCat(i % 30 == 0 ? "rare/" : "often/", i, ".txt"),
                                     absl::StrCat("common text number", i), i % 2 ? "odd" : "even"));
    documents.back().metadata["third"] = i % 3 == 0 ? "yes \"quoted\"" : "no";
  }
  ASSERT_TRUE(collection->Put(documents).ok());
  Query query = Ask("common text", 5);
  query.filter.path_prefix = "rare/";
  auto found = MustSearch(*collection, query);
  ASSERT_EQ(found.size(), 5u);
  for (const ScoredChunk& chunk : found) EXPECT_EQ(chunk.path.substr(0, 5), "rare/");
  query.count = 50;
  EXPECT_EQ(MustSearch(*collection, query).size(), 10u);
  query.filter = {};
  query.filter.source = "odd";
  query.filter.metadata["third"] = "yes \"quoted\"";
  query.count = 100;
  EXPECT_EQ(MustSearch(*collection, query).size(), 50u);
  query.filter = {};
  query.filter.document_ids = {DocumentId("even", "rare/0.txt"), "no such id", "\" OR 1"};
  EXPECT_EQ(MustSearch(*collection, query).size(), 1u);
  query.filter.path_prefix = "%";
  EXPECT_EQ(MustSearch(*collection, query).size(), 0u);
}

TEST(CollectionTest, SpreadsResultsOverDocumentsAndStillFillsTheCount) {
  TemporaryFolder folder;
  CollectionOptions options = WriteOptions();
  options.chunker.target_tokens = 32;
  auto collection = MustOpen(folder, options);
  std::string chatty;  // far more good chunks than a search looks at first
  for (int i = 0; i < 500; ++i)
    absl::StrAppend(&chatty, "Common text and nothing but common text, paragraph ", i, ".\n\n");
  std::vector<Document> documents = {TextDocument("chatty.txt", chatty)};
  for (int i = 0; i < 6; ++i)
    documents.push_back(
        TextDocument(absl::StrCat("quiet", i, ".txt"), absl::StrCat("Somewhere else ", i, ", other words; common.")));
  ASSERT_TRUE(collection->Put(documents).ok());
  for (const SearchMode mode : {SearchMode::kBoth, SearchMode::kWords, SearchMode::kMeaning}) {
    Query query = Ask("common text", 6, mode);
    for (const ScoredChunk& chunk : MustSearch(*collection, query)) EXPECT_EQ(chunk.path, "chatty.txt");
    query.max_per_document = 2;
    std::map<std::string, int> by_document;
    for (const ScoredChunk& chunk : MustSearch(*collection, query)) ++by_document[chunk.path];
    EXPECT_EQ(by_document.size(), 5u);  // two of one, one each of four
    EXPECT_EQ(by_document["chatty.txt"], 2);
    query.count = 100;
    EXPECT_EQ(MustSearch(*collection, query).size(), 8u);
  }
  Query query = Ask("common text");
  query.max_per_document = -1;
  EXPECT_EQ(collection->Search(query).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CollectionTest, ReturnsWhatStandsAroundAResult) {
  TemporaryFolder folder;
  CollectionOptions options = WriteOptions();
  options.chunker.target_tokens = 32;
  auto collection = MustOpen(folder, options);
  std::string text;
  for (int i = 0; i < 12; ++i)
    absl::StrAppend(&text, "This paragraph is number ", i,
                    " of a text that has a dozen of them, all alike but for unique", i, ".\n\n");
  ASSERT_TRUE(
      collection
          ->Put({TextDocument("before.txt", "alone"), TextDocument("a.txt", text), TextDocument("z.txt", "alone")})
          .ok());
  for (const int i : {0, 6, 11}) {
    Query query = Ask(absl::StrCat("unique", i), 1, SearchMode::kWords);
    query.neighbours = 2;
    const auto found = MustSearch(*collection, query);
    ASSERT_EQ(found.size(), 1u);
    const ScoredChunk& result = found[0];
    EXPECT_EQ(result.before.size(), i == 0 ? 0u : 2u);
    EXPECT_EQ(result.after.size(), i == 11 ? 0u : 2u);
    size_t begin = 0;
    for (const NeighbourChunk& chunk : result.before) {
      EXPECT_EQ(text.substr(chunk.span.begin, chunk.span.size()), chunk.text);
      EXPECT_GE(chunk.span.begin, begin);
      begin = chunk.span.begin + 1;
    }
    EXPECT_GE(result.span.begin, begin);
    for (const NeighbourChunk& chunk : result.after) {
      EXPECT_EQ(text.substr(chunk.span.begin, chunk.span.size()), chunk.text);
      EXPECT_GT(chunk.span.begin, result.span.begin);
    }
    if (i == 6) {
      EXPECT_THAT(result.after[0].text, HasSubstr("unique7"));
    }
  }
  Query query = Ask("alone", 1);
  query.neighbours = 9;
  EXPECT_EQ(collection->Search(query).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CollectionTest, AnyQuestionIsSafe) {
  TemporaryFolder folder;
  auto collection = MustOpen(folder, WriteOptions());
  ASSERT_TRUE(
      collection
          ->Put({TextDocument(
              "a.txt", "The quick brown fox asks: \"what's NEAR the AND gate?\" caf\xc3\xa9 \xf0\x9f\xa6\x8a 100%")})
          .ok());
  const std::vector<std::string> hostile = {"\"",
                                            "\"\"",
                                            "'",
                                            "fox AND",
                                            "OR",
                                            "NOT fox",
                                            "NEAR(fox, 2)",
                                            "fox*",
                                            "^fox",
                                            "title:fox",
                                            "{title text}:fox",
                                            "(((((",
                                            "fox))",
                                            "-fox",
                                            "a\"b\"c",
                                            "fox\" OR \"x",
                                            "';DROP TABLE documents;--",
                                            "%s%n",
                                            "\\",
                                            "\n",
                                            " ",
                                            std::string("fox\0bar", 7),
                                            "\xf0\x9f\xa6\x8a",
                                            "+",
                                            "caf\xc3\xa9",
                                            "fox + quick",
                                            "rank MATCH 'x'",
                                            "\xe2\x80\x8b",
                                            "\xef\xbf\xbe",
                                            std::string(300, '(')};
  for (const std::string& text : hostile) {
    for (const SearchMode mode : {SearchMode::kBoth, SearchMode::kWords, SearchMode::kMeaning}) {
      const auto result = collection->Search(Ask(text, 3, mode));
      EXPECT_TRUE(result.ok()) << testing::PrintToString(text) << result.status();
      if (mode != SearchMode::kWords) {
        EXPECT_EQ(result->size(), 1u);
      }
    }
  }
  EXPECT_EQ(MustSearch(*collection, Ask("NEAR", 3, SearchMode::kWords)).size(), 1u);  // a word like any other
  EXPECT_EQ(MustSearch(*collection, Ask("CAFE", 3, SearchMode::kWords)).size(), 1u);  // accents and case do not matter
  EXPECT_EQ(MustSearch(*collection, Ask("asking", 3, SearchMode::kWords)).size(), 1u);  // nor do endings

  std::string megabyte;
  while (megabyte.size() < (1u << 20)) megabyte += "fox \" OR ( ";
  EXPECT_EQ(MustSearch(*collection, Ask(megabyte, 3, SearchMode::kWords)).size(), 1u);
  // More tokens than the embedder reads.
  EXPECT_EQ(collection->Search(Ask(megabyte, 3)).status().code(), absl::StatusCode::kInvalidArgument);
  std::string many;
  for (int i = 0; i < 600; ++i) absl::StrAppend(&many, "word", i, " ");
  EXPECT_THAT(std::string(collection->Search(Ask(many, 3, SearchMode::kWords)).status().message()), HasSubstr("512"));
  std::string most = many.substr(0, many.find("word512"));
  EXPECT_TRUE(collection->Search(Ask(most + "fox", 3, SearchMode::kWords)).status().message().find("513") !=
              std::string::npos);
  most = many.substr(0, many.find("word511"));
  EXPECT_EQ(MustSearch(*collection, Ask(most + "fox", 3, SearchMode::kWords)).size(), 1u);
  EXPECT_EQ(collection->Search(Ask("\xff", 3)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(collection->Search(Ask("", 3)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(collection->Search(Ask("fox", 0)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(collection->Search(Ask("fox", 1001)).status().code(), absl::StatusCode::kInvalidArgument);
  Query query = Ask("fox");
  query.vector = {1, 0};
  EXPECT_EQ(collection->Search(query).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CollectionTest, CoverageTellsHowMuchOfAQuestionAChunkHolds) {
  TemporaryFolder folder;
  auto collection = MustOpen(folder, WriteOptions());
  ASSERT_TRUE(
      collection
          ->Put({TextDocument("a.txt", "The ferry leaves at seven."),
                 TextDocument("b.txt", "The hive stands in the garden."), TextDocument("c.txt", "The ferry is blue.")})
          .ok());
  const auto found = MustSearch(*collection, Ask("When does the ferry leave for Zanzibar?", 1, SearchMode::kWords));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].path, "a.txt");
  EXPECT_GT(found[0].coverage, 0.3);
  EXPECT_LT(found[0].coverage, 0.7);  // "Zanzibar" is the rarest word and stands nowhere
}

TEST(CollectionTest, ListsInPagesAndGetsWholeDocuments) {
  TemporaryFolder folder;
  auto collection = MustOpen(folder, WriteOptions());
  std::vector<Document> documents;
  for (int i = 0; i < 25; ++i)
    documents.push_back(TextDocument(absl::StrCat(i, ".txt"), absl::StrCat("text ", i), i % 2 ? "x" : ""));
  documents[3].metadata = {{"language", "en"}};
  ASSERT_TRUE(collection->Put(documents).ok());
  std::set<std::string> seen;
  std::string token;
  int pages = 0;
  do {
    const auto page = collection->List(10, token);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const DocumentInfo& document : page->documents) EXPECT_TRUE(seen.insert(document.id).second);
    token = page->next_page_token;
    ++pages;
  } while (!token.empty());
  EXPECT_EQ(seen.size(), 25u);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(collection->List(10, "not a token").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(collection->List(0).status().code(), absl::StatusCode::kInvalidArgument);
  const auto document = collection->Get(DocumentId("x", "3.txt"));
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(document->text, "text 3");
  EXPECT_EQ(document->metadata, documents[3].metadata);
  EXPECT_EQ(collection->Get("nothing").status().code(), absl::StatusCode::kNotFound);
}

TEST(CollectionTest, RefusesWhatItCannotKeep) {
  TemporaryFolder folder;
  EXPECT_EQ(Collection::Open(folder, ReadOptions()).status().code(), absl::StatusCode::kNotFound);
  auto collection = MustOpen(folder, WriteOptions());
  Document document = TextDocument("a.txt", "text");
  EXPECT_EQ(collection->Put({document, document}).status().code(), absl::StatusCode::kInvalidArgument);
  document.text = "\xc3\x28";
  EXPECT_EQ(collection->Put({document}).status().code(), absl::StatusCode::kInvalidArgument);
  document.text = std::string("a\0b", 3);
  EXPECT_EQ(collection->Put({document}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MustOpen(folder, ReadOptions())->Put({TextDocument("a.txt", "text")}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(collection->Stats()->documents, 0);
  collection.reset();
  CollectionOptions options = WriteOptions();
  options.embedder.embed = [](absl::Span<const std::string> texts) {
    return std::vector<float>(texts.size() * 32, 0.0f);
  };
  EXPECT_THAT(std::string(MustOpen(folder, options)->Put({TextDocument("a.txt", "text")}).status().message()),
              HasSubstr("unit length"));
}

}  // namespace
}  // namespace blazon::retrieval
