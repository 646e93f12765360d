// Approximate indexes in a collection: built on request, put to use, lost and made again; deletions and filters never
// make a search return less than there is.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

constexpr int kIndexedDocuments = 6000, kWidthOfIndexed = 64;

CollectionOptions IndexedOptions() {
  CollectionOptions options = WriteOptions(kWidthOfIndexed);
  options.index_limits.automatic_rows = 5000;
  return options;
}

std::string IndexedText(int document) {
  std::mt19937 random(static_cast<unsigned>(document));
  std::string text;
  for (int word = 0; word < 8; ++word) absl::StrAppend(&text, "w", random() % 3000, " ");
  return text;
}

void Fill(Collection& collection, int first, int last) {
  std::vector<Document> documents;
  for (int i = first; i < last; ++i) {
    documents.push_back(TextDocument(absl::StrCat("d", i), IndexedText(i)));
    documents.back().metadata["tenth"] = absl::StrCat(i % 10);
    documents.back().metadata["hundredth"] = absl::StrCat(i % 100);
  }
  const auto outcomes = collection.Put(documents);
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
}

std::vector<ScoredChunk> Nearest(const Collection& collection, int document, int64_t count, const std::string& where) {
  Query query;
  query.text = IndexedText(document);
  query.mode = SearchMode::kMeaning;
  query.count = count;
  if (!where.empty()) query.filter.where = *ParseCondition(where);
  auto found = collection.Search(query);
  EXPECT_TRUE(found.ok()) << found.status();
  return found.ok() ? *found : std::vector<ScoredChunk>();
}

std::set<std::filesystem::path> IndexFiles(const std::filesystem::path& folder) {
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".idx") files.insert(entry.path());
  }
  return files;
}

