#include "retrieval/indexer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

TEST(IndexerTest, IndexesFoldersSkipsBadFilesAndDoesNothingTwice) {
  TemporaryFolder folder;
  const std::filesystem::path docs = folder.path() / "docs";
  WriteFile(docs / "a.txt", "Alpha text");
  WriteFile(docs / "sub/b.md", "# Beta\n\nBeta text");
  WriteFile(docs / "sub/deep/c.html", "<p>Gamma text");
  WriteFile(docs / "broken.txt", std::string("\0\1\2", 3));
  WriteFile(docs / "empty.md", "");
  WriteFile(docs / "film.mp4", "not looked at");
  WriteFile(docs / ".hidden.txt", "hidden");
  WriteFile(docs / ".git/config.txt", "hidden");
  std::filesystem::create_directory_symlink(docs, docs / "loop");
  ASSERT_EQ(mkfifo((docs / "pipe.txt").c_str(), 0600), 0);

  auto calls = std::make_shared<std::atomic<int64_t>>(0);
  CollectionOptions options = WriteOptions();
  options.embedder = SampleEmbedder(32, calls);
  auto collection = *Collection::Open(folder.path() / "collection", options);
  IndexerOptions indexing;
  indexing.loader_threads = 3;
  indexing.queue_documents = 1;
  indexing.commit_text_bytes = 1;
  std::vector<std::string> acknowledged;
  indexing.acknowledged = [&](const std::string& id, const std::string& path, PutOutcome) {
    EXPECT_EQ(id, DocumentId("docs", path));
    acknowledged.push_back(path);
  };
  int64_t last_done = 0;
  bool was_indexing = false;
  indexing.progress = [&](const IndexProgress& progress) {
    if (progress.indexing && !was_indexing) last_done = 0;
    was_indexing = progress.indexing;
    EXPECT_EQ(progress.files_done, last_done + 1);
    EXPECT_EQ(progress.files_total, 5);
    last_done = progress.files_done;
    return true;
  };
  auto report = Indexer(*collection, indexing).Add({docs});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->added, 3);
  EXPECT_EQ(report->unsupported, 1);
  ASSERT_EQ(report->skipped.size(), 2u);
  EXPECT_EQ(report->skipped[0].path, "broken.txt");
  EXPECT_EQ(report->skipped[0].id, DocumentId("docs", "broken.txt"));
  EXPECT_THAT(std::string(report->skipped[0].reason.message()), HasSubstr("binary"));
  EXPECT_EQ(report->skipped[1].path, "empty.md");
  EXPECT_THAT(acknowledged, UnorderedElementsAre("a.txt", "sub/b.md", "sub/deep/c.html"));
  Query query;
  query.text = "gamma";
  query.mode = SearchMode::kWords;
  const auto found = *collection->Search(query);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].path, "sub/deep/c.html");
  EXPECT_EQ(found[0].source, "docs");

  const int64_t embedded = *calls;
  last_done = 0;
  indexing.progress = nullptr;
  report = Indexer(*collection, indexing).Add({docs});
  EXPECT_EQ(report->unchanged, 3);
  EXPECT_EQ(report->added + report->replaced, 0);
  EXPECT_EQ(*calls, embedded) << "an unchanged tree costs no embedding";

  WriteFile(docs / "a.txt", "Alpha text, changed");
  std::filesystem::remove(docs / "sub/b.md");
  indexing.prune = true;
  // A document of another source is none of this run's business.
  ASSERT_TRUE(collection->Put({TextDocument("other.txt", "other")}).ok());
  report = Indexer(*collection, indexing).Add({docs});
  EXPECT_EQ(report->replaced, 1);
  EXPECT_EQ(report->unchanged, 1);
  EXPECT_EQ(report->pruned, 1);
  EXPECT_EQ(collection->Stats()->documents, 3);
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
}

// Once, the documents of a folder that could not be listed were pruned as gone.
TEST(IndexerTest, AFolderThatCannotBeListedIsSaidAndNothingIsPruned) {
  TemporaryFolder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  const bool root = geteuid() == 0;
  ASSERT_TRUE(!root || seteuid(65534) == 0);  // root may list everything
  const std::filesystem::path docs = folder.path() / "docs", closed = docs / "closed";
  WriteFile(docs / "a.txt", "Alpha text");
  WriteFile(closed / "b.txt", "Beta text");
  auto collection = Collection::Open(folder.path() / "collection", WriteOptions());
  IndexerOptions indexing;
  indexing.prune = true;
  absl::StatusOr<IndexReport> first, second;
  if (collection.ok()) {
    first = Indexer(**collection, indexing).Add({docs});
    std::filesystem::permissions(closed, std::filesystem::perms::none);
    second = Indexer(**collection, indexing).Add({docs});
    std::filesystem::permissions(closed, std::filesystem::perms::all);
  }
  ASSERT_TRUE(!root || seteuid(0) == 0);
  ASSERT_TRUE(first.ok() && second.ok()) << collection.status() << first.status() << second.status();
  EXPECT_EQ(first->added, 2);
  ASSERT_EQ(second->skipped.size(), 1u);
  EXPECT_THAT(std::string(second->skipped[0].reason.message()), HasSubstr("closed"));
  EXPECT_EQ(second->pruned, 0);
  EXPECT_EQ((*collection)->Stats()->documents, 2);
}

TEST(IndexerTest, StopsWhenToldAndKeepsWhatIsDone) {
  TemporaryFolder folder;
  for (int i = 0; i < 50; ++i) WriteFile(folder.path() / "docs" / absl::StrCat(i, ".txt"), absl::StrCat("text ", i));
  auto collection = *Collection::Open(folder.path() / "collection", WriteOptions());
  IndexerOptions indexing;
  indexing.queue_documents = 2;
  indexing.progress = [](const IndexProgress& progress) { return !progress.indexing || progress.files_done < 10; };
  const auto report = *Indexer(*collection, indexing).Add({folder.path() / "docs"});
  EXPECT_TRUE(report.stopped);
  EXPECT_EQ(report.added, 10);
  EXPECT_EQ(collection->Stats()->documents, 10);
}

TEST(IndexerTest, EndsWithTheCollectionsError) {
  TemporaryFolder folder;
  for (int i = 0; i < 200; ++i) WriteFile(folder.path() / "docs" / absl::StrCat(i, ".txt"), absl::StrCat("text ", i));
  CollectionOptions options = WriteOptions();
  options.embedder.embed = [](absl::Span<const std::string>) -> absl::StatusOr<std::vector<float>> {
    return absl::ResourceExhaustedError("no memory");
  };
  auto collection = *Collection::Open(folder.path() / "collection", options);
  IndexerOptions indexing;
  indexing.queue_documents = 2;
  indexing.commit_text_bytes = 1;
  indexing.loader_threads = 4;
  EXPECT_EQ(Indexer(*collection, indexing).Add({folder.path() / "docs"}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Indexer(*collection, indexing).Add({folder.path() / "nothing"}).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace blazon::retrieval
