// The trainer: optimisers, checkpoints, going on as if nothing had happened, and what goes wrong.
#include "service/training/trainer.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/training/ngram_overlap.h"
#include "service/training/training_checkpoints.h"
#include "service/training/training_log.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::Optimizer;
using language::OptimizerKind;
using language::RateFactor;
using language::ScheduleKind;
using nlohmann::json;

TEST(RateFactorTest, FollowsTheFormulas) {
  const language::Schedule cosine = {.kind = ScheduleKind::kCosine, .warm_up = 0.1, .floor = 0.1};
  EXPECT_DOUBLE_EQ(RateFactor(cosine, 1, 100), 0.1);
  EXPECT_DOUBLE_EQ(RateFactor(cosine, 10, 100), 1.0);
  EXPECT_NEAR(RateFactor(cosine, 55, 100), 0.55, 1e-12);
  EXPECT_NEAR(RateFactor(cosine, 100, 100), 0.1, 1e-12);
  const language::Schedule linear = {.kind = ScheduleKind::kLinear, .warm_up = 0.0, .floor = 0.0};
  EXPECT_NEAR(RateFactor(linear, 25, 100), 0.75, 1e-12);
  EXPECT_NEAR(RateFactor(linear, 100, 100), 0.0, 1e-12);
  EXPECT_DOUBLE_EQ(RateFactor({.kind = ScheduleKind::kConstant, .warm_up = 0.5}, 3, 8), 0.75);
  EXPECT_DOUBLE_EQ(RateFactor({.kind = ScheduleKind::kConstant, .warm_up = 0.5}, 8, 8), 1.0);
  const language::Schedule wsd = {.kind = ScheduleKind::kWsd, .warm_up = 0.0, .floor = 0.0};
  EXPECT_DOUBLE_EQ(RateFactor(wsd, 80, 100), 1.0);
  EXPECT_NEAR(RateFactor(wsd, 90, 100), 0.5, 1e-12);
  EXPECT_FALSE(language::ParseSchedule("square").ok());
  EXPECT_FALSE(language::ParseOptimizer("adam").ok());
}

// AdamW written out, one number.
TEST(OptimizerTest, AdamWMovesAsItsPaperSays) {
  at::Tensor x = at::full({1}, 2.0, at::kFloat).requires_grad_(true);
  Optimizer optimizer({{.name = "x", .tensor = x, .weight_decay = 0.1}}, {.clip_norm = 0.5});
  double value = 2.0, mean = 0, square = 0;
  for (int step = 1; step <= 5; ++step) {
    x.mutable_grad() = x.detach() * 3.0;  // the slope of 1.5 x^2
    const double slope = 3.0 * value, gradient = std::min(std::abs(slope), 0.5);
    mean = 0.9 * mean + 0.1 * gradient;
    square = 0.999 * square + 0.001 * gradient * gradient;
    value = value * (1 - 0.01 * 0.1) -
            0.01 * (mean / (1 - std::pow(0.9, step))) / (std::sqrt(square / (1 - std::pow(0.999, step))) + 1e-8);
    EXPECT_NEAR(optimizer.Step(0.01), slope, 1e-4);
    EXPECT_NEAR(x.item<double>(), value, 1e-5);
    EXPECT_FALSE(x.grad().defined());
  }
  EXPECT_EQ(optimizer.steps(), 5);
  x.mutable_grad() = at::full({1}, NAN);
  EXPECT_TRUE(std::isnan(optimizer.Step(0.01)));
  EXPECT_NEAR(x.item<double>(), value, 1e-5);
  EXPECT_EQ(optimizer.steps(), 5);
}

