#include "retrieval/sync_plan.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "retrieval/indexer.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class SyncPlanTest : public testing::Test {
 protected:
  void SetUp() override {
    CollectionOptions options = WriteOptions();
    options.embedder = SampleEmbedder(32, calls_);
    collection_ = *Collection::Open(folder_.path() / "collection", options);
    for (const char* path : {"a.txt", "b.txt", "sub/c.txt"}) WriteFile(docs_ / path, absl::StrCat("text of ", path));
  }
  SyncPlan Plan(DigestCache* cache = nullptr) {
    PlanOptions options;
    options.cache = cache;
    options.threads = 2;
    const auto plan = PlanSync(collection_.get(), {docs_}, options);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *plan : SyncPlan();
  }
  IndexReport Sync(bool prune = true) {
    IndexerOptions options;
    options.prune = prune;
    const auto report = Indexer(*collection_, options).Add({docs_});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : IndexReport();
  }
  std::vector<std::string> Documents() {
    std::vector<std::string> paths;
    const auto page = collection_->List(1000);
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return paths;
    for (const DocumentInfo& document : page->documents) paths.push_back(document.path);
    return paths;
  }
  static std::vector<FileState> States(const SyncPlan& plan) {
    std::vector<FileState> states;
    for (const PlannedFile& file : plan.files) states.push_back(file.state);
    return states;
  }
  TemporaryFolder folder_;
  const fs::path docs_ = folder_.path() / "docs";
  std::shared_ptr<std::atomic<int64_t>> calls_ = std::make_shared<std::atomic<int64_t>>(0);
  std::unique_ptr<Collection> collection_;
};

TEST_F(SyncPlanTest, TellsNewChangedUnchangedAndGone) {
  EXPECT_THAT(States(Plan()), ElementsAre(FileState::kNew, FileState::kNew, FileState::kNew));
  EXPECT_EQ(collection_->Stats()->documents, 0) << "a plan changes nothing";
  Sync();
  EXPECT_THAT(States(Plan()), ElementsAre(FileState::kUnchanged, FileState::kUnchanged, FileState::kUnchanged));
  WriteFile(docs_ / "a.txt", "another text");
  fs::remove(docs_ / "b.txt");
  const SyncPlan plan = Plan();
  EXPECT_THAT(States(plan), ElementsAre(FileState::kChanged, FileState::kUnchanged));
  ASSERT_EQ(plan.gone.size(), 1u);
  EXPECT_EQ(plan.gone[0].path, "b.txt");

  const int64_t embedded = *calls_;
  IndexReport report = Sync(false);
  EXPECT_EQ(report.gone.size(), 1u);
  EXPECT_EQ(report.pruned, 0);
  EXPECT_EQ(*calls_, embedded + 1) << "one changed file costs its chunks alone";
  EXPECT_THAT(Documents(), ElementsAre("a.txt", "b.txt", "sub/c.txt"));
  report = Sync();
  EXPECT_EQ(report.pruned, 1);
  EXPECT_THAT(Documents(), ElementsAre("a.txt", "sub/c.txt"));
}

TEST_F(SyncPlanTest, FilesOfTheSameBytesAreOneDocument) {
  Sync();
  WriteFile(docs_ / "Copy of b.txt", ReadFile(docs_ / "b.txt"));
  WriteFile(docs_ / "b.md", ReadFile(docs_ / "b.txt"));  // is parsed another way
  const int64_t embedded = *calls_;
  IndexReport report = Sync();
  EXPECT_EQ(*calls_, embedded + 1);
  ASSERT_EQ(report.duplicates.size(), 1u);
  EXPECT_EQ(report.duplicates[0].path, "Copy of b.txt");
  EXPECT_EQ(report.duplicates[0].same_as, "b.txt") << "what is there already stands for the others";
  EXPECT_THAT(Documents(), ElementsAre("a.txt", "b.md", "b.txt", "sub/c.txt"));

  // The next one stands in when the first is gone.
  fs::remove(docs_ / "b.txt");
  report = Sync();
  EXPECT_TRUE(report.duplicates.empty());
  EXPECT_THAT(Documents(), ElementsAre("Copy of b.txt", "a.txt", "b.md", "sub/c.txt"));

  // A document whose file becomes a copy of another does not stay as it was.
  WriteFile(docs_ / "a.txt", ReadFile(docs_ / "sub/c.txt"));
  report = Sync();
  ASSERT_EQ(report.duplicates.size(), 1u);
  EXPECT_EQ(report.duplicates[0].path, "a.txt");
  EXPECT_THAT(Documents(), ElementsAre("Copy of b.txt", "b.md", "sub/c.txt"));
  report = Sync();
  EXPECT_EQ(report.unchanged, 3);
  EXPECT_EQ(report.duplicates.size(), 1u);
}

