#include "retrieval/folder_watch.h"

#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

// Changes are there before Wait is called: nothing is waited for but the quiet time.
const WatchTimes kQuick{std::chrono::milliseconds(1), std::chrono::milliseconds(50)};

bool Forever() { return true; }
// Ends the wait when it has nothing to tell at once.
std::function<bool()> Once() {
  return [asked = 0]() mutable { return ++asked < 3; };
}

class FolderWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteFile(docs_ / "sub" / "a.txt", "a");
    fs::create_directories(docs_ / ".hidden");
    auto watch = FolderWatch::Open({docs_});
    ASSERT_TRUE(watch.ok()) << watch.status();
    watch_ = *std::move(watch);
    ASSERT_EQ(watch_->folders(), 2);
  }
  FolderWatch::Change Wait(const std::function<bool()>& goes_on = Forever) {
    const auto change = watch_->Wait(kQuick, goes_on);
    EXPECT_TRUE(change.ok()) << change.status();
    return change.ok() ? *change : FolderWatch::Change();
  }
  TemporaryFolder folder_;
  const fs::path docs_ = folder_.path() / "docs";
  std::unique_ptr<FolderWatch> watch_;
};

TEST_F(FolderWatchTest, SeesWhatAnIndexerWould) {
  EXPECT_FALSE(Wait(Once()).changed);
  WriteFile(docs_ / "sub" / "a.txt", "changed");
  EXPECT_TRUE(Wait().changed);
  fs::rename(docs_ / "sub" / "a.txt", docs_ / "b.txt");
  EXPECT_TRUE(Wait().changed);
  fs::remove(docs_ / "b.txt");
  EXPECT_TRUE(Wait().changed);
  fs::permissions(docs_ / "sub", fs::perms::owner_all);
  EXPECT_TRUE(Wait().changed);
  WriteFile(docs_ / ".gitignore", "*.log");
  EXPECT_TRUE(Wait().changed);
  WriteFile(docs_ / ".hidden" / "c.txt", "hidden");
  WriteFile(docs_ / ".d.txt.swp", "hidden");
  EXPECT_FALSE(Wait(Once()).changed);
}

TEST_F(FolderWatchTest, WatchesFoldersThatCome) {
  WriteFile(docs_ / "new" / "deep" / "a.txt", "a");
  EXPECT_TRUE(Wait().changed);
  EXPECT_EQ(watch_->folders(), 4);
  WriteFile(docs_ / "new" / "deep" / "b.txt", "b");
  EXPECT_TRUE(Wait().changed);
  fs::rename(docs_ / "new", docs_ / "newer");
  EXPECT_TRUE(Wait().changed);
  WriteFile(docs_ / "newer" / "deep" / "b.txt", "c");
  EXPECT_TRUE(Wait().changed);
  fs::remove_all(docs_ / "newer");
  EXPECT_TRUE(Wait().changed);
  EXPECT_EQ(watch_->folders(), 2);
}

TEST_F(FolderWatchTest, TellsOfManyChangesOnce) {
  for (int i = 0; i < 100; ++i) WriteFile(docs_ / absl::StrCat(i, ".txt"), "text");
  EXPECT_GE(Wait().events, 100);
  EXPECT_FALSE(Wait(Once()).changed);
}

// More happens than the kernel's queue holds, as when a large tree is unpacked.
TEST_F(FolderWatchTest, AnOverflowIsAChangeAndFoldersThatItHidAreWatched) {
  int limit = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  ASSERT_GT(limit, 0);
  for (int i = 0; i <= limit / 2; ++i) {  // like events that follow each other would be one
    std::ofstream(docs_ / "a.txt").put('a');
    std::ofstream(docs_ / "b.txt").put('b');
  }
  WriteFile(docs_ / "new" / "c.txt", "c");
  const FolderWatch::Change change = Wait();
  EXPECT_TRUE(change.changed);
  EXPECT_TRUE(change.overflow);
  EXPECT_EQ(watch_->folders(), 3);
  WriteFile(docs_ / "new" / "c.txt", "changed");
  EXPECT_TRUE(Wait().changed);
}

TEST(FolderWatchErrorTest, APathMustExist) {
  TemporaryFolder folder;
  EXPECT_EQ(FolderWatch::Open({folder.path() / "nothing"}).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace blazon::retrieval
