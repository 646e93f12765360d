// Chunks and vectors that callers bring: taken as they are, or refused with what is wrong.
#include "retrieval/given_chunks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "retrieval/collection.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;

constexpr char kText[] = "Tea is steeped. Bees fly far. Der Zug f\xc3\xa4hrt.";

Document GivenDocument(std::vector<GivenChunk> chunks, std::vector<float> vectors = {}, std::string embedder = "") {
  Document document = TextDocument("given.txt", kText);
  document.given = GivenChunks{std::move(chunks), std::move(vectors), std::move(embedder), ""};
  return document;
}

GivenChunk Piece(size_t begin, size_t end, std::string headings = "") {
  GivenChunk chunk;
  chunk.span = {begin, end};
  chunk.heading_path = std::move(headings);
  return chunk;
}

std::unique_ptr<Collection> OpenGiven(const std::filesystem::path& folder, CollectionOptions options = WriteOptions()) {
  absl::StatusOr<std::unique_ptr<Collection>> collection = Collection::Open(folder, std::move(options));
  EXPECT_TRUE(collection.ok()) << collection.status();
  return collection.ok() ? *std::move(collection) : nullptr;
}

PutOutcome PutOne(Collection& collection, const Document& document) {
  const absl::StatusOr<std::vector<PutOutcome>> outcomes = collection.Put({document});
  EXPECT_TRUE(outcomes.ok()) << outcomes.status();
  return outcomes.ok() ? outcomes->at(0) : PutOutcome::kUnchanged;
}

TEST(GivenChunksTest, AreTakenAsTheyAreAndEmbeddedHere) {
  TemporaryFolder folder;
  auto collection = OpenGiven(folder);
  Document document = GivenDocument({Piece(0, 15, "Drinks"), Piece(7, 28)});
  document.given->chunks[1].line = 7;
  document.given->chunks[1].place = "page=2";
  document.given->chunks[1].box = {1, 2, 3, 4};
  EXPECT_EQ(PutOne(*collection, document), PutOutcome::kAdded);
  EXPECT_EQ(PutOne(*collection, document), PutOutcome::kUnchanged);
  Query query;
  query.text = "bees";
  query.mode = SearchMode::kWords;
  const auto found = collection->Search(query);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().text, "steeped. Bees fly far");
  EXPECT_EQ(found->front().line, 7);
  EXPECT_EQ(found->front().place, "page=2");
  EXPECT_EQ(found->front().box, (Box{1, 2, 3, 4}));
  query.text = "tea";
  EXPECT_EQ(collection->Search(query)->front().heading_path, "Drinks");
  // One chunk moved by a byte is a change; so is the same document cut by Blazon.
  document.given->chunks[1].span.end -= 1;
  EXPECT_EQ(PutOne(*collection, document), PutOutcome::kReplaced);
  document.given.reset();
  EXPECT_EQ(PutOne(*collection, document), PutOutcome::kReplaced);
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
}

TEST(GivenChunksTest, WithVectorsOfTheSameEmbedderNeedNoEmbedding) {
  TemporaryFolder folder;
  auto calls = std::make_shared<std::atomic<int64_t>>(0);
  CollectionOptions options = WriteOptions();
  options.embedder = SampleEmbedder(32, calls);
  auto collection = OpenGiven(folder, options);
  std::vector<float> vectors(64, 0.0f);
  vectors[3] = 5;  // to be brought to length 1
  vectors[32 + 4] = -0.25f;
  const Document document = GivenDocument({Piece(0, 15), Piece(16, 29)}, vectors, options.embedder.fingerprint);
  EXPECT_EQ(PutOne(*collection, document), PutOutcome::kAdded);
  EXPECT_EQ(PutOne(*collection, document), PutOutcome::kUnchanged);
  EXPECT_EQ(calls->load(), 0);
  Query query;
  query.text = "anything";
  query.vector.assign(32, 0.0f);
  query.vector[4] = -1;
  query.mode = SearchMode::kMeaning;
  const auto found = collection->Search(query);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ(found->front().text, "Bees fly far.");
  EXPECT_FLOAT_EQ(static_cast<float>(found->front().cosine), 1.0f);
  // A document that is embedded here stands beside it, and another vector is a change.
  EXPECT_EQ(PutOne(*collection, TextDocument("own.txt", "The ferry leaves at noon.")), PutOutcome::kAdded);
  EXPECT_GT(calls->load(), 0);
  Document changed = document;
  changed.given->vectors[3] = -5;
  EXPECT_EQ(PutOne(*collection, changed), PutOutcome::kReplaced);
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
}

