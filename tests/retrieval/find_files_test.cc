#include "retrieval/find_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;
namespace fs = std::filesystem;

FindOptions Patterns(std::vector<std::string> include, std::vector<std::string> exclude = {}) {
  FindOptions options;
  options.include = std::move(include);
  options.exclude = std::move(exclude);
  return options;
}

class FindFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* path : {"a.txt", "b.md", "drafts/c.md", "notes/d.md", "notes/deep/e.txt", "notes/deep/f.md"})
      WriteFile(docs_ / path, path);
  }
  std::vector<std::string> Paths(const FindOptions& options) {
    const auto found = FindFiles({docs_}, options);
    EXPECT_TRUE(found.ok()) << found.status();
    std::vector<std::string> paths;
    if (!found.ok()) return paths;
    for (const FoundFile& file : found->files) paths.push_back(file.path);
    left_out_ = found->left_out;
    return paths;
  }
  TemporaryFolder folder_;
  const fs::path docs_ = folder_.path() / "docs";
  int64_t left_out_ = 0;
};

TEST_F(FindFilesTest, GoesByPatterns) {
  EXPECT_THAT(Paths({}),
              ElementsAre("a.txt", "b.md", "drafts/c.md", "notes/d.md", "notes/deep/e.txt", "notes/deep/f.md"));
  EXPECT_THAT(Paths(Patterns({"*.md"})), ElementsAre("b.md", "drafts/c.md", "notes/d.md", "notes/deep/f.md"));
  EXPECT_EQ(left_out_, 2);
  EXPECT_THAT(Paths(Patterns({"notes/"})), ElementsAre("notes/d.md", "notes/deep/e.txt", "notes/deep/f.md"));
  EXPECT_THAT(Paths(Patterns({"*.md"}, {"drafts/", "/notes/deep"})), ElementsAre("b.md", "notes/d.md"));
  EXPECT_THAT(Paths(Patterns({}, {"*.md", "!d.md"})), ElementsAre("a.txt", "notes/d.md", "notes/deep/e.txt"));
  EXPECT_EQ(FindFiles({docs_}, Patterns({""})).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FindFilesTest, GoesByGitignoreFilesUnlessToldNotTo) {
  WriteFile(docs_ / ".gitignore", "drafts\n");
  WriteFile(docs_ / "notes" / ".gitignore", "*.md\n!f.md\n");
  EXPECT_THAT(Paths({}), ElementsAre("a.txt", "b.md", "notes/deep/e.txt", "notes/deep/f.md"));
  FindOptions all;
  all.gitignore = false;
  EXPECT_EQ(Paths(all).size(), 6u);
}

TEST_F(FindFilesTest, TakesFilesThatAreNamedWhateverThePatternsSay) {
  const auto found = FindFiles({docs_ / "b.md", docs_ / "notes"}, Patterns({}, {"*.md"}));
  ASSERT_TRUE(found.ok());
  std::vector<std::string> paths;
  for (const FoundFile& file : found->files) paths.push_back(file.source + "/" + file.path);
  EXPECT_THAT(paths, UnorderedElementsAre("docs/b.md", "notes/deep/e.txt"));
}

TEST_F(FindFilesTest, NamesAFileThatWouldBeAnotherOnesDocument) {
  const fs::path other = folder_.path() / "other" / "docs";
  WriteFile(other / "a.txt", "another a");
  WriteFile(other / "z.txt", "z");
  const auto found = FindFiles({docs_, other}, {});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->files.size(), 7u);
  ASSERT_EQ(found->skipped.size(), 1u);
  EXPECT_EQ(found->skipped[0].path, fs::canonical(other / "a.txt").string());
  EXPECT_THAT(std::string(found->skipped[0].reason.message()), testing::HasSubstr("add it under another --source"));
  EXPECT_TRUE(FindFiles({docs_, docs_}, {})->skipped.empty());
}

}  // namespace
}  // namespace blazon::retrieval
