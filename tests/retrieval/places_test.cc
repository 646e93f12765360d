// Pages, slides and sheets on their way from a document to what a search finds, and in collections of older formats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "retrieval/chunker.h"
#include "retrieval/collection.h"
#include "retrieval/sqlite.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two pages, the second without a heading of its own.
Document Paged() {
  Document document = TextDocument("pump.pdf", "Safety\n\nWear gloves at all times.\n\nDrain the pump every spring.\n");
  document.title = "Pump";
  const size_t second = document.text.find("Drain");
  document.sections = {{0, {"Safety"}}};
  document.places = {{0, "page=1"}, {second, "page=2"}};
  document.regions = {
      {{0, 6}, {72, 72, 40, 12}}, {{8, 33}, {72, 100, 200, 12}}, {{second, second + 28}, {72, 700.25, 190, 12}}};
  return document;
}

TEST(PlacesTest, TextBytesHaveAPlaceAndABox) {
  const Document document = Paged();
  EXPECT_EQ(document.PlaceAt(0), "page=1");
  EXPECT_EQ(document.PlaceAt(document.text.find("spring")), "page=2");
  EXPECT_EQ(document.BoxOf({0, 10}), (Box{72, 72, 200, 40}));
  EXPECT_EQ(document.BoxOf({6, 8}), Box());
  EXPECT_EQ(TextDocument("a.txt", "no places").PlaceAt(0), "");
}

TEST(PlacesTest, NoChunkSpansTwoPages) {
  const auto chunks = ChunkDocument(Paged(), SampleEmbedder(32), {});
  ASSERT_TRUE(chunks.ok()) << chunks.status();
  std::vector<std::string> texts;
  for (const Chunk& chunk : *chunks) texts.push_back(Paged().text.substr(chunk.span.begin, chunk.span.size()));
  EXPECT_THAT(texts, ElementsAre("Wear gloves at all times.", "Drain the pump every spring."));
  EXPECT_EQ((*chunks)[1].heading_path, "Safety");
}

TEST(PlacesTest, ASearchSaysWhereInTheFileItFoundThePiece) {
  TemporaryFolder folder;
  const auto collection = Collection::Open(folder, WriteOptions());
  ASSERT_TRUE(collection.ok()) << collection.status();
  ASSERT_TRUE((*collection)->Put({Paged(), TextDocument("notes.txt", "The pump is blue.")}).ok());
  Query query;
  query.text = "Drain the pump in spring";
  const auto found = (*collection)->Search(query);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_FALSE(found->empty());
  EXPECT_EQ((*found)[0].place, "page=2");
  EXPECT_EQ((*found)[0].box, (Box{72, 700.25, 190, 12}));
  for (const ScoredChunk& chunk : *found) {
    if (chunk.path == "notes.txt") {
      EXPECT_EQ(chunk.place, "");
      EXPECT_EQ(chunk.box, Box());
    }
  }
}

}  // namespace
}  // namespace blazon::retrieval
