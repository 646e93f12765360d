// Random changes to a collection beside the same changes to a plain map; they must always tell the same.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

class CollectionModelTest : public testing::TestWithParam<unsigned> {};

TEST_P(CollectionModelTest, AgreesWithAMap) {
  TemporaryFolder folder;
  CollectionOptions options = WriteOptions(16);
  options.chunker.target_tokens = 24;
  auto collection = *Collection::Open(folder, options);
  std::map<std::string, std::string> model;  // path -> text
  std::mt19937 random(GetParam());
  int serial = 0;
  for (int step = 0; step < 150; ++step) {
    const unsigned kind = random() % 20;
    if (kind < 11) {
      std::map<std::string, std::string> batch;
      for (unsigned i = 0; i < 1 + random() % 8; ++i) {
        const std::string path = absl::StrCat("p", random() % 40);
        std::string text = absl::StrCat("unique", serial++, " here.");
        if (random() % 4 == 0 && model.contains(path))
          text = model[path];
        else
          for (unsigned s = random() % 12; s > 0; --s)
            absl::StrAppend(&text, " More words number ", random() % 1000, " follow.");
        batch[path] = text;
      }
      std::vector<Document> documents;
      std::vector<PutOutcome> expected;
      for (const auto& [path, text] : batch) {
        documents.push_back(TextDocument(path, text));
        expected.push_back(!model.contains(path) ? PutOutcome::kAdded
                           : model[path] == text ? PutOutcome::kUnchanged
                                                 : PutOutcome::kReplaced);
        model[path] = text;
      }
      const auto outcomes = collection->Put(documents);
      ASSERT_TRUE(outcomes.ok()) << outcomes.status();
      ASSERT_EQ(*outcomes, expected);
    } else if (kind < 16) {
      std::vector<std::string> ids;
      int64_t expected = 0;
      for (unsigned i = 0; i < 1 + random() % 6; ++i) {
        const std::string path = absl::StrCat("p", random() % 40);
        ids.push_back(DocumentId("tests", path));
        expected += static_cast<int64_t>(model.erase(path));
      }
      ASSERT_EQ(*collection->Delete(ids), expected);
    } else if (kind == 16) {
      collection.reset();
      collection = *Collection::Open(folder, options);
    } else if (kind == 17) {
      ASSERT_TRUE(collection->Verify().ok()) << collection->Verify();
      const CollectionStats stats = *collection->Stats();
      ASSERT_EQ(stats.documents, static_cast<int64_t>(model.size()));
      ASSERT_EQ(stats.vectors - stats.dead_vectors, stats.chunks);
      ASSERT_LE(stats.segments, 8);
    } else {
      const auto page = collection->List(100);
      ASSERT_EQ(page->documents.size(), model.size());
      int64_t chunks = 0;
      for (const DocumentInfo& info : page->documents) {
        ASSERT_TRUE(model.contains(info.path));
        ASSERT_EQ(collection->Get(info.id)->text, model[info.path]);
        chunks += info.chunks;
        Query query;
        query.text = model[info.path].substr(0, model[info.path].find(' '));
        query.mode = SearchMode::kWords;
        const auto found = collection->Search(query);
        ASSERT_TRUE(found.ok()) << found.status();
        ASSERT_EQ(found->size(), 1u) << query.text;
        ASSERT_EQ((*found)[0].path, info.path);
      }
      Query query;
      query.text = "more words follow";
      query.count = 1000;
      query.mode = SearchMode::kMeaning;
      const auto found = collection->Search(query);
      ASSERT_TRUE(found.ok()) << found.status();
      ASSERT_EQ(static_cast<int64_t>(found->size()), chunks);
      for (const ScoredChunk& chunk : *found)
        ASSERT_EQ(model.at(chunk.path).substr(chunk.span.begin, chunk.span.size()), chunk.text);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CollectionModelTest, testing::Values(1u, 2u, 3u, 4u));

}  // namespace
}  // namespace blazon::retrieval
