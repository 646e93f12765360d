// Trying again what may go better later.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"

namespace blazon::service::hub {

struct RetryOptions {
  std::function<bool()> interrupted;  // asked again and again; true ends with kCancelled
  std::function<void(const std::string&)> on_note;
  // An answer that may be better later (kUnavailable: 429, 5xx, cut connections) is waited for 1, 2, 4, ... 32 s, or as
  // long as the server says up to 5 minutes; after `max_tries` in a row without a mebibyte of progress it is an error.
  int max_tries = 6;
  // Sleeps; false: interrupted. Empty: really sleeps.
  std::function<bool(std::chrono::seconds)> wait;
};

// Calls `attempt` until it succeeds or fails for good; it adds the bytes that it got to its argument.
absl::Status WithRetries(const RetryOptions& options, const std::function<absl::Status(int64_t& progress)>& attempt);

}  // namespace blazon::service::hub
