// 'blazon train finetune' as a shell runs it: killed at random moments it goes on, bit for bit as if nothing had
// happened; runs lie side by side; 'generate --run' writes with them.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/service/child_process.h"
#include "tests/service/small_training.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class TrainCliTest : public SmallTraining {};

// The killed one computes layers again, which changes nothing. BLAZON_KILLS=50 for the long form.
TEST_F(TrainCliTest, KilledRunsGoOnBitForBit) {
  const char* const wanted = std::getenv("BLAZON_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 5, steps = 40 * kills;
  const Finished whole = RunBlazon(Finetune("whole", steps, {"--lora", "--lora-dropout", "0.1"}));
  ASSERT_EQ(whole.status, 0) << whole.errors;
  const std::vector<std::string> rows = Rows("whole");
  ASSERT_EQ(rows.size(), static_cast<size_t>(steps) + 1);

  std::mt19937 random(7);
  int killed = 0;
  for (int attempt = 0; attempt < 40 * kills && killed < kills; ++attempt) {
    BlazonProcess process(Finetune("killed", steps, {"--lora", "--lora-dropout", "0.1", "--recompute"}));
    // At a moment of its training: when it has written so many more rows, whatever it does just then.
    const size_t before = Rows("killed").size(), until = before + 1 + random() % 60;
    bool ended = false;
    for (int i = 0; i < 60000 && !ended; ++i) {
      if (Rows("killed").size() >= until) break;
      ended = Rows("killed").size() > static_cast<size_t>(steps);
      usleep(1000 + random() % 1000);
    }
    process.Signal(SIGKILL);
    killed += process.Wait().status == -SIGKILL ? 1 : 0;
    if (ended) break;
  }
  EXPECT_GE(killed, 3);
  const Finished rest = RunBlazon(Finetune("killed", steps, {"--lora", "--lora-dropout", "0.1", "--recompute"}));
  ASSERT_EQ(rest.status, 0) << rest.errors;
  EXPECT_NE(rest.errors.find("goes on from"), std::string::npos) << rest.errors;
  EXPECT_EQ(Rows("killed"), rows) << "after " << killed << " kills";
  const auto state = absl::StrCat("checkpoint-", std::string(8 - std::to_string(steps).size(), '0'), steps);
  EXPECT_TRUE(Bytes(folder_ / "runs/killed" / state / "state.safetensors") ==
              Bytes(folder_ / "runs/whole" / state / "state.safetensors"));
  std::printf(
      "| killed %d times while it trained %d steps: the losses and the last checkpoint equal those of a whole run\n",
      killed, steps);
}

TEST_F(TrainCliTest, RunsLieSideBySideAndWrite) {
  Finished finished = RunBlazon(Finetune("full", 60));
  ASSERT_EQ(finished.status, 0) << finished.errors;
  EXPECT_TRUE(fs::exists(folder_ / "runs/full/model.safetensors"));
  EXPECT_NE(Bytes(folder_ / "runs/full/loss.svg").find("<polyline"), std::string::npos);
  finished = RunBlazon(Finetune("small", 4, {"--lora", "--rank", "2", "--targets", "q_proj,v_proj"}));
  ASSERT_EQ(finished.status, 0) << finished.errors;
  EXPECT_TRUE(fs::exists(folder_ / "runs/small/adapter_model.safetensors"));

  const std::vector<std::string> generate = {
      "generate", "--runs", (folder_ / "runs").string(), "--temperature", "0", "--max-new-tokens", "12", "the a"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), generate.begin(), generate.end());
    return RunBlazon(more);
  };
  const Finished full = with({"--run", "full"});
  ASSERT_EQ(full.status, 0) << full.errors;
  EXPECT_EQ(full.output.substr(0, 10), "t sat on t");
  EXPECT_EQ(with({"--run", "small"}).status, 0);
  const Finished missing = with({"--run", "other"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.errors.find("there are full, small"), std::string::npos) << missing.errors;
  EXPECT_NE(with({"--run", "../x"}).errors.find("without slashes"), std::string::npos);

  // A run is not begun anew by accident.
  finished = RunBlazon(Finetune("small", 4, {"--lora", "--rank", "2", "--restore", "fresh"}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_NE(finished.errors.find("holds a run of 4 steps"), std::string::npos) << finished.errors;
  finished = RunBlazon(Finetune("small", 4, {"--lora", "--rank", "3"}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_NE(finished.errors.find("made for another model or adapter"), std::string::npos) << finished.errors;
  finished = RunBlazon(Finetune("new", 4, {"--optimizer", "adam"}));
  EXPECT_EQ(finished.status, 2);
  EXPECT_NE(finished.errors.find("there are adamw, sgd and muon"), std::string::npos) << finished.errors;
}

TEST_F(TrainCliTest, AnInterruptSavesAndEnds) {
  BlazonProcess process(Finetune("run", 100000));
  ASSERT_NE(process.WaitForErrors("step 1 of 100000", 60), "");
  process.Signal(SIGINT);
  const Finished finished = process.Wait();
  EXPECT_EQ(finished.status, 130) << finished.errors;
  EXPECT_NE(finished.errors.find("stopped after step"), std::string::npos) << finished.errors;
  EXPECT_TRUE(fs::exists(folder_ / "runs/run/model.safetensors"));
  const size_t taken = Rows("run").size() - 1;
  EXPECT_TRUE(fs::exists(
      folder_ / absl::StrCat("runs/run/checkpoint-", std::string(8 - std::to_string(taken).size(), '0'), taken)));
}

}  // namespace
}  // namespace blazon::service