TEST_F(SyncPlanTest, NearDuplicatesOfWhatIsNewAreToldOf) {
  std::string text;
  for (int i = 0; i < 100; ++i) absl::StrAppend(&text, "word", i * i % 89, " ");
  WriteFile(docs_ / "a.txt", text);
  Sync();
  WriteFile(docs_ / "b.txt", text + "and one more");
  WriteFile(docs_ / "sub" / "c.txt", "something else altogether, of five words and more");
  IndexerOptions options;
  options.near_duplicates = 0.8;
  auto report = Indexer(*collection_, options).Add({docs_});
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->near_duplicates.size(), 1u);
  EXPECT_EQ(report->near_duplicates[0].path, "a.txt");
  EXPECT_EQ(report->near_duplicates[0].other, "b.txt");
  EXPECT_GT(report->near_duplicates[0].similarity, 0.9);
  report = Indexer(*collection_, options).Add({docs_});
  EXPECT_TRUE(report->near_duplicates.empty()) << "nothing is new";
}

TEST_F(SyncPlanTest, StrictEndsAtTheFirstFileThatCannotBeRead) {
  WriteFile(docs_ / "bad.txt", std::string("\0\1\2", 3));
  IndexerOptions options;
  options.strict = true;
  const absl::Status status = Indexer(*collection_, options).Add({docs_}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("bad.txt"));
  EXPECT_EQ(Sync().skipped.size(), 1u);
}

TEST_F(SyncPlanTest, TheCacheSparesReadingAndSeesEveryChange) {
  // Long settled files; a cache does not trust younger ones.
  const timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
  DigestCache cache;
  Sync();
  Plan(&cache);
  EXPECT_EQ(cache.Find(docs_ / "a.txt"), nullptr) << "it was changed just now";
  // As if an hour had gone by: the entry of a file as it is.
  struct stat information {};
  ASSERT_EQ(utimensat(AT_FDCWD, (docs_ / "a.txt").c_str(), times, 0), 0);
  ASSERT_EQ(stat((docs_ / "a.txt").c_str(), &information), 0);
  const auto nanoseconds = [](const timespec& time) { return time.tv_sec * int64_t{1000000000} + time.tv_nsec; };
  cache.Keep(docs_ / "a.txt", {information.st_size, static_cast<int64_t>(information.st_ino),
                               nanoseconds(information.st_mtim), nanoseconds(information.st_ctim), "a digest"});
  EXPECT_EQ(Plan(&cache).files[0].state, FileState::kChanged) << "the cache's digest was not used";
  WriteFile(docs_ / "a.txt", ReadFile(docs_ / "a.txt"));
  EXPECT_EQ(Plan(&cache).files[0].state, FileState::kUnchanged) << "the file's times have changed";
}

TEST_F(SyncPlanTest, AnUnchangedTreeOfTenThousandFilesCostsNoEmbedding) {
  for (int i = 0; i < 10000; ++i)
    WriteFile(docs_ / absl::StrCat("folder", i / 100) / absl::StrCat(i, ".txt"), absl::StrCat("text number ", i));
  EXPECT_EQ(Sync().added, 10003);
  const int64_t embedded = *calls_;
  const auto start = std::chrono::steady_clock::now();
  const IndexReport unchanged = Sync();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(unchanged.unchanged, 10003);
  EXPECT_EQ(*calls_, embedded);
  WriteFile(docs_ / "folder7" / "777.txt", "another text");
  EXPECT_EQ(Sync().replaced, 1);
  EXPECT_EQ(*calls_, embedded + 1);
  std::printf("an unchanged tree of 10,003 files: 0 embeddings, %.2f s; one changed file: 1 embedding\n", seconds);
}

TEST_F(SyncPlanTest, StopsWhenTold) {
  PlanOptions options;
  options.progress = [](int64_t done, int64_t total, const std::string&) {
    EXPECT_EQ(total, 3);
    return done < 2;
  };
  const auto plan = PlanSync(collection_.get(), {docs_}, options);
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->stopped);
  EXPECT_EQ(PlanSync(nullptr, {docs_}, {})->files.size(), 3u) << "without a collection all files are new";
}

}  // namespace
}  // namespace blazon::retrieval
