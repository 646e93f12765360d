// One call under way on another thread, watched by the thread that prints: text comes over as it is made, and Ctrl-C
// cancels.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "service/cli/interrupt.h"

namespace blazon::service::cli {

// Thread safety: Add and Finish from the working thread, Wait from the printing one.
template <typename Result>
class Pending {
 public:
  // Returns false when the work should stop.
  bool Add(std::string_view text) {
    std::lock_guard lock(mutex_);
    text_ += text;
    changed_.notify_one();
    return !Interrupted();
  }

  // Reasoning, all of which comes before the text.
  bool AddReasoning(std::string_view text) {
    std::lock_guard lock(mutex_);
    reasoning_ += text;
    changed_.notify_one();
    return !Interrupted();
  }

  void Finish(absl::StatusOr<Result> result) {
    std::lock_guard lock(mutex_);
    result_ = std::move(result);
    changed_.notify_one();
  }

  // Hands text to `on_text` as it comes, and reasoning to `on_reasoning`; calls `cancel` once when Ctrl-C was pressed.
  // Call it once.
  absl::StatusOr<Result> Wait(const std::function<void(std::string_view)>& on_text, const std::function<void()>& cancel,
                              const std::function<void(std::string_view)>& on_reasoning = nullptr) {
    bool cancelled = false;
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait_for(lock, std::chrono::milliseconds(50),
                        [&] { return !text_.empty() || !reasoning_.empty() || result_.has_value(); });
      if (!reasoning_.empty()) {
        const std::string text = std::exchange(reasoning_, "");
        lock.unlock();
        if (on_reasoning) on_reasoning(text);
        lock.lock();
      } else if (!text_.empty()) {
        const std::string text = std::exchange(text_, "");
        lock.unlock();
        if (on_text) on_text(text);
        lock.lock();
      } else if (result_.has_value()) {
        return *std::move(result_);
      }
      if (Interrupted() && !std::exchange(cancelled, true) && cancel) {
        lock.unlock();
        cancel();
        lock.lock();
      }
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_, reasoning_;  // not yet handed over
  std::optional<absl::StatusOr<Result>> result_;
};

}  // namespace blazon::service::cli