TEST(GivenChunksTest, OfAnotherEmbedderMakeACollectionOfTheirOwnKind) {
  TemporaryFolder folder;
  const std::string theirs = GivenEmbedder("large-model");
  {
    auto collection = OpenGiven(folder);
    const Document document = GivenDocument({Piece(0, 15), Piece(16, 29)}, {1, 0, 0, 0, 0.6f, 0.8f}, theirs);
    EXPECT_EQ(PutOne(*collection, document), PutOutcome::kAdded);
    EXPECT_EQ(collection->Stats()->embedder, theirs);
    EXPECT_EQ(collection->Stats()->dimension, 3);
  }
  auto collection = OpenGiven(folder);  // opens, although the embedder here is another one
  Query query;
  query.text = "bees";
  query.vector = {0, 0.6f, 0.8f};
  EXPECT_EQ(collection->Search(query).status().code(), absl::StatusCode::kFailedPrecondition);  // made here
  query.vector_is_given = true;
  auto found = collection->Search(query);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->front().text, "Bees fly far.");
  query.vector = {1, 0};
  EXPECT_THAT(collection->Search(query).status().message(), HasSubstr("2 dimensions; those of the collection have 3"));
  query.vector.clear();
  EXPECT_EQ(collection->Search(query).status().code(), absl::StatusCode::kFailedPrecondition);
  query.mode = SearchMode::kWords;
  EXPECT_TRUE(collection->Search(query).ok());
  // Nothing that cannot be compared comes in.
  absl::Status refused = collection->Put({TextDocument("own.txt", "The ferry leaves at noon.")}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("given:large-model"));
  Document other = GivenDocument({Piece(0, 15)}, {1, 0, 0}, GivenEmbedder("other-model"));
  EXPECT_THAT(collection->Put({other}).status().message(), HasSubstr("cannot be compared"));
  other.given->embedder = theirs;
  other.given->vectors = {1, 0};
  EXPECT_THAT(collection->Put({other}).status().message(), HasSubstr("2 dimensions"));
  EXPECT_EQ(collection->Check(other), collection->Put({other}).status());
  // Segments are merged, and the collection stays whole, while documents come and go.
  other.given->vectors = {0, 0, 1};
  for (int i = 0; i < 9; ++i) {
    other.path = absl::StrCat("more-", i);
    EXPECT_EQ(PutOne(*collection, other), PutOutcome::kAdded);
  }
  EXPECT_EQ(*collection->Delete({DocumentId("tests", "more-3"), DocumentId("tests", "given.txt")}), 2);
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
  EXPECT_EQ(collection->Stats()->chunks, 8);
}

TEST(GivenChunksTest, TwoEmbeddersInOnePutAreRefused) {
  TemporaryFolder folder;
  auto collection = OpenGiven(folder);
  const Document given = GivenDocument({Piece(0, 15)}, {1, 0, 0}, GivenEmbedder("large-model"));
  const absl::Status status = collection->Put({TextDocument("own.txt", "The ferry leaves at noon."), given}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(collection->Stats()->documents, 0);
}

TEST(GivenChunksTest, WhatDoesNotFitTheDocumentIsNamed) {
  TemporaryFolder folder;
  auto collection = OpenGiven(folder);
  const std::string fingerprint = WriteOptions().embedder.fingerprint;
  const auto refused = [&](const Document& document, const std::string& what) {
    const absl::Status status = collection->Put({document}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_THAT(status.message(), HasSubstr(what));
    EXPECT_EQ(collection->Check(document), status);
  };
  refused(GivenDocument({Piece(0, 15), Piece(16, 16)}), "chunk 1 is empty: [16, 16)");
  refused(GivenDocument({Piece(9, 4)}), "chunk 0 is empty: [9, 4)");
  refused(GivenDocument({Piece(0, 900)}), absl::StrCat("has ", sizeof(kText) - 1, " bytes"));
  const size_t inside = std::string(kText).find('\xa4');
  refused(GivenDocument({Piece(0, inside)}), "cuts a character");
  refused(GivenDocument({Piece(inside, inside + 2)}), "cuts a character");
  refused(GivenDocument({Piece(16, 29), Piece(0, 15)}), "order of the text");
  refused(GivenDocument({Piece(0, 15, std::string("a\0b", 3))}), "NUL");
  const std::vector<float> row(32, 0.1f);
  std::vector<float> bad = row;
  bad[7] = std::numeric_limits<float>::infinity();
  refused(GivenDocument({Piece(0, 15)}, bad, fingerprint), "not finite");
  bad[7] = std::numeric_limits<float>::quiet_NaN();
  refused(GivenDocument({Piece(0, 15)}, bad, fingerprint), "not finite");
  refused(GivenDocument({Piece(0, 15)}, std::vector<float>(32, 0.0f), fingerprint), "vector of zeros");
  refused(GivenDocument({Piece(0, 15), Piece(16, 29)}, std::vector<float>(33, 0.1f), fingerprint), "2 chunks and 33");
  refused(GivenDocument({Piece(0, 15)}, std::vector<float>(31, 0.1f), fingerprint), "31 dimensions");
  Document nameless = GivenDocument({Piece(0, 15)}, row, GivenEmbedder(""));
  nameless.given->embedder.clear();
  const absl::Status status = collection->Put({nameless}).status();
  EXPECT_FALSE(status.ok());
  Document longer = TextDocument("long.txt", std::string(4000, 'a') + " " + std::string(4000, 'b'));
  longer.given = GivenChunks{{Piece(0, 8001)}, {}, "", ""};
  const absl::Status too_long = collection->Put({longer}).status();
  EXPECT_THAT(too_long.message(), HasSubstr("the embedder reads at most"));
  EXPECT_EQ(collection->Stats()->documents, 0);
}

}  // namespace
}  // namespace blazon::retrieval
