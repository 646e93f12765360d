// The program with vision-language checkpoints as they lie on disk: caption, generate, chat and models, by itself and
// through a server; and what it refuses.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/service/child_process.h"
#include "tests/service/small_checkpoint.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::vector<Json> Lines(const Finished& run) {
  std::vector<Json> lines;
  std::istringstream in(run.output);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(Json::parse(line, nullptr, false));
    lines.back().erase("timings");
  }
  return lines;
}

class CliPicturesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("cli_pictures_test.", getpid());
    fs::create_directories(folder_);
    Write("a.bmp", SmallPicture(40, 30));
    Write("b.bmp", SmallPicture(24, 50));
    Write("c.bmp", "no picture");
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  void Write(const std::string& name, const std::string& contents) const {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
  }
  std::string Model(const std::string& name) const {
    if (!fs::exists(folder_ / name)) WriteSmallCheckpoint(folder_ / name, name);
    return Path(name);
  }

  fs::path folder_;
};

TEST_F(CliPicturesTest, CaptionsWithTheModelOfAFolder) {
  fs::create_directories(folder_ / "tokenizer");
  WriteSmallTokenizer(folder_ / "tokenizer", -1);
  const std::vector<std::pair<std::string, int>> cases = {
      {"paligemma.one", 16}, {"blip.tied", 17}, {"gemma3.windows", 9}, {"smolvlm.split", 20}, {"nanovlm.tiles", 20}};
  for (const auto& [name, image_tokens] : cases) {
    SCOPED_TRACE(name);
    std::vector<std::string> command = {"caption",      "--json",  "--max-new-tokens", "8",
                                        "--ignore-eos", "--model", Model(name)};
    if (name.starts_with("nanovlm")) command.insert(command.end(), {"--tokenizer", Path("tokenizer")});
    command.insert(command.end(), {Path("a.bmp"), Path("b.bmp")});
    const Finished run = RunBlazon(command);
    ASSERT_EQ(run.status, 0) << run.errors;
    const std::vector<Json> lines = Lines(run);
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0]["file"], Path("a.bmp"));
    EXPECT_EQ(lines[0]["usage"]["image_tokens"], image_tokens);
    EXPECT_EQ(lines[0]["usage"]["output_tokens"], 8);
    EXPECT_EQ(lines[0]["model"]["name"], name);
    EXPECT_TRUE(lines[0]["labels"].empty());
    command.insert(command.end(), {"--prompt", "Which colours are there?"});
    EXPECT_NE(Lines(RunBlazon(command))[0]["usage"]["prompt_tokens"], lines[0]["usage"]["prompt_tokens"]);
  }
}

TEST_F(CliPicturesTest, SaysTheSameThroughAServer) {
  const std::string model = Model("llava.grouped");
  BlazonProcess server({"serve", "--model", model, "--data", Path("data"), "--address", "127.0.0.1:0"});
  const std::string said = server.WaitForErrors("listening on", 60);
  std::smatch match;
  ASSERT_TRUE(std::regex_search(said, match, std::regex("listening on ([0-9.:]+);"))) << said;
  const std::string address = match[1];
  const auto same = [&](std::vector<std::string> command, int status, const std::string& input = "") {
    SCOPED_TRACE(absl::StrJoin(command, " "));
    command.push_back("--json");
    std::vector<std::string> here = command, there = command;
    here.insert(here.end(), {"--model", model});
    there.insert(there.end(), {"--server", address});
    const Finished by_itself = RunBlazon(here, input), by_server = RunBlazon(there, input);
    EXPECT_EQ(by_itself.status, status) << by_itself.errors;
    EXPECT_EQ(by_server.status, status) << by_server.errors;
    const std::vector<Json> lines = Lines(by_itself);
    EXPECT_EQ(Lines(by_server), lines);
    return lines;
  };
  same({"caption", "--seed", "7", "--max-new-tokens", "8", "--ignore-eos", Path("a.bmp")}, 0);
  same({"caption", "--seed", "7", "--max-new-tokens", "8", Path("c.bmp")}, 1);
  const std::vector<std::string> generate = {"generate", "--seed", "7", "--max-new-tokens", "8", "--ignore-eos"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), generate.begin(), generate.end());
    return more;
  };
  const auto one = same(with({"--image", Path("a.bmp"), "What?"}), 0);
  const auto two = same(with({"--image", Path("a.bmp"), "--image", Path("b.bmp"), "--chat", "What?"}), 0);
  const auto words = same(with({"What?"}), 0);
  ASSERT_TRUE(one.size() == 1 && two.size() == 1 && words.size() == 1);
  EXPECT_EQ(one[0]["usage"]["image_tokens"], 16);
  EXPECT_EQ(two[0]["usage"]["image_tokens"], 32);
  EXPECT_EQ(words[0]["usage"]["image_tokens"], 0);
  same(with({"--image", Path("c.bmp"), "What?"}), 1);
  same(with({"--image", Path("a.bmp"), "--num-beams", "2", ""}), 0);

  const auto score = same({"score", "--image", Path("a.bmp"), "--prompt", "What?", "--completion", "This."}, 0);
  EXPECT_EQ(score[0]["usage"]["image_tokens"], 16);
  EXPECT_EQ(score[0]["tokens"].size(), 5u);

  const std::string talk = absl::StrCat("/image ", Path("a.bmp"), "\nWhat?\nSure?\n/image ", Path("b.bmp"), "\nOr?\n");
  const auto turns = same({"chat", "--seed", "7", "--max-new-tokens", "4", "--ignore-eos"}, 0, talk);
  ASSERT_EQ(turns.size(), 3u);
  EXPECT_EQ(turns[0]["usage"]["image_tokens"], 16);
  EXPECT_EQ(turns[1]["usage"]["image_tokens"], 16) << "the conversation keeps its picture";
  EXPECT_EQ(turns[2]["usage"]["image_tokens"], 32);

  const Finished models = RunBlazon({"models", "--json", "--server", address});
  int seeing = 0;
  const std::vector<Json> listed = Lines(models);
  for (const Json& each : listed[0]["models"]) seeing += each["sees_pictures"].get<bool>() ? 1 : 0;
  EXPECT_EQ(seeing, 1) << models.output;
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait().status, 0);
}

