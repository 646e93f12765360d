// After deleting a part of the documents, every one that is left finds itself, none that is gone is found, and there
// are always as many results as were asked for while so many live.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

constexpr int kDocuments = 400;

std::string NumberedText(int document) {
  return absl::StrCat("The item of number", document, " is kept in shelf", document % 37, " near door", document % 11);
}

class CollectionDeletionTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Percent, CollectionDeletionTest, testing::Values(5, 50, 95));

TEST_P(CollectionDeletionTest, SurvivorsFindThemselvesAndGhostsAreNotFound) {
  TemporaryFolder folder;
  auto collection = *Collection::Open(folder, WriteOptions(256));
  for (int begin = 0; begin < kDocuments; begin += 50) {
    std::vector<Document> documents;
    for (int i = begin; i < begin + 50; ++i)
      documents.push_back(TextDocument(absl::StrCat(i, ".txt"), NumberedText(i)));
    ASSERT_TRUE(collection->Put(documents).ok());
  }
  std::vector<int> order(kDocuments);
  for (int i = 0; i < kDocuments; ++i) order[static_cast<size_t>(i)] = i;
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  std::shuffle(order.begin(), order.end(), random);
  const size_t deleted = static_cast<size_t>(kDocuments * GetParam() / 100);
  for (size_t begin = 0; begin < deleted; begin += 10) {
    std::vector<std::string> ids;
    for (size_t i = begin; i < std::min(begin + 10, deleted); ++i)
      ids.push_back(DocumentId("tests", absl::StrCat(order[i], ".txt")));
    ASSERT_EQ(*collection->Delete(ids), static_cast<int64_t>(ids.size()));
  }
  std::set<std::string> alive;
  for (size_t i = deleted; i < order.size(); ++i) alive.insert(absl::StrCat(order[i], ".txt"));
  const Embedder embedder = WriteOptions(256).embedder;
  for (const bool again : {false, true}) {
    if (again) {
      collection.reset();
      collection = *Collection::Open(folder, ReadOptions(256));
    }
    const int64_t live = static_cast<int64_t>(alive.size());
    for (const SearchMode mode : {SearchMode::kMeaning, SearchMode::kBoth, SearchMode::kWords}) {
      int found_themselves = 0;
      for (const std::string& path : alive) {
        Query query;
        query.text = NumberedText(std::atoi(path.c_str()));
        query.mode = mode;
        query.count = 10;
        const auto hits = collection->Search(query);
        ASSERT_TRUE(hits.ok()) << hits.status();
        ASSERT_EQ(static_cast<int64_t>(hits->size()), std::min<int64_t>(10, live));
        for (const ScoredChunk& hit : *hits) ASSERT_TRUE(alive.contains(hit.path)) << "a ghost: " << hit.path;
        found_themselves += std::any_of(hits->begin(), hits->end(), [&](const ScoredChunk& hit) {
          return hit.path == path && hit.score >= hits->front().score - 1e-9;
        });
      }
      EXPECT_EQ(found_themselves, live);
    }
    Query everything;
    everything.text = "item";
    everything.mode = SearchMode::kMeaning;
    for (const int64_t count : {live - 1, live, live + 1}) {
      everything.count = count;
      EXPECT_EQ(static_cast<int64_t>(collection->Search(everything)->size()), std::min(count, live));
    }
  }
  std::printf("%d %% deleted: each of %zu survivors finds itself, no ghosts\n", GetParam(), alive.size());
}

}  // namespace
}  // namespace blazon::retrieval