TEST(CollectionIndexTest, IsBuiltUsedLostAndBuiltAgain) {
  TemporaryFolder folder;
  auto collection = *Collection::Open(folder, IndexedOptions());
  Fill(*collection, 0, kIndexedDocuments);
  EXPECT_EQ(collection->Stats()->indexed_vectors, 0);
  EXPECT_EQ(collection->Stats()->index, IndexKind::kAuto);
  EXPECT_EQ(collection->BuildIndexes([] { return true; }).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(IndexFiles(folder).empty());
  ASSERT_TRUE(collection->BuildIndexes().ok());
  ASSERT_EQ(IndexFiles(folder).size(), 1u);
  CollectionStats stats = *collection->Stats();
  EXPECT_EQ(stats.indexed_vectors, kIndexedDocuments);
  EXPECT_EQ(stats.used_index, IndexKind::kHnsw);
  EXPECT_GE(stats.index_recall, 0.95);
  EXPECT_LE(stats.index_recall, 1);
  EXPECT_GT(stats.index_bytes, 6000 * 33 * 4);
  ASSERT_TRUE(collection->BuildIndexes().ok());  // nothing to do

  // Another process reads it; small segments beside it are searched too.
  Fill(*collection, kIndexedDocuments, kIndexedDocuments + 10);
  CollectionOptions reading = ReadOptions(kWidthOfIndexed);
  reading.index_limits = IndexedOptions().index_limits;
  auto reader = *Collection::Open(folder, reading);
  EXPECT_EQ(reader->Stats()->indexed_vectors, kIndexedDocuments);
  EXPECT_EQ(reader->BuildIndexes().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Nearest(*reader, kIndexedDocuments + 3, 1, "")[0].path, absl::StrCat("d", kIndexedDocuments + 3));
  EXPECT_EQ(Nearest(*reader, 17, 1, "")[0].path, "d17");

  // Damage costs time, not results, and Verify names it.
  const std::filesystem::path file = *IndexFiles(folder).begin();
  std::string bytes = ReadFile(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  WriteFile(file, bytes);
  collection.reset();
  collection = *Collection::Open(folder, IndexedOptions());
  EXPECT_EQ(Nearest(*collection, 17, 1, "")[0].path, "d17");
  EXPECT_NE(collection->Verify().message().find(file.filename().string()), std::string::npos) << collection->Verify();
  ASSERT_TRUE(collection->BuildIndexes().ok());
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
  std::filesystem::remove(file);
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
  collection.reset();
  collection = *Collection::Open(folder, IndexedOptions());
  ASSERT_TRUE(collection->BuildIndexes().ok());
  EXPECT_EQ(IndexFiles(folder).size(), 1u);

  // It goes with its segment, and left-overs go with the next writer.
  std::vector<std::string> ids;
  for (int i = 0; i < kIndexedDocuments / 2; ++i) ids.push_back(DocumentId("tests", absl::StrCat("d", i)));
  ASSERT_EQ(*collection->Delete(ids), kIndexedDocuments / 2);
  EXPECT_TRUE(IndexFiles(folder).empty());
  collection.reset();
  WriteFile(folder.path() / "segment-999.idx", "left");
  WriteFile(folder.path() / "segment-998.idx.tmp", "left");
  collection = *Collection::Open(folder, IndexedOptions());
  EXPECT_TRUE(IndexFiles(folder).empty());
}

TEST(CollectionIndexTest, EverySurvivorFindsItselfAndNothingElseComes) {
  for (const IndexKind kind : {IndexKind::kHnsw, IndexKind::kIvf}) {
    TemporaryFolder folder;
    CollectionOptions options = IndexedOptions();
    options.index = kind;
    auto collection = *Collection::Open(folder, options);
    Fill(*collection, 0, kIndexedDocuments);
    ASSERT_TRUE(collection->BuildIndexes().ok());
    ASSERT_EQ(collection->Stats()->used_index, kind);
    int first = 0;                             // of the survivors
    for (const int share : {5, 29, 50, 95}) {  // in all; above 30 % dead, a segment is written anew
      SCOPED_TRACE(testing::Message() << IndexKindName(kind) << ", " << share << " % deleted");
      std::vector<std::string> ids;
      const int next = kIndexedDocuments * share / 100;
      for (; first < next; ++first) ids.push_back(DocumentId("tests", absl::StrCat("d", first)));
      ASSERT_EQ(*collection->Delete(ids), static_cast<int64_t>(ids.size()));
      ASSERT_TRUE(collection->BuildIndexes().ok());  // of 3,000 vectors and fewer none is made
      const int step = std::max(1, (kIndexedDocuments - first) / 300);
      for (int i = first; i < kIndexedDocuments; i += step) {
        const std::vector<ScoredChunk> found = Nearest(*collection, i, 20, "");
        ASSERT_EQ(found.size(), 20u);
        EXPECT_EQ(found[0].path, absl::StrCat("d", i));
        for (const ScoredChunk& chunk : found) EXPECT_GE(std::stoi(chunk.path.substr(1)), first);
      }
    }
  }
}

TEST(CollectionIndexTest, FiltersNeverReturnFewer) {
  TemporaryFolder folder;
  auto collection = *Collection::Open(folder, IndexedOptions());
  Fill(*collection, 0, kIndexedDocuments);
  ASSERT_TRUE(collection->BuildIndexes().ok());
  ASSERT_GT(collection->Stats()->indexed_vectors, 0);
  for (int i = 0; i < 40; ++i) {
    for (const auto& [where, modulus] :
         {std::pair("tenth == 3", 10), std::pair("hundredth == 7", 100), std::pair("tenth exists", 1)}) {
      const std::vector<ScoredChunk> found = Nearest(*collection, i, 30, where);
      ASSERT_EQ(found.size(), 30u) << where;
      for (const ScoredChunk& chunk : found) {
        if (modulus > 1) {
          EXPECT_EQ(std::stoi(chunk.path.substr(1)) % modulus, modulus == 10 ? 3 : 7);
        }
      }
    }
    EXPECT_EQ(Nearest(*collection, i, 1000, "hundredth == 7").size(), 60u);
    EXPECT_EQ(Nearest(*collection, 100 * i + 7, 1, "hundredth == 7")[0].path, absl::StrCat("d", 100 * i + 7));
  }
}

}  // namespace
}  // namespace blazon::retrieval