// All of them find the weights of a small linear model.
TEST(OptimizerTest, EachKindLearns) {
  const at::Tensor wanted = (at::arange(24, at::kFloat).view({4, 6}) * 0.37).sin();
  const at::Tensor inputs = (at::arange(96, at::kFloat).view({16, 6}) * 0.61).cos();
  for (const auto& [kind, rate] : {std::pair{OptimizerKind::kAdamW, 0.05}, std::pair{OptimizerKind::kSgd, 0.1},
                                   std::pair{OptimizerKind::kMuon, 0.2}}) {
    at::Tensor weight = at::zeros({4, 6}).requires_grad_(true);
    Optimizer optimizer({{.name = "w", .tensor = weight, .linear = true}}, {.kind = kind});
    double first = 0, last = 0;
    for (int step = 1; step <= 150; ++step) {
      const at::Tensor loss = at::mse_loss(at::linear(inputs, weight), at::linear(inputs, wanted));
      last = loss.item<double>();
      if (step == 1) first = last;
      loss.backward();
      optimizer.Step(rate * RateFactor({.kind = ScheduleKind::kLinear, .warm_up = 0.0}, step, 150));
    }
    EXPECT_LT(last, 0.01 * first) << static_cast<int>(kind);
    const auto state = optimizer.State();
    EXPECT_EQ(state.contains("w.square"), kind == OptimizerKind::kAdamW);
  }
}

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "trainer_test_", getpid());
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

class CheckpointsTest : public FolderTest {};

