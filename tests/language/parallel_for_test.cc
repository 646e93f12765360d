#include "language/ops/parallel_for.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <latch>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace blazon::language {
namespace {

class ParallelForTest : public testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(2); }
  void TearDown() override { at::set_num_threads(threads_); }

 private:
  const int threads_ = at::get_num_threads();
};

// Each run waits for the other: with one thread this would not end.
TEST_F(ParallelForTest, RunsAtTheSameTime) {
  std::latch both(2);
  std::vector<std::thread::id> threads(2);
  ParallelFor(2, 1, [&](int64_t begin, int64_t end) {
    ASSERT_EQ(end, begin + 1);
    threads[static_cast<size_t>(begin)] = std::this_thread::get_id();
    both.arrive_and_wait();
  });
  EXPECT_NE(threads[0], threads[1]);
}

TEST_F(ParallelForTest, VisitsEachIndexOnce) {
  for (const int64_t count : {0, 1, 7, 64, 1001}) {
    for (const int64_t per_task : {1, 10, 5000}) {
      std::vector<int> visits(static_cast<size_t>(count), 0);
      ParallelFor(count, per_task, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      EXPECT_EQ(visits, std::vector<int>(static_cast<size_t>(count), 1)) << count << " by " << per_task;
    }
  }
}

TEST_F(ParallelForTest, TooLittleWorkStaysWithTheCaller) {
  std::set<std::thread::id> threads;
  ParallelFor(100, 100, [&](int64_t, int64_t) { threads.insert(std::this_thread::get_id()); });
  EXPECT_EQ(threads, std::set<std::thread::id>{std::this_thread::get_id()});
}

TEST_F(ParallelForTest, PassesOnWhatARunThrows) {
  EXPECT_THROW(ParallelFor(2, 1,
                           [](int64_t begin, int64_t) {
                             if (begin == 1) throw std::runtime_error("run 1");
                           }),
               std::runtime_error);
}

}  // namespace
}  // namespace blazon::language