TEST_F(CliPicturesTest, SaysWhatAModelSees) {
  const Finished sees = RunBlazon({"models", "--model", Model("gemma3.windows")});
  EXPECT_TRUE(std::regex_search(sees.output, std::regex("language.*gemma3.windows.*\\(sees pictures\\)")))
      << sees.output;
  EXPECT_FALSE(absl::StrContains(sees.output, "captioner"));
  const Finished inspected = RunBlazon({"models", "inspect", Model("gemma3.windows")});
  EXPECT_EQ(inspected.status, 0) << inspected.output;
  EXPECT_TRUE(absl::StrContains(inspected.output, "pictures     yes, 9 tokens for each")) << inspected.output;
}

TEST_F(CliPicturesTest, KeepsPicturesInTheSession) {
  const std::vector<std::string> chat = {"chat", "--json",       "--model",   Model("llava.tied"), "--max-new-tokens",
                                         "4",    "--ignore-eos", "--session", Path("talk.json")};
  EXPECT_EQ(RunBlazon(chat, absl::StrCat("/image ", Path("a.bmp"), "\nWhat?\n")).status, 0);
  const Finished later = RunBlazon(chat, "And?\n");
  EXPECT_EQ(later.status, 0) << later.errors;
  EXPECT_EQ(Lines(later)[0]["usage"]["image_tokens"], 17);
}

TEST_F(CliPicturesTest, WrongUseSaysWhat) {
  const std::string llava = Model("llava.grouped"), picture = Path("a.bmp");
  const std::string bare = Model("gemma3.scaled");
  fs::remove(fs::path(bare) / "preprocessor_config.json");
  struct Case {
    std::vector<std::string> arguments;
    int status;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{"generate", "--image", picture, "x"}, 1, "is a model of text and takes no pictures"},
      {{"generate", "--model", llava, "--image", Path("none.bmp"), "x"}, 1, "none.bmp: no such file"},
      {{"generate", "--model", llava, "--image", picture, "--token-ids", "3"}, 2, "--token-ids and --image"},
      {{"score", "--model", llava, "--image", picture, "--token-ids", "--completion", "3"},
       2,
       "--token-ids and --image"},
      {{"score", "--model", llava, "--image", picture, "--completion", std::string(200, 'x')},
       1,
       "prompt and completion have 217 tokens together.*or fewer pictures"},
      {{"score", "--image", picture, "--completion", "x"}, 1, "is a model of text and takes no pictures"},
      {{"score", "--model", Model("blip.tied"), "--completion", "x"}, 1, "prompt has 0 pictures"},
      {{"generate", "--model", llava, "--token-ids", "150"}, 1, "1 image slots \\(token 150\\) for 0 image tokens"},
      {{"generate", "--model", llava, "--image", picture, std::string(200, 'x')},
       1,
       "prompt has 217 tokens, 16 of them for its pictures; the model's context has 160"},
      {{"caption", "--model", bare, picture}, 1, "gemma3.scaled has neither a preprocessor_config.json"},
      {{"models", "inspect", bare}, 1, ""},
      {{"caption", "--model", Model("nanovlm.first"), picture}, 1, "has no tokenizer.*--tokenizer DIR"},
      {{"generate", "--model", Model("paligemma.one"), "--chat", "--image", picture, "x"}, 1, "no chat template"},
      {{"generate", "--model", Model("blip.tied"), "x"}, 1, "prompt has 0 pictures"},
      {{"generate", "--server", "127.0.0.1:1", "--tokenizer", "t", "x"}, 2, "--tokenizer"},
  };
  for (const Case& c : cases) {
    std::vector<std::string> arguments = c.arguments;  // the default of 256 tokens is more than these contexts have
    if (arguments[0] == "generate") arguments.insert(arguments.begin() + 1, {"--max-new-tokens", "8"});
    const Finished run = RunBlazon(arguments);
    EXPECT_EQ(run.status, c.status) << absl::StrJoin(c.arguments, " ") << "\n" << run.errors;
    EXPECT_TRUE(std::regex_search(run.errors, std::regex(c.says))) << absl::StrJoin(c.arguments, " ") << run.errors;
  }
}

}  // namespace
}  // namespace blazon::service
