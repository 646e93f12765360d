// A file system of 10 MB that fills up: writers get a clear error, searches go on, and writing goes on once there is
// space.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "faulty_calls.h"
#include "retrieval/collection_care.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kDiskBytes = 10 << 20;

Document Filling(int number) {
  std::mt19937 random(static_cast<unsigned>(number));
  std::string text = absl::StrCat("common item", number, ". ");
  while (text.size() < 40000) absl::StrAppend(&text, "word", random() % 100000, random() % 10 == 0 ? ". " : " ");
  return TextDocument(absl::StrCat(number, ".txt"), text);
}

// All documents that the list has are found, whole, and no others.
void ExpectExactly(const Collection& collection, const std::set<int>& numbers) {
  const auto page = collection.List(1000);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->documents.size(), numbers.size());
  for (const int number : numbers) {
    const auto document = collection.Get(DocumentId("tests", absl::StrCat(number, ".txt")));
    ASSERT_TRUE(document.ok()) << document.status();
    ASSERT_EQ(document->text, Filling(number).text);
    Query query;
    query.text = absl::StrCat("item", number);
    query.mode = SearchMode::kWords;
    const auto hits = collection.Search(query);
    ASSERT_TRUE(hits.ok()) << hits.status();
    ASSERT_EQ(hits->size(), 1u);
    ASSERT_EQ((*hits)[0].path, absl::StrCat(number, ".txt"));
  }
  Query query;
  query.text = "common item";
  query.mode = SearchMode::kMeaning;
  query.count = 1000;
  const auto hits = collection.Search(query);
  ASSERT_TRUE(hits.ok()) << hits.status();
  ASSERT_EQ(static_cast<int64_t>(hits->size()), std::min<int64_t>(1000, collection.Stats()->chunks));
}

// folder: of the disk, empty. Collection folder and something else share it.
void FillUp(const fs::path& folder) {
  const fs::path place = folder / "collection", other = folder / "other";
  const auto opened = Collection::Open(place, WriteOptions());
  ASSERT_TRUE(opened.ok()) << opened.status();
  Collection& collection = **opened;
  std::set<int> there;
  int next = 0, refused = 0;
  WriteFile(other, std::string(2 << 20, 'x'));
  ASSERT_EQ(fs::file_size(other), uintmax_t{2 << 20});
  absl::Status status;
  while (status.ok()) {
    ASSERT_LT(next, 1000) << "the disk does not fill up";
    status = collection.Put({Filling(next)}).status();
    if (status.ok()) there.insert(next);
    ++next;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "free some space")) << status;
  ExpectExactly(collection, there);
  for (; refused < 3; ++refused) {  // not once only
    const absl::Status again = collection.Put({Filling(next++)}).status();
    EXPECT_EQ(again.code(), absl::StatusCode::kResourceExhausted) << again;
  }
  ExpectExactly(collection, there);
  EXPECT_TRUE(collection.Verify().ok()) << collection.Verify();

  fs::remove(other);
  for (int i = 0; i < 3; ++i) {
    const absl::Status goes_on = collection.Put({Filling(next)}).status();
    ASSERT_TRUE(goes_on.ok()) << goes_on;
    there.insert(next++);
  }
  std::vector<std::string> ids;
  while (there.size() > 10) {
    ids.push_back(DocumentId("tests", absl::StrCat(*there.begin(), ".txt")));
    there.erase(there.begin());
  }
  const auto deleted = collection.Delete(ids);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  ExpectExactly(collection, there);
  EXPECT_TRUE(collection.Verify().ok()) << collection.Verify();
  std::printf(
      "full: %d documents of 40 kB more were refused with a clear error, all others found throughout, and writing "
      "went on after 2 MB were freed\n",
      refused + 1);
}

// BLAZON_DISK: an empty file system of 10 MB, as tests/soak.sh mounts one; without it, a limit of ours.
TEST(CollectionFullDiskTest, ErrorsAreClearSearchesGoOnAndWritingDoesOnceThereIsSpace) {
  if (const char* disk = std::getenv("BLAZON_DISK")) return FillUp(disk);
  TemporaryFolder folder;
  faulty::LimitFolder(folder.path().string(), kDiskBytes);
  FillUp(folder.path());
  faulty::LimitFolder("", 0);
}

}  // namespace
}  // namespace blazon::retrieval
