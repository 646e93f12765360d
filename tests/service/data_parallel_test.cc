// What the processes of a training say to each other; here two threads, each with a group of its own.
#include "service/training/data_parallel.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

// Runs `work` as each of `size` processes.
void AsProcesses(int size, const std::function<void(DataParallel&)>& work) {
  static int meetings = 0;
  const std::string file = absl::StrCat(testing::TempDir(), "data_parallel_", getpid(), "_", ++meetings);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      auto group = ProcessGroup::Join({.rank = rank, .size = size, .file = file});
      ASSERT_TRUE(group.ok()) << group.status();
      EXPECT_EQ((*group)->rank(), rank);
      DataParallel parallel(*group);
      work(parallel);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::filesystem::remove(file);
}

TEST(DataParallelTest, SumsGradientsAndNumbers) {
  AsProcesses(3, [](DataParallel& parallel) {
    const double rank = parallel.rank();
    // One longer than a bucket, one that a single process has, one that nobody has.
    std::vector<at::Tensor> tensors = {at::zeros({(8 << 20) + 5}), at::zeros({2, 3}), at::zeros({4})};
    for (at::Tensor& tensor : tensors) tensor.requires_grad_(true);
    tensors[0].mutable_grad() = at::full({(8 << 20) + 5}, rank + 1, at::kFloat);
    if (rank == 1) tensors[1].mutable_grad() = at::arange(6, at::kFloat).view({3, 2}).t();
    std::vector<double> numbers = {rank, 0.5};
    ASSERT_TRUE(parallel.SumGradients(tensors, numbers).ok());
    EXPECT_EQ(numbers, (std::vector<double>{3, 1.5}));
    EXPECT_TRUE(tensors[0].grad().eq(6).all().item<bool>());
    EXPECT_TRUE(tensors[1].grad().equal(at::arange(6, at::kFloat).view({3, 2}).t()));
    EXPECT_FALSE(tensors[2].grad().defined());
    EXPECT_TRUE(*parallel.Any(rank == 2));
    EXPECT_FALSE(*parallel.Any(false));
  });
}

TEST(DataParallelTest, SharesWhatTheFirstHas) {
  AsProcesses(2, [](DataParallel& parallel) {
    std::string text = parallel.first() ? "seven" : "", nothing = parallel.first() ? "" : "something";
    ASSERT_TRUE(parallel.Share(text).ok());
    ASSERT_TRUE(parallel.Share(nothing).ok());
    EXPECT_EQ(text, "seven");
    EXPECT_EQ(nothing, "");
    std::map<std::string, at::Tensor> tensors;
    if (parallel.first()) tensors = {{"a", at::arange(6, at::kByte)}, {"b", at::full({2, 2}, 0.5, at::kFloat)}};
    ASSERT_TRUE(parallel.Share(tensors).ok());
    ASSERT_EQ(tensors.size(), 2u);
    EXPECT_TRUE(tensors["a"].equal(at::arange(6, at::kByte)));
    EXPECT_TRUE(tensors["b"].equal(at::full({2, 2}, 0.5, at::kFloat)));
    const auto all = parallel.Gather(at::full({3}, parallel.rank(), at::kInt));
    ASSERT_TRUE(all.ok());
    for (int rank = 0; rank < 2; ++rank) EXPECT_TRUE((*all)[static_cast<size_t>(rank)].eq(rank).all().item<bool>());
  });
}

TEST(DataParallelTest, NoticesWhatIsNotEqual) {
  AsProcesses(2, [](DataParallel& parallel) {
    at::Tensor tensor = at::ones({5});
    EXPECT_TRUE(parallel.CheckEqual(std::vector<at::Tensor>{tensor}).ok());
    if (!parallel.first()) tensor[3] += 1e-7;
    EXPECT_TRUE(absl::IsInternal(parallel.CheckEqual(std::vector<at::Tensor>{tensor})));
    EXPECT_TRUE(parallel.CheckEqual("--steps", "4").ok());
    const absl::Status other = parallel.CheckEqual("--steps", parallel.first() ? "4" : "5");
    EXPECT_TRUE(absl::IsFailedPrecondition(other));
    EXPECT_TRUE(parallel.first() ||
                absl::StrContains(other.message(), "process 1 has --steps 5, and the first process 4"))
        << other;
  });
}

TEST(DataParallelTest, ALostProcessIsAnErrorForTheOther) {
  AsProcesses(2, [](DataParallel& parallel) {
    if (!parallel.first()) return;
    const auto any = parallel.Any(true);
    EXPECT_TRUE(absl::IsUnavailable(any.status())) << any.status();
    EXPECT_TRUE(absl::StrContains(any.status().message(), ProcessGroup::kLost)) << any.status();
  });
}

TEST(DataParallelTest, WaitingForTheOthersCanBeGivenUp) {
  const std::string file = absl::StrCat(testing::TempDir(), "data_parallel_", getpid(), "_alone");
  const auto group =
      ProcessGroup::Join({.rank = 0, .size = 2, .file = file}, [] { return absl::CancelledError("nobody will come"); });
  EXPECT_EQ(group.status().message(), "nobody will come");
  std::filesystem::remove(file);
}

TEST(DataParallelTest, TheEnvironmentNamesAGroup) {
  const auto with = [](const char* name, const char* value) {
    setenv(name, value, 1);
    auto place = PlaceInEnvironment();
    return place.ok() ? std::string(place->has_value() ? "a group" : "none") : std::string(place.status().message());
  };
  EXPECT_EQ(with("WORLD_SIZE", "1"), "none");
  EXPECT_TRUE(absl::StrContains(with("WORLD_SIZE", "4"), "RANK is ''; it must be 0 to 3"));
  EXPECT_TRUE(absl::StrContains(with("RANK", "4"), "RANK is '4'; it must be 0 to 3"));
  EXPECT_TRUE(absl::StrContains(with("RANK", "3"), "MASTER_PORT is ''"));
  EXPECT_TRUE(absl::StrContains(with("MASTER_PORT", "29500"), "no MASTER_ADDR"));
  EXPECT_EQ(with("MASTER_ADDR", "10.0.0.1"), "a group");
  EXPECT_EQ((*PlaceInEnvironment())->port, 29500);
  for (const char* name : {"WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RANK"}) unsetenv(name);
}

TEST(DataParallelTest, SharesAreEven) {
  EXPECT_EQ(*ShareOf("--batch", 12, 2, 4), std::pair(int64_t{6}, int64_t{9}));
  EXPECT_EQ(*ShareOf("--batch", 5, 0, 1), std::pair(int64_t{0}, int64_t{5}));
  EXPECT_EQ(ShareOf("--batch", 5, 0, 2).status().message(),
            "--batch is 5, which 2 processes cannot share evenly; make it a multiple of 2");
}

}  // namespace
}  // namespace blazon::service
