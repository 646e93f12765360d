// Training with two processes as a shell runs it: the steps of one process, and no hanging when one is lost.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "service/checkpoint/safetensors.h"
#include "tests/service/child_process.h"
#include "tests/service/small_training.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;

class ParallelTest : public SmallTraining {
 protected:
  using Arguments = std::vector<std::string>;

  void SetUp() override {
    SmallTraining::SetUp();
    std::ofstream records(folder_ / "records.jsonl");
    for (int i = 0; i < 60; ++i) {
      const std::string word(1, static_cast<char>('a' + i % 26));
      // Of different lengths: a process's share of the learned tokens is not half of them.
      records << nlohmann::json{{"prompt", "the " + word}, {"completion", std::string(1 + i % 7, 'x')}} << "\n";
    }
  }

  Arguments Sft(const std::string& run, const Arguments& more = {}) const {
    Arguments arguments = {"train",           "sft",     "--data", In("records.jsonl"), "--model", In("model"), "--out",
                           In("runs/" + run), "--steps", "12",     "--batch",           "6",       "--seed",    "5",
                           "--threads",       "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Arguments Gpt(const std::string& name, const Arguments& more = {}) const {
    Arguments arguments = {"train",        "gpt",    "--data",         In("tale.txt"),
                           "--out",        In(name), "--layers",       "2",
                           "--width",      "32",     "--heads",        "2",
                           "--context",    "16",     "--batch",        "8",
                           "--steps",      "20",     "--dropout",      "0",
                           "--eval-every", "7",      "--sample-every", "0",
                           "--threads",    "1",      "--seed",         "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::vector<double> Losses(const std::string& run) const {
    std::vector<double> losses;
    for (const std::string& row : Rows(run)) {
      const std::vector<std::string> fields = absl::StrSplit(row, ',');
      double loss = 0;
      if (absl::SimpleAtod(fields[1], &loss)) losses.push_back(loss);
    }
    return losses;
  }
  // Losses of the steps, as TensorBoard's file has them: a scalar's tag, and four bytes of float.
  std::vector<double> EventLosses(const std::string& name) const {
    std::string bytes;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / name)) {
      if (entry.path().filename().string().starts_with("events.out")) bytes = Bytes(entry.path());
    }
    const std::string tag("\x0a\x04loss\x15", 7);
    std::vector<double> losses;
    for (size_t at = bytes.find(tag); at != std::string::npos; at = bytes.find(tag, at + 1)) {
      float loss = 0;
      std::memcpy(&loss, bytes.data() + at + tag.size(), sizeof loss);
      losses.push_back(loss);
    }
    return losses;
  }
  // The largest difference of two files' tensors.
  double Difference(const std::string& a, const std::string& b) const {
    const auto first = ReadSafetensors(folder_ / a), second = ReadSafetensors(folder_ / b);
    if (!first.ok() || !second.ok()) return INFINITY;
    double most = first->size() == second->size() ? 0 : INFINITY;
    for (const auto& [name, tensor] : *first)
      most = std::max(most, (tensor - second->at(name)).abs().max().item<double>());
    return most;
  }
  // The process that trains beside the one that said `errors`.
  static pid_t Other(const std::string& errors) {
    const std::string before = "process 1 of 2 is ";
    const size_t at = errors.find(before);
    return at == std::string::npos ? -1 : std::atoi(errors.c_str() + at + before.size());
  }
};

void ExpectClose(const std::vector<double>& a, const std::vector<double>& b, size_t count) {
  ASSERT_EQ(a.size(), count);
  ASSERT_EQ(b.size(), count);
  for (size_t i = 0; i < count; ++i) EXPECT_NEAR(a[i], b[i], 1e-5) << "step " << i + 1;
}

TEST_F(ParallelTest, TwoProcessesTrainAGptAsOneDoes) {
  const Finished one = RunBlazon(Gpt("one")), two = RunBlazon(Gpt("two", {"--processes", "2"}));
  ASSERT_EQ(one.status, 0) << one.errors;
  ASSERT_EQ(two.status, 0) << two.errors;
  EXPECT_EQ(two.output, In("two") + "\n");
  ExpectClose(EventLosses("one"), EventLosses("two"), 20);
  const double difference = Difference("one/model.safetensors", "two/model.safetensors");
  EXPECT_LE(difference, 1e-5);
  std::printf("| gpt, 20 steps: the weights of two processes differ from those of one by %.1e at most\n", difference);
}

