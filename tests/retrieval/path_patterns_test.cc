// Patterns against what git itself ignores (tests/reference/gitignore_goldens.py), and as include and exclude lists.
#include "retrieval/path_patterns.h"

#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

// As git goes down: what lies in an ignored folder is ignored.
bool IsIgnored(const PathPatterns& patterns, std::string_view path) {
  for (size_t slash = path.find('/'); slash != std::string_view::npos && slash + 1 < path.size();
       slash = path.find('/', slash + 1)) {
    if (patterns.Judge(path.substr(0, slash), true) == Verdict::kIgnored) return true;
  }
  const bool folder = path.ends_with('/');
  return patterns.Judge(folder ? path.substr(0, path.size() - 1) : path, folder) == Verdict::kIgnored;
}

TEST(PathPatternsTest, IgnoreWhatGitIgnores) {
  std::ifstream file(std::string(BLAZON_SOURCE_DIR) + "/tests/goldens/retrieval/gitignore.tsv");
  int lines = 0, ignored = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    ASSERT_EQ(fields.size(), 3u);
    const std::string content = absl::StrJoin(absl::StrSplit(fields[0], '|'), "\n") + "\n";
    EXPECT_EQ(IsIgnored(PathPatterns::FromFile(content), fields[1]), fields[2] == "1")
        << "patterns " << fields[0] << ", path " << fields[1]
        << "; expectations come from: python3 tests/reference/gitignore_goldens.py";
    ignored += fields[2] == "1";
  }
  EXPECT_GT(lines, 3000);
  EXPECT_GT(ignored, 300);
}

TEST(PathPatternsTest, TakeTimeInProportion) {
  std::string pattern, text(20000, 'a');
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatches(pattern + "*b", text));
  EXPECT_TRUE(GlobMatches(pattern + "*", text));
}

TEST(PathPatternsTest, ListsAreChecked) {
  EXPECT_FALSE(PathPatterns::FromList({"*.md", ""}).ok());
  EXPECT_FALSE(PathPatterns::FromList({"/"}).ok());
  const auto patterns = PathPatterns::FromList({"*.md", "#notes", "drafts/"});
  ASSERT_TRUE(patterns.ok());
  EXPECT_EQ(patterns->Judge("a/b.md", false), Verdict::kIgnored);
  EXPECT_EQ(patterns->Judge("#notes", false), Verdict::kIgnored);
  EXPECT_EQ(patterns->Judge("drafts", false), Verdict::kNone);
  EXPECT_EQ(patterns->Judge("drafts", true), Verdict::kIgnored);
}

TEST(PathPatternsTest, FilesOfFoldersAddUpFromTheTopOfTheRepository) {
  TemporaryFolder folder;
  const std::filesystem::path top = folder.path();
  std::filesystem::create_directories(top / ".git");
  std::filesystem::create_directories(top / "a" / "b");
  std::filesystem::create_directories(top / "c");
  WriteFile(top / ".gitignore", "*.log\n/a/b/x.txt\n");
  WriteFile(top / "a" / ".gitignore", "!keep.log\ny.txt\n");
  IgnoreFiles ignore(top / "a");
  EXPECT_TRUE(ignore.Ignores(top / "a" / "z.log", false));
  EXPECT_FALSE(ignore.Ignores(top / "a" / "keep.log", false));
  ignore.Enter(top / "a" / "b");
  EXPECT_TRUE(ignore.Ignores(top / "a" / "b" / "x.txt", false));
  EXPECT_TRUE(ignore.Ignores(top / "a" / "b" / "y.txt", false));
  EXPECT_FALSE(ignore.Ignores(top / "a" / "b" / "z.txt", false));
  WriteFile(top / "a" / "b" / ".gitignore", "*.md\n");
  ignore.Enter(top / "a" / "b");
  EXPECT_TRUE(ignore.Ignores(top / "a" / "b" / "k.md", false));
  EXPECT_FALSE(ignore.Ignores(top / "a" / "k.md", false)) << "the walk is back in the folder above";
  IgnoreFiles all(top);
  all.Enter(top / "a");
  all.Enter(top / "c");
  EXPECT_FALSE(all.Ignores(top / "c" / "y.txt", false));
  EXPECT_TRUE(all.Ignores(top / "c" / "keep.log", false));
}

}  // namespace
}  // namespace blazon::retrieval
