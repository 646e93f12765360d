// Each system call that changes a file may fail, and each may be the last one of the process: afterwards there is the
// old state or the new one, whole, and work goes on.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "faulty_calls.h"
#include "retrieval/collection_care.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

std::vector<Document> Documents(int begin, int end, int version) {
  std::vector<Document> documents;
  for (int i = begin; i < end; ++i)
    documents.push_back(
        TextDocument(absl::StrCat(i, ".txt"), absl::StrCat("common text ", i, " of version ", version)));
  return documents;
}

// What is in it, as one text; empty when a search does not find exactly the documents that are listed.
std::string State(const Collection& collection) {
  std::string state;
  std::set<std::string> listed, found;
  const auto page = collection.List(1000);
  EXPECT_TRUE(page.ok()) << page.status();
  if (!page.ok()) return "";
  for (const DocumentInfo& info : page->documents) {
    const auto document = collection.Get(info.id);
    EXPECT_TRUE(document.ok()) << document.status();
    if (!document.ok()) return "";
    absl::StrAppend(&state, info.path, " ", document->text, "\n");
    listed.insert(document->text);
  }
  Query query;
  query.text = "common";
  query.count = 100;
  query.mode = SearchMode::kMeaning;
  const auto hits = collection.Search(query);
  EXPECT_TRUE(hits.ok()) << hits.status();
  if (!hits.ok()) return "";
  for (const ScoredChunk& hit : *hits) EXPECT_TRUE(found.insert(hit.text).second) << "twice: " << hit.text;
  EXPECT_EQ(found, listed);
  return state;
}

std::string StateOf(const fs::path& folder) {
  const auto collection = Collection::Open(folder, ReadOptions());
  EXPECT_TRUE(collection.ok()) << collection.status();
  return collection.ok() ? State(**collection) : "";
}

struct Scenario {
  const char* name;
  std::function<absl::Status(Collection&)> change;
};

const Scenario kScenarios[] = {
    {"add", [](Collection& collection) { return collection.Put(Documents(20, 23, 2)).status(); }},
    {"replace and merge", [](Collection& collection) { return collection.Put(Documents(0, 8, 2)).status(); }},
    {"delete and compact",
     [](Collection& collection) {
       std::vector<std::string> ids;
       for (int i = 0; i < 7; ++i) ids.push_back(DocumentId("tests", absl::StrCat(i, ".txt")));
       return collection.Delete(ids).status();
     }},
};

class CollectionCallsTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const auto collection = *Collection::Open(made_, WriteOptions());
    ASSERT_TRUE(collection->Put(Documents(0, 8, 1)).ok());
    ASSERT_TRUE(collection->Put(Documents(8, 10, 1)).ok());
    old_state_ = State(*collection);
    CopyFolder(made_, again_);
    const auto changed = *Collection::Open(again_, WriteOptions());
    ASSERT_TRUE(scenario_.change(*changed).ok());
    new_state_ = State(*changed);
    ASSERT_NE(old_state_, new_state_);
  }

  // As after a crash: without the memory that processes share.
  static void CopyFolder(const fs::path& from, const fs::path& to) {
    fs::remove_all(to);
    fs::create_directories(to);
    for (const auto& entry : fs::directory_iterator(from)) {
      if (!entry.path().string().ends_with("-shm")) fs::copy_file(entry.path(), to / entry.path().filename());
    }
  }

  void ExpectOldOrNew(const fs::path& folder) {
    const std::string state = StateOf(folder);
    EXPECT_TRUE(state == old_state_ || state == new_state_) << state;
    const auto verified = VerifyCollection(folder);
    ASSERT_TRUE(verified.ok()) << verified.status();
    EXPECT_TRUE(verified->damage.empty()) << ToStatus(*verified, folder);
  }

  const Scenario& scenario_ = kScenarios[GetParam()];
  TemporaryFolder folder_;
  const fs::path made_ = folder_.path() / "made", again_ = folder_.path() / "again";
  std::string old_state_, new_state_;
};

INSTANTIATE_TEST_SUITE_P(Changes, CollectionCallsTest, testing::Range(0, 3));

TEST_P(CollectionCallsTest, EachMayFail) {
  int failed = 0, calls = 0;
  for (const faulty::Fault fault : {faulty::Fault::kFailOnce, faulty::Fault::kFailFrom}) {
    for (int at = 0;; ++at) {
      SCOPED_TRACE(absl::StrCat(scenario_.name, ", call ", at));
      CopyFolder(made_, again_);
      auto collection = *Collection::Open(again_, WriteOptions());
      faulty::Arm(fault, at);
      const absl::Status status = scenario_.change(*collection);
      calls = faulty::Disarm();
      failed += !status.ok();
      EXPECT_EQ(State(*collection), status.ok() ? new_state_ : old_state_) << status;
      const fs::path crashed = folder_.path() / "crashed";
      CopyFolder(again_, crashed);
      ExpectOldOrNew(crashed);
      const absl::Status goes_on = collection->Put(Documents(30, 32, 3)).status();
      EXPECT_TRUE(goes_on.ok()) << goes_on;
      collection.reset();
      EXPECT_TRUE((*Collection::Open(again_, WriteOptions()))->Verify().ok());
      if (HasFailure() || calls <= at) break;
    }
  }
  std::printf("%s: %d calls, %d changes failed\n", scenario_.name, calls, failed);
  EXPECT_GT(failed, 10);
}

TEST_P(CollectionCallsTest, EachMayBeTheLast) {
  int kills = 0, came_through = 0;
  for (int at = 0;; ++at) {
    SCOPED_TRACE(absl::StrCat(scenario_.name, ", call ", at));
    CopyFolder(made_, again_);
    const pid_t child = fork();
    if (child == 0) {
      auto collection = Collection::Open(again_, WriteOptions());
      if (!collection.ok()) _exit(1);
      faulty::Arm(faulty::Fault::kDie, at);
      const absl::Status status = scenario_.change(**collection);
      const int calls = faulty::Disarm();
      _exit(!status.ok() ? 2 : calls > at ? 3 : 0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      EXPECT_EQ(StateOf(again_), new_state_);  // acknowledged
      break;
    }
    ++kills;
    ExpectOldOrNew(again_);
    came_through += StateOf(again_) == new_state_;
    EXPECT_TRUE((*Collection::Open(again_, WriteOptions()))->Put(Documents(30, 32, 3)).ok());
    if (HasFailure()) break;
  }
  std::printf("%s: killed at each of %d calls; the change was there %d times, whole\n", scenario_.name, kills,
              came_through);
  EXPECT_GT(kills, 8);
}

}  // namespace
}  // namespace blazon::retrieval