TEST_F(CheckpointsTest, KeepsTheLatestAndTheBest) {
  const auto checkpoints = TrainingCheckpoints::Open(folder_, 2);
  ASSERT_TRUE(checkpoints.ok()) << checkpoints.status();
  for (int64_t step = 1; step <= 5; ++step) {
    const absl::Status status =
        checkpoints->Save(step, {{"x", at::full({3}, static_cast<double>(step))}}, {{"step", step}}, 2);
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(checkpoints->Steps(), (std::vector<int64_t>{2, 4, 5}));
  std::vector<std::string> notes;
  auto latest = checkpoints->Latest(notes);
  ASSERT_TRUE(latest.has_value());
  EXPECT_EQ(latest->values["step"], 5);
  EXPECT_EQ(latest->tensors.at("x")[0].item<float>(), 5.0f);

  // A damaged one is passed over, and said to be.
  std::fstream file(checkpoints->Folder(5) / "state.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x7f');
  file.close();
  latest = checkpoints->Latest(notes);
  ASSERT_TRUE(latest.has_value());
  EXPECT_EQ(latest->values["step"], 4);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("is damaged"), std::string::npos) << notes[0];
  EXPECT_EQ(TrainingCheckpoints::Read(checkpoints->Folder(5)).status().code(), absl::StatusCode::kDataLoss);

  // What a killed process left is cleared away.
  fs::create_directories(folder_ / ".unfinished-6-123");
  ASSERT_TRUE(TrainingCheckpoints::Open(folder_, 2).ok());
  EXPECT_FALSE(fs::exists(folder_ / ".unfinished-6-123"));
}

// A limit on the size of files stands for a full disk: the same call fails in the same place.
TEST_F(CheckpointsTest, AFullDiskLeavesWhatWasSaved) {
  const auto checkpoints = TrainingCheckpoints::Open(folder_, 1);
  ASSERT_TRUE(checkpoints.ok()) << checkpoints.status();
  ASSERT_TRUE(checkpoints->Save(1, {{"x", at::ones({3})}}, {{"step", 1}}, std::nullopt).ok());
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {.rlim_cur = 1 << 16, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status status = checkpoints->Save(2, {{"x", at::ones({1 << 16})}}, {{"step", 2}}, std::nullopt);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("the checkpoint of step 2 could not be written"), std::string::npos) << status;
  EXPECT_NE(status.message().find("File too large"), std::string::npos) << status;
  EXPECT_EQ(checkpoints->Steps(), (std::vector<int64_t>{1}));
  std::vector<std::string> notes;
  EXPECT_TRUE(checkpoints->Latest(notes).has_value());
  for (const auto& entry : fs::directory_iterator(folder_))
    EXPECT_EQ(entry.path().filename().string().find(".unfinished"), std::string::npos) << entry.path();
}

// Saves without end, and says each number when it is durable. The number is the step's and every value's; again: the
// step stays, and each save takes the place of the one before. Runs in a forked child: no tensor is computed with.
[[noreturn]] void SaveForever(const fs::path& folder, int64_t number, bool again, int acknowledge) {
  const auto checkpoints = TrainingCheckpoints::Open(folder, 1);
  if (!checkpoints.ok()) _exit(2);
  for (;; ++number) {
    std::vector<float> values(1 << 16, static_cast<float>(number));
    const at::Tensor tensor = at::from_blob(values.data(), {std::ssize(values)}, at::kFloat);
    if (!checkpoints->Save(again ? 7 : number, {{"x", tensor}}, {{"number", number}}, std::nullopt).ok()) _exit(3);
    if (write(acknowledge, &number, sizeof number) != sizeof number) _exit(4);
  }
}

// BLAZON_KILLS=100 for the long form.
TEST_F(CheckpointsTest, KilledWhileItSavesThereIsAWholeOne) {
  const char* const wanted = std::getenv("BLAZON_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 20;
  std::mt19937 random(3);
  int within = 0;
  for (const bool again : {false, true}) {
    const fs::path folder = folder_ / (again ? "again" : "on");
    int64_t durable = 0;  // the last number of which it is known
    for (int kill_number = 0; kill_number < kills / 2; ++kill_number) {
      int ends[2];
      ASSERT_EQ(pipe(ends), 0);
      const pid_t child = fork();
      if (child == 0) SaveForever(folder, durable + 1, again, ends[1]);
      close(ends[1]);
      const auto acknowledged = [&] { return read(ends[0], &durable, sizeof durable) == sizeof durable; };
      ASSERT_TRUE(acknowledged());
      timespec begun = {}, done = {};
      clock_gettime(CLOCK_MONOTONIC, &begun);
      ASSERT_TRUE(acknowledged());
      clock_gettime(CLOCK_MONOTONIC, &done);
      // At a moment of a save: they follow one another.
      const int64_t save = (done.tv_sec - begun.tv_sec) * 1000000 + (done.tv_nsec - begun.tv_nsec) / 1000;
      usleep(static_cast<useconds_t>(random() % static_cast<uint64_t>(save + 1)));
      kill(child, SIGKILL);
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
      while (acknowledged()) continue;
      close(ends[0]);

      for (const auto& entry : fs::directory_iterator(folder))
        within += entry.path().filename().string().find(".unfinished-") == 0 ? 1 : 0;
      const auto checkpoints = TrainingCheckpoints::Open(folder, 1);
      ASSERT_TRUE(checkpoints.ok()) << checkpoints.status();
      std::vector<std::string> notes;
      const auto latest = checkpoints->Latest(notes);
      ASSERT_TRUE(latest.has_value()) << "after kill " << kill_number;
      EXPECT_TRUE(notes.empty()) << absl::StrJoin(notes, "\n");
      const auto number = latest->values["number"].get<int64_t>();
      EXPECT_GE(number, durable);
      EXPECT_LE(number, durable + 1);
      EXPECT_TRUE(latest->tensors.at("x").eq(static_cast<double>(number)).all().item<bool>()) << number;
      durable = number;
    }
  }
  EXPECT_GT(within, kills / 4);
  std::printf("| killed %d times, %d within the saving of a checkpoint: a whole one was there each time\n", kills,
              within);
}

// A network with dropout on data that a position walks through.
class SmallTask : public TrainingTask {
 public:
  SmallTask() {
    for (const auto& [name, shape] :
         {std::pair{"a", std::vector<int64_t>{8, 6}}, std::pair{"b", std::vector<int64_t>{1, 8}}})
      weights_.push_back(
          {.name = name,
           .tensor = (at::arange(shape[0] * shape[1], at::kFloat).view(shape) * 0.7).sin().requires_grad_(true),
           .weight_decay = 0.01,
           .linear = true});
  }
  std::vector<language::TrainedTensor> Tensors() override { return weights_; }
  absl::StatusOr<StepLoss> AddGradients(bool repeat) override {
    if (!repeat) ++next_;
    const at::Tensor x = (at::arange(24, at::kFloat).view({4, 6}) * 0.3 + static_cast<double>(next_)).cos();
    const at::Tensor h = at::dropout(at::linear(x, weights_[0].tensor).tanh(), dropout, true);
    at::Tensor loss = at::mse_loss(at::linear(h, weights_[1].tensor), x.sum(1, true).sin());
    if (next_ == poison) loss = loss * NAN;
    loss.backward();
    if (next_ == greedy) at::empty({int64_t{1} << 52}, at::kByte);  // no machine has so much
    return StepLoss{.loss = loss.item<double>(), .tokens = 4, .flops = flops};
  }
  json Position() const override { return next_; }
  absl::Status SetPosition(const json& position) override {
    next_ = position.get<int64_t>();
    return absl::OkStatus();
  }
  absl::StatusOr<std::optional<double>> Evaluate(int64_t step) override {
    if (held_out.empty()) return std::nullopt;
    return held_out[static_cast<size_t>(evaluated_++) % held_out.size()];
  }

  double dropout = 0.25, flops = 0;
  int64_t poison = -1, greedy = -1;  // steps
  std::vector<double> held_out;

 private:
  std::vector<language::TrainedTensor> weights_;
  int64_t next_ = 0, evaluated_ = 0;
};

class TrainerTest : public FolderTest {
 protected:
  TrainerOptions Options(const std::string& name, int64_t steps) {
    TrainerOptions options;
    options.folder = folder_ / name;
    options.steps = steps;
    options.learning_rate = 0.02;
    options.log = [this](const std::string& line) { lines_.push_back(line); };
    options.stop = [] { return false; };
    return options;
  }
  bool Said(const std::string& what) const {
    for (const std::string& line : lines_) {
      if (line.find(what) != std::string::npos) return true;
    }
    return false;
  }
  std::vector<std::string> lines_;
};

// Everything but the seconds.
std::vector<std::string> Rows(const fs::path& folder) {
  std::vector<std::string> rows;
  std::ifstream stream(folder / "log.csv");
  for (std::string line; std::getline(stream, line);) rows.push_back(line.substr(0, line.rfind(',')));
  return rows;
}

TEST_F(TrainerTest, GoesOnAsIfNothingHadHappened) {
  SmallTask whole;
  ASSERT_TRUE(Trainer(Options("whole", 20), whole).Run().ok());
  const std::vector<std::string> rows = Rows(folder_ / "whole");
  ASSERT_EQ(rows.size(), 21u);
  EXPECT_TRUE(fs::exists(folder_ / "whole" / "loss.svg"));

  // Stopped after 7 steps, and after 13: as Ctrl-C does.
  for (const int64_t until : {7, 13, 20}) {
    SmallTask part;
    TrainerOptions options = Options("parts", 20);
    Trainer* trainer = nullptr;
    options.stop = [&] { return trainer->step() == until; };
    Trainer made(options, part);
    trainer = &made;
    ASSERT_TRUE(made.Run().ok());
    EXPECT_EQ(made.step(), until);
    if (until < 20) continue;
    EXPECT_EQ(Rows(folder_ / "parts"), rows);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(part.Tensors()[i].tensor.equal(whole.Tensors()[i].tensor)) << i;
    }
  }
  EXPECT_TRUE(Said("stopped after step 7 of 20"));

  // A finished run takes so many steps more, by a schedule of their own.
  SmallTask more;
  Trainer trainer(Options("parts", 5), more);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_EQ(trainer.step(), 25);
  EXPECT_EQ(Rows(folder_ / "parts").size(), 26u);
}

// Rows of steps behind the last checkpoint, as a killed process leaves them, are taken again and not doubled.
TEST_F(TrainerTest, AKilledRunIsTakenUpAtItsCheckpoint) {
  SmallTask whole;
  ASSERT_TRUE(Trainer(Options("whole", 12), whole).Run().ok());
  {
    SmallTask part;
    TrainerOptions options = Options("killed", 12);
    options.save_every = 5;
    Trainer* trainer = nullptr;
    options.stop = [&]() -> bool {
      if (trainer->step() == 8) throw std::runtime_error("killed");
      return false;
    };
    Trainer made(options, part);
    trainer = &made;
    EXPECT_THROW(made.Run().IgnoreError(), std::runtime_error);
  }
  ASSERT_EQ(Rows(folder_ / "killed").size(), 9u);
  std::ofstream(folder_ / "killed" / "log.csv", std::ios::app) << "9,0.12";  // torn
  SmallTask again;
  ASSERT_TRUE(Trainer(Options("killed", 12), again).Run().ok());
  EXPECT_TRUE(Said("checkpoint-00000005"));
  EXPECT_EQ(Rows(folder_ / "killed"), Rows(folder_ / "whole"));
}

TEST_F(TrainerTest, RunsDoNotMeet) {
  SmallTask first;
  ASSERT_TRUE(Trainer(Options("run", 4), first).Run().ok());
  TrainerOptions fresh = Options("run", 3);
  fresh.restore = "fresh";
  SmallTask second;
  const absl::Status refused = Trainer(fresh, second).Run();
  EXPECT_EQ(refused.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(refused.message().find("holds a run of 4 steps"), std::string::npos) << refused;
  fresh.overwrite = true;
  fresh.keep = 1;
  SmallTask third;
  ASSERT_TRUE(Trainer(fresh, third).Run().ok());
  EXPECT_EQ(TrainingCheckpoints::Open(folder_ / "run", 1)->Steps(), (std::vector<int64_t>{3}));

  // While one trains, another is refused.
  SmallTask outer;
  TrainerOptions options = Options("run", 2);
  absl::Status inner_status;
  options.stop = [&] {
    SmallTask inner;
    inner_status = Trainer(Options("run", 2), inner).Run();
    return true;
  };
  ASSERT_TRUE(Trainer(options, outer).Run().ok());
  EXPECT_EQ(inner_status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(inner_status.message().find("another process trains in"), std::string::npos) << inner_status;
}

TEST_F(TrainerTest, StepsThatAreNotFiniteAreLeftOut) {
  SmallTask task;
  task.poison = 3;
  ASSERT_TRUE(Trainer(Options("run", 6), task).Run().ok());
  EXPECT_TRUE(Said("step 3: the loss or its gradient is not finite"));
  for (const language::TrainedTensor& trained : task.Tensors())
    EXPECT_TRUE(trained.tensor.isfinite().all().item<bool>());
  SmallTask hopeless;
  TrainerOptions options = Options("hopeless", 6);
  options.overfit = true;  // the same data again
  hopeless.poison = 1;
  const absl::Status status = Trainer(options, hopeless).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_FALSE(fs::exists(folder_ / "hopeless" / "checkpoint-00000003"));
}

TEST_F(TrainerTest, TheBestIsKeptAndBecomesTheResult) {
  SmallTask task;
  task.held_out = {9, 3, 1, 2, 4, 5};  // before the first step, then every second
  TrainerOptions options = Options("run", 10);
  options.evaluate_every = 2;
  options.finish_with_best = true;
  options.keep = 1;
  ASSERT_TRUE(Trainer(options, task).Run().ok());
  EXPECT_TRUE(Said("the result is that of step 4, held-out loss 1.0000"));
  EXPECT_EQ(TrainingCheckpoints::Open(options.folder, 1)->Steps(), (std::vector<int64_t>{4, 10}));
  const auto best = TrainingCheckpoints::Read(options.folder / "checkpoint-00000004");
  ASSERT_TRUE(best.ok()) << best.status();
  EXPECT_TRUE(task.Tensors()[0].tensor.equal(best->tensors.at("weights.a")));
}

TEST_F(TrainerTest, ChecksBeforeLongRuns) {
  SmallTask task;
  TrainerOptions options = Options("dry", 6);
  options.dry_run = true;
  const at::Tensor before = task.Tensors()[0].tensor.detach().clone();
  ASSERT_TRUE(Trainer(options, task).Run().ok());
  EXPECT_TRUE(task.Tensors()[0].tensor.equal(before));
  EXPECT_TRUE(Said("dry run"));

  TrainerOptions overfit = Options("overfit", 200);
  overfit.overfit = true;
  SmallTask learns;
  learns.dropout = 0;
  EXPECT_TRUE(Trainer(overfit, learns).Run().ok());
  overfit = Options("too short", 1);
  overfit.overfit = true;
  overfit.learning_rate = 1e-6;
  SmallTask does_not;
  EXPECT_EQ(Trainer(overfit, does_not).Run().code(), absl::StatusCode::kFailedPrecondition);

  for (const auto& [change, message] : std::vector<std::pair<std::function<void(TrainerOptions&)>, std::string>>{
           {[](TrainerOptions& o) { o.steps = 0; }, "--steps is 0"},
           {[](TrainerOptions& o) { o.learning_rate = -1; }, "--learning-rate is -1"},
           {[](TrainerOptions& o) { o.schedule.warm_up = 1; }, "--warm-up is 1"},
           {[](TrainerOptions& o) { o.keep = 0; }, "--keep is 0"},
           {[](TrainerOptions& o) { o.save_every = -1; }, "--save-every is -1"}}) {
    TrainerOptions wrong = Options("wrong", 5);
    change(wrong);
    SmallTask unused;
    const absl::Status status = Trainer(wrong, unused).Run();
    EXPECT_NE(status.message().find(message), std::string::npos) << status;
  }
}

TEST_F(TrainerTest, SaysHowNearItComesToTheMachine) {
  SmallTask task;
  task.flops = 1e6;
  ASSERT_TRUE(Trainer(Options("run", 3), task).Run().ok());
  EXPECT_TRUE(Said("GFLOP/s in fp32")) << absl::StrJoin(lines_, "\n");
  EXPECT_TRUE(Said(" tokens/s (MFU ")) << absl::StrJoin(lines_, "\n");
  lines_.clear();
  SmallTask unknown;
  ASSERT_TRUE(Trainer(Options("other", 3), unknown).Run().ok());
  EXPECT_FALSE(Said("MFU")) << absl::StrJoin(lines_, "\n");
}

TEST_F(TrainerTest, SaysWhatToLowerWhenMemoryRunsOut) {
  SmallTask task;
  task.greedy = 3;
  const absl::Status status = Trainer(Options("run", 5), task).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "memory ran out after step 2, as 4194304.00 GiB more was asked for; lower --batch");
}

// CRC-32C, bit by bit.
uint32_t SlowCrc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0x82F63B78 & (0 - (crc & 1)));
  }
  return crc ^ 0xFFFFFFFF;
}

