#include "service/hub/retries.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "service/hub/hub_client.h"

namespace blazon::service::hub {
namespace {

using std::chrono::seconds;

constexpr int64_t kProgressBytes = 1 << 20;  // that make a try count as none
constexpr seconds kFirstWait(1), kLongestWait(32), kLongestAskedWait(300);

bool IsInterrupted(const RetryOptions& options) { return options.interrupted && options.interrupted(); }

bool Wait(const RetryOptions& options, seconds time) {
  if (options.wait) return options.wait(time);
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
    if (IsInterrupted(options)) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return true;
}

}  // namespace

absl::Status WithRetries(const RetryOptions& options, const std::function<absl::Status(int64_t& progress)>& attempt) {
  seconds wait = kFirstWait;
  for (int tries = 1;; ++tries) {
    if (IsInterrupted(options)) return absl::CancelledError("stopped");
    int64_t progress = 0;
    absl::Status status = attempt(progress);
    if (!absl::IsUnavailable(status)) return status;
    if (progress >= kProgressBytes) {
      tries = 1;
      wait = kFirstWait;
    }
    if (tries >= options.max_tries) {
      return absl::UnavailableError(absl::StrCat(status.message(), "; given up after ", tries,
                                                 " tries. The same command goes on where this one ended."));
    }
    const seconds asked = RetryAfter(status);
    if (asked > kLongestAskedWait) {
      return absl::UnavailableError(absl::StrCat(status.message(), "; it asks for ", asked.count(),
                                                 " s of patience. The same command goes on where this one ended."));
    }
    const seconds now = std::max(wait, asked);
    if (options.on_note) options.on_note(absl::StrCat(status.message(), "; trying again in ", now.count(), " s"));
    if (!Wait(options, now)) return absl::CancelledError("stopped");
    wait = std::min(2 * wait, kLongestWait);
  }
}

}  // namespace blazon::service::hub
