// Preferences at the shell: 'train rate' from a pipe, and what 'train dpo', 'train reward' and 'eval reward' make of
// its file.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/service/child_process.h"
#include "tests/service/family_cases.h"
#include "tests/service/small_tokenizer.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class PreferencesCliTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "preferences_cli_test_", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return Path(name);
  }
  std::vector<json> Lines(const std::string& name) const {
    std::vector<json> lines;
    std::ifstream stream(folder_ / name);
    for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
    return lines;
  }

  fs::path folder_;
};

TEST_F(PreferencesCliTest, ChoicesAreKeptAndLearned) {
  const json& made = FamilyCases()["llama.grouped"];
  json config = made["config"];
  config["eos_token_id"] = 0;
  WriteCheckpoint(folder_ / "model", config, CaseWeights(made));
  WriteCharacterTokenizer(folder_ / "model");
  Write("prompts.jsonl", R"({"prompt": "the cat"}
{"prompt": "a dog", "note": "other members are left alone"}
{"prompt": "an ape"}
{"prompt": "the pot"}
)");
  const std::vector<std::string> rate = {"train",
                                         "rate",
                                         "--prompts",
                                         Path("prompts.jsonl"),
                                         "--out",
                                         Path("pairs.jsonl"),
                                         "--model",
                                         Path("model"),
                                         "--max-new-tokens",
                                         "6",
                                         "--temperature",
                                         "1",
                                         "--seed",
                                         "3"};
  // The first of the first, nothing of the second, a key that means nothing, the second of the third.
  const Finished first = RunBlazon(rate, "1\ns\nx2\nq");
  ASSERT_EQ(first.status, 0) << first.errors;
  EXPECT_NE(first.errors.find("2 preferences kept"), std::string::npos) << first.errors;
  EXPECT_NE(first.errors.find("1 skipped"), std::string::npos) << first.errors;
  const std::vector<json> pairs = Lines("pairs.jsonl");
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[0]["prompt"], "the cat");
  EXPECT_EQ(pairs[1]["prompt"], "an ape");
  for (const json& pair : pairs) EXPECT_NE(pair["chosen"], pair["rejected"]);
  const auto shown = [&](const std::string& one, const std::string& two) {
    return first.output.find(absl::StrCat("--- 1\n", one, "\n--- 2\n", two, "\n")) != std::string::npos;
  };
  EXPECT_TRUE(shown(pairs[0]["chosen"], pairs[0]["rejected"])) << first.output;
  EXPECT_TRUE(shown(pairs[1]["rejected"], pairs[1]["chosen"])) << first.output;
  // What is rated already is not asked again; the input's end is an end.
  const Finished second = RunBlazon(rate, "1 2");
  ASSERT_EQ(second.status, 0) << second.errors;
  EXPECT_EQ(second.output.find("the cat"), std::string::npos) << second.output;
  EXPECT_NE(second.errors.find("2 preferences kept"), std::string::npos) << second.errors;
  EXPECT_EQ(Lines("pairs.jsonl").size(), 4u);

  const auto train = [&](const char* kind) {
    return RunBlazon({"train", kind, "--data", Path("pairs.jsonl"), "--eval", Path("pairs.jsonl"), "--out", Path(kind),
                      "--model", Path("model"), "--rank", "2", "--steps", "4", "--batch", "4", "--learning-rate",
                      "5e-3"});
  };
  const Finished dpo = train("dpo"), reward = train("reward");
  ASSERT_EQ(dpo.status, 0) << dpo.errors;
  ASSERT_EQ(reward.status, 0) << reward.errors;
  EXPECT_NE(dpo.errors.find("accuracy"), std::string::npos) << dpo.errors;
  EXPECT_EQ(
      RunBlazon({"generate", "--model", Path("model"), "--adapter", Path("dpo"), "--max-new-tokens", "3", "a"}).status,
      0);
  const Finished scores =
      RunBlazon({"eval", "reward", "--model", Path("model"), "--reward", Path("reward"), Path("pairs.jsonl")});
  ASSERT_EQ(scores.status, 0) << scores.errors;
  EXPECT_NE(scores.output.find("pairs            4\naccuracy"), std::string::npos) << scores.output;

  // A line that a crash cut off is not added to.
  Write("torn.jsonl", R"({"prompt": "the cat", "chosen": "a", "reje)");
  std::vector<std::string> torn = rate;
  torn[5] = Path("torn.jsonl");
  const Finished refused = RunBlazon(torn, "1");
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.errors.find("torn.jsonl:1: the line is cut off"), std::string::npos) << refused.errors;
  torn[3] = Write("none.jsonl", "\n");
  EXPECT_NE(RunBlazon(torn, "1").errors.find("has no prompt"), std::string::npos);
}

}  // namespace
}  // namespace blazon::service