// The messages of a file of TFRecords, their checksums compared.
std::vector<std::string> Records(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const auto number = [&](size_t at, size_t size) {
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
    return value;
  };
  const auto masked = [](uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8; };
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t length = number(at, 8);
    EXPECT_EQ(number(at + 8, 4), masked(SlowCrc32c(bytes.substr(at, 8))));
    records.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(number(at + 12 + length, 4), masked(SlowCrc32c(records.back())));
    at += 16 + length;
  }
  return records;
}

// That TensorBoard reads them, tests/reference/tensorboard_events.py shows.
TEST_F(TrainerTest, TensorBoardGetsEachStep) {
  EXPECT_EQ(SlowCrc32c("123456789"), 0xE3069283);  // RFC 3720's check value
  SmallTask first, second;
  ASSERT_TRUE(Trainer(Options("run", 4), first).Run().ok());
  ASSERT_TRUE(Trainer(Options("run", 3), second).Run().ok());
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "run")) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  ASSERT_EQ(files.size(), 2u);
  const std::vector<std::string> before = Records(files[0]), after = Records(files[1]);
  ASSERT_EQ(before.size(), 2u + 4u);
  ASSERT_EQ(after.size(), 2u + 3u);
  EXPECT_NE(before[0].find("brain.Event:2"), std::string::npos);
  // wall_time, step 5, session_log {status: START}
  EXPECT_EQ(after[1].substr(9), std::string("\x10\x05\x3A\x02\x08\x01", 6));
  // step 6, summary {value {tag: "loss" simple_value: ...}, ...}
  EXPECT_EQ(after[3].substr(9, 2), "\x10\x06");
  EXPECT_NE(after[3].find(std::string("\x0A\x04loss\x15", 7)), std::string::npos);
  EXPECT_NE(after[3].find("learning_rate"), std::string::npos);
}