TEST_F(ParallelTest, TwoProcessesTuneAsOneDoes) {
  const Finished one = RunBlazon(Sft("one", {"--full"})), two = RunBlazon(Sft("two", {"--full", "--processes", "2"}));
  ASSERT_EQ(one.status, 0) << one.errors;
  ASSERT_EQ(two.status, 0) << two.errors;
  ExpectClose(Losses("one"), Losses("two"), 12);
  const double difference = Difference("runs/one/model.safetensors", "runs/two/model.safetensors");
  EXPECT_LE(difference, 1e-5);
  std::printf("| sft, 12 steps: the weights of two processes differ from those of one by %.1e at most\n", difference);
}

TEST_F(ParallelTest, TwoProcessesLearnPreferencesAsOneDoes) {
  std::ofstream pairs(folder_ / "pairs.jsonl");
  for (int i = 0; i < 12; ++i) {
    const nlohmann::json pair = {{"prompt", std::string("the ") + static_cast<char>('a' + i)},
                                 {"chosen", std::string(1 + i % 4, 'x')},
                                 {"rejected", "y"}};
    pairs << pair << "\n";
  }
  pairs.close();
  for (const std::string kind : {"dpo", "reward"}) {
    const Arguments arguments = {"train", kind,     "--data", In("pairs.jsonl"), "--model", In("model"), "--steps",
                                 "6",     "--seed", "5",      "--batch",         "4",       "--threads", "1",
                                 "--out"};
    Arguments one = arguments, two = arguments;
    one.push_back(In("runs/" + kind + "-one"));
    two.insert(two.end(), {In("runs/" + kind + "-two"), "--processes", "2"});
    const Finished alone = RunBlazon(one), both = RunBlazon(two);
    ASSERT_EQ(alone.status, 0) << alone.errors;
    ASSERT_EQ(both.status, 0) << both.errors;
    ExpectClose(Losses(kind + "-one"), Losses(kind + "-two"), 6);
  }
}

// With dropout, which each process draws for itself.
TEST_F(ParallelTest, ALostProcessEndsTheOtherAndTheRunGoesOnBitForBit) {
  const Arguments two = {"--lora", "--lora-dropout", "0.1", "--processes", "2"};
  const Finished whole = RunBlazon(Finetune("whole", 40, two));
  ASSERT_EQ(whole.status, 0) << whole.errors;
  ASSERT_EQ(Rows("whole").size(), 41u);
  Finished lost;
  pid_t other = -1;
  for (int attempt = 0; attempt < 10; ++attempt) {  // a run may end before the signal comes
    fs::remove_all(folder_ / "runs/lost");
    BlazonProcess process(Finetune("lost", 40, two));
    other = Other(process.WaitForErrors("step 9 of 40", 60));
    ASSERT_GT(other, 0);
    kill(other, SIGKILL);
    lost = process.Wait();
    if (lost.status != 0) break;
  }
  EXPECT_EQ(lost.status, 1);
  EXPECT_NE(lost.errors.find(absl::StrCat("blazon: process 1 of 2 (", other, ") was ended by signal 9 (Killed)")),
            std::string::npos)
      << lost.errors;
  EXPECT_NE(lost.errors.find("checkpoints that it saved are good"), std::string::npos) << lost.errors;
  ASSERT_LT(Rows("lost").size(), 41u);
  const Finished rest = RunBlazon(Finetune("lost", 40, two));
  ASSERT_EQ(rest.status, 0) << rest.errors;
  EXPECT_NE(rest.errors.find("goes on from"), std::string::npos) << rest.errors;
  EXPECT_EQ(rest.errors.find("it was made by"), std::string::npos) << rest.errors;
  EXPECT_EQ(Rows("lost"), Rows("whole"));
  EXPECT_TRUE(Bytes(folder_ / "runs/lost/checkpoint-00000040/state.safetensors") ==
              Bytes(folder_ / "runs/whole/checkpoint-00000040/state.safetensors"));

  // Another number of processes takes it up, and says so.
  const Finished alone = RunBlazon(Finetune("lost", 2, {"--lora", "--lora-dropout", "0.1"}));
  EXPECT_EQ(alone.status, 0) << alone.errors;
  EXPECT_NE(alone.errors.find("it was made by 2 processes, and now there are 1"), std::string::npos) << alone.errors;
}

