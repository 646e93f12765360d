#include "service/rpc/runtime.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "service/rpc/call.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr std::chrono::minutes kStallLimit(1);
constexpr std::chrono::milliseconds kRetryAfter(1000);
constexpr size_t kJobsPerRequest = 8;  // a stream of pictures has several at once

int Workers(int asked) {
  return asked > 0 ? asked : std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

Runtime::Runtime(ServerOptions options, ModelStore& models, std::unique_ptr<CollectionStore> collections,
                 std::unique_ptr<Reranker> reranker)
    : options_(std::move(options)),
      models_(models),
      collections_(std::move(collections)),
      reranker_(std::move(reranker)),
      captioner_(models),
      answerer_(models),
      generator_(models),
      pool_(Workers(options_.workers), static_cast<size_t>(options_.max_requests) * kJobsPerRequest) {}

absl::Status Runtime::Admit(const std::shared_ptr<Call>& call) {
  std::lock_guard lock(mutex_);
  calls_[call.get()] = call;
  if (draining_) {
    return WithRetry(
        WithReason(absl::UnavailableError("the server is shutting down; try another, or later"), "SHUTTING_DOWN"),
        kRetryAfter);
  }
  if (active_.load() >= options_.max_requests) {
    return WithRetry(
        WithReason(absl::ResourceExhaustedError(absl::StrCat(
                       options_.max_requests, " requests are under way, which is this server's limit; try again soon")),
                   "TOO_MANY_REQUESTS"),
        kRetryAfter);
  }
  ++active_;
  return absl::OkStatus();
}

void Runtime::Leave() { --active_; }

void Runtime::Forget(Call* call) {
  std::lock_guard lock(mutex_);
  calls_.erase(call);
  if (calls_.empty()) idle_.notify_all();
}

absl::Status Runtime::Enqueue(std::function<void()> job) {
  if (pool_.Enqueue(std::move(job))) return absl::OkStatus();
  return WithRetry(WithReason(absl::ResourceExhaustedError("too many requests wait for a worker; try again soon"),
                              "TOO_MANY_REQUESTS"),
                   kRetryAfter);
}

void Runtime::Drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
}

bool Runtime::WaitUntilIdle(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, until, [this] { return calls_.empty(); });
}

std::vector<std::shared_ptr<Call>> Runtime::Calls() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Call>> calls;
  for (const auto& [key, weak] : calls_) {
    if (std::shared_ptr<Call> call = weak.lock(); call != nullptr) calls.push_back(std::move(call));
  }
  return calls;
}

void Runtime::StopAll(const absl::Status& why) {
  for (const std::shared_ptr<Call>& call : Calls()) call->Stop(why);
}

void Runtime::CheckProgress() {
  const auto now = std::chrono::steady_clock::now();
  for (const std::shared_ptr<Call>& call : Calls()) call->CheckProgress(now, kStallLimit);
}

}  // namespace blazon::service::rpc