TEST(NgramOverlapTest, CountsRunsOfWords) {
  NgramOverlap runs(3);
  runs.AddHeldOut("The cat sat on the mat.");  // four runs: the first two stand in the training text
  runs.AddHeldOut("Yes!");                     // one run, of one word
  runs.AddHeldOut("No, never");                // one run, of two words
  runs.AddHeldOut(" ... ");                    // no word
  runs.AddTraining("\"the CAT sat on\", he said.");
  runs.AddTraining("never no");
  runs.AddTraining("yes");
  const OverlapReport report = runs.Report();
  EXPECT_EQ(report.n, 3);
  EXPECT_EQ(report.grams, 6);
  EXPECT_EQ(report.shared, 3);
  EXPECT_EQ(report.texts, 3);
  EXPECT_EQ(report.tainted, 1);
  EXPECT_EQ(
      DescribeOverlap(report),
      "overlap: 3 of the held-out texts' 6 runs of 3 words (50.0 %) stand in the training texts too; in 1 of 3 texts "
      "at least 70 % do");
  EXPECT_EQ(DescribeOverlap(NgramOverlap().Report()).substr(0, 45), "overlap: 0 of the held-out texts' 0 runs of 8");
}

TEST_F(TrainerTest, ACheckpointOfOtherTensorsIsRefused) {
  SmallTask task;
  ASSERT_TRUE(Trainer(Options("run", 2), task).Run().ok());
  class OtherTask : public SmallTask {
   public:
    std::vector<language::TrainedTensor> Tensors() override {
      std::vector<language::TrainedTensor> tensors = SmallTask::Tensors();
      tensors[1].tensor = at::zeros({1, 9}).requires_grad_(true);
      return tensors;
    }
  } other;
  const absl::Status status = Trainer(Options("run", 2), other).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("tensor b is missing or has another shape"), std::string::npos) << status;
}

TEST(TrainingLogTest, TheCurveHoldsBothLosses) {
  std::vector<TrainingRow> rows;
  for (int64_t i = 1; i <= 40; ++i) rows.push_back({.step = i, .loss = 4.0 / static_cast<double>(i)});
  rows[19].held_out = 0.9;
  rows[39].held_out = 0.7;
  rows[5].loss = NAN;
  const std::string svg = LossCurve(rows);
  EXPECT_NE(svg.find("held-out loss"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  size_t lines = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos; at = svg.find("<polyline", at + 1)) ++lines;
  EXPECT_EQ(lines, 3u);
  EXPECT_NE(LossCurve({}).find("</svg>"), std::string::npos);
}

}  // namespace
}  // namespace blazon::service