// What one of them is told, all do after the same step.
TEST_F(ParallelTest, AnInterruptStopsAllAndSaves) {
  for (const bool to_first : {true, false}) {
    const std::string run = to_first ? "first" : "other";
    BlazonProcess process(Finetune(run, 100000, {"--processes", "2"}));
    const std::string errors = process.WaitForErrors("step 2 of 100000", 60);
    const pid_t other = Other(errors);
    ASSERT_GT(other, 0) << errors;
    if (to_first) {
      process.Signal(SIGINT);
    } else {
      kill(other, SIGTERM);
    }
    const Finished finished = process.Wait();
    EXPECT_EQ(finished.status, to_first ? 130 : 1) << finished.errors;
    EXPECT_NE(finished.errors.find("stopped after step"), std::string::npos) << finished.errors;
    EXPECT_EQ(finished.errors.find("was interrupted; all stopped, and saved") == std::string::npos, to_first);
    EXPECT_TRUE(fs::exists(folder_ / "runs" / run / "model.safetensors"));
    EXPECT_TRUE(fs::exists(
        folder_ / absl::StrCat("runs/", run, "/checkpoint-", absl::Dec(Rows(run).size() - 1, absl::kZeroPad8))));
  }
}

TEST_F(ParallelTest, NobodyOutlivesTheFirstProcess) {
  BlazonProcess process(Finetune("killed", 100000, {"--processes", "2"}));
  const pid_t other = Other(process.WaitForErrors("step 2 of 100000", 60));
  ASSERT_GT(other, 0);
  const auto handle = static_cast<int>(syscall(SYS_pidfd_open, other, 0));
  ASSERT_GE(handle, 0);
  process.Signal(SIGKILL);
  EXPECT_EQ(process.Wait().status, -SIGKILL);
  pollfd ended = {.fd = handle, .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ended, 1, 60000), 1);
  close(handle);
}

TEST_F(ParallelTest, WhatCannotBeSharedIsRefused) {
  Finished finished = RunBlazon(Finetune("odd", 4, {"--processes", "3"}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_NE(finished.errors.find("--batch is 4, which 3 processes cannot share evenly; make it a multiple of 3"),
            std::string::npos)
      << finished.errors;
  finished = RunBlazon(Gpt("odd", {"--processes", "3"}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_NE(finished.errors.find("--batch is 8, which 3"), std::string::npos) << finished.errors;
}

// As torchrun starts them; the first process waits at a port for the other.
TEST_F(ParallelTest, ProcessesThatTheEnvironmentNamesTrainTogether) {
  const int probe = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(probe, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(getsockname(probe, reinterpret_cast<sockaddr*>(&address), &length), 0);
  close(probe);
  setenv("WORLD_SIZE", "2", 1);
  setenv("MASTER_ADDR", "127.0.0.1", 1);
  setenv("MASTER_PORT", absl::StrCat(ntohs(address.sin_port)).c_str(), 1);
  setenv("RANK", "1", 1);
  // Its folder stays empty: the first process's is not needed.
  BlazonProcess second(Sft("second"));
  setenv("RANK", "0", 1);
  const Finished both = RunBlazon(Sft("first", {"--processes", "2"}));
  BlazonProcess first(Sft("first"));
  const Finished one = first.Wait(), two = second.Wait();
  const Finished other_kind = RunBlazon({"train", "tokenizer", "--data", In("tale.txt"), "--out", In("t")});
  for (const char* name : {"WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RANK"}) unsetenv(name);
  EXPECT_EQ(both.status, 2);
  EXPECT_NE(both.errors.find("leave out one of both"), std::string::npos) << both.errors;
  EXPECT_EQ(other_kind.status, 2);
  EXPECT_NE(other_kind.errors.find("runs in one process"), std::string::npos) << other_kind.errors;
  ASSERT_EQ(one.status, 0) << one.errors;
  ASSERT_EQ(two.status, 0) << two.errors;
  EXPECT_EQ(two.output + two.errors, "");
  EXPECT_FALSE(fs::exists(folder_ / "runs/second"));
  const Finished alone = RunBlazon(Sft("alone"));
  ASSERT_EQ(alone.status, 0) << alone.errors;
  ExpectClose(Losses("first"), Losses("alone"), 12);
}

}  // namespace
}  // namespace blazon::service
