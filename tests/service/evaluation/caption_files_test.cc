#include "service/evaluation/caption_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CaptionFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("caption_files.", getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path Write(const std::string& name, const std::string& contents) const {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
    return folder_ / name;
  }
  // Reads the two and expects a refusal that says `what`.
  void ExpectRefused(const std::string& candidates, const std::string& references, const std::string& what) const {
    const absl::Status status = ReadCaptionSet(Write("said", candidates), Write("written", references)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  }

  std::filesystem::path folder_;
};

TEST_F(CaptionFiles, JoinsLinesByPicture) {
  const auto said = Write("said.jsonl", R"({"file": "/pictures/cat.jpg", "text": "A cat."}

{"id": "dog", "caption": "A dog"}
)");
  const auto written = Write("written.jsonl", R"({"id": "dog", "captions": ["the dog", "Dog!"]}
{"file": "cat.jpg", "caption": "one cat"}
{"file": "cat.jpg", "caption": "A Cat"}
)");
  const absl::StatusOr<CaptionSet> set = ReadCaptionSet(said, written);
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ(set->pairs.size(), 2);
  EXPECT_THAT(set->pairs[0].candidate, ElementsAre("a", "cat"));
  EXPECT_THAT(set->pairs[0].references, ElementsAre(ElementsAre("one", "cat"), ElementsAre("a", "cat")));
  EXPECT_THAT(set->pairs[1].references, ElementsAre(ElementsAre("the", "dog"), ElementsAre("dog")));
  EXPECT_EQ(set->left_out, 0);
}

TEST_F(CaptionFiles, JoinsCocosFilesByNumberAndByFile) {
  const auto written = Write("coco.json", R"({"images": [{"id": 5, "file_name": "000005.jpg"}, {"id": 6}],
    "annotations": [{"id": 1, "image_id": 5, "caption": "A tree"}, {"id": 2, "image_id": 6, "caption": "A cup"},
                    {"id": 3, "image_id": 5, "caption": "Trees"}]})");
  for (const char* candidate :
       {R"([{"image_id": 5, "caption": "tree"}])", R"({"file": "x/000005.jpg", "text": "tree"})"}) {
    const absl::StatusOr<CaptionSet> set = ReadCaptionSet(Write("said", candidate), written, {.partial = true});
    ASSERT_TRUE(set.ok()) << set.status();
    ASSERT_EQ(set->pairs.size(), 1);
    EXPECT_THAT(set->pairs[0].references, ElementsAre(ElementsAre("a", "tree"), ElementsAre("trees")));
    EXPECT_EQ(set->left_out, 1);
  }
}

TEST_F(CaptionFiles, PretokenizedWordsStayAsTheyStand) {
  const auto said = Write("said", R"({"id": 1, "text": "It ' s  A cat ."})");
  const absl::StatusOr<CaptionSet> set =
      ReadCaptionSet(said, Write("written", R"({"id": 1, "text": "A"})"), {.pretokenized = true});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(set->pairs[0].candidate, ElementsAre("It", "'", "s", "A", "cat", "."));
}

TEST_F(CaptionFiles, RefusesWithTheLineAndTheReason) {
  const std::string good = R"({"id": "a", "text": "x"})";
  ExpectRefused(good + "\nnot json", good, "said:2: the line is no JSON");
  ExpectRefused(R"({"text": "x"})", good, "said:1: no picture is named");
  ExpectRefused(R"({"id": "a"})", good, "said:1: no caption stands");
  ExpectRefused(R"({"id": "a", "text": 3})", good, "a caption is no string");
  ExpectRefused("", good, "no caption in it");
  ExpectRefused(R"({"id": "b", "text": "x"})", good, "'b' is not among the references");
  ExpectRefused(good + "\n" + good, good, "second candidate");
  ExpectRefused(good, good + "\n" + R"({"id": "c", "text": "x"})", "'c' of");
  ExpectRefused(R"({"file": "cat.jpg", "text": "x"})", R"({"file": "a/cat.jpg", "text": "x"}
{"file": "b/cat.jpg", "text": "x"})",
                "could be any of 2");
  ExpectRefused("{\"id\": \"a\", \"text\": \"\xff\"}", good, "said:1");
  EXPECT_EQ(ReadCaptionSet(folder_ / "none", Write("written", good)).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace blazon::service
