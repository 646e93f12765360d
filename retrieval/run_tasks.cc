#include "retrieval/run_tasks.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace blazon::retrieval {

void RunTasks(absl::Span<const std::function<void()>> tasks, int threads) {
  std::atomic<size_t> next = 0;
  const auto run = [&] {
    for (size_t i; (i = next++) < tasks.size();) tasks[i]();
  };
  std::vector<std::jthread> others;
  for (size_t i = 1; i < std::min(static_cast<size_t>(threads), tasks.size()); ++i) others.emplace_back(run);
  run();
}  // waits for the others

}  // namespace blazon::retrieval
