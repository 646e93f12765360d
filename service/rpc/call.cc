#include "service/rpc/call.h"

#include <exception>
#include <vector>

#include "service/rpc/checks.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr std::chrono::milliseconds kReplyTime(30);  // to bring the last text to the client before its deadline

}  // namespace

bool Call::Admit(const google::protobuf::Message& request) {
  self_ = shared_from_this();
  request_type_ = request.GetDescriptor();
  absl::Status status = runtime_.Admit(self_);
  if (status.ok()) {
    admitted_ = true;
    status = CheckKnownFields(request);
  }
  if (status.ok()) return true;
  End(std::move(status));
  return false;
}

void Call::Begin(const google::protobuf::Message& request, std::function<void()> work) {
  if (!Admit(request)) return;
  const auto begun = std::chrono::steady_clock::now();
  const absl::Status status = runtime_.Enqueue([self = self_, begun, work = std::move(work)] {
    if (absl::Status stopped = self->stopped(); !stopped.ok()) return self->End(std::move(stopped));
    self->waited_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
    try {
      work();
    } catch (const std::exception&) {
      self->End(absl::InternalError("the server failed on this request"));
    }
  });
  if (!status.ok()) End(status);
}

void Call::End(absl::Status status) {
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    cancels_.clear();
    if (admitted_) runtime_.Leave();
  }
  if (request_type_ != nullptr) status = BlameField(std::move(status), *request_type_);
  Close(ToGrpcStatus(status));
}

void Call::Stop(absl::Status why) {
  std::map<int, CancelFunction> cancels;
  {
    std::lock_guard lock(mutex_);
    if (!stopped_.ok() || ended_) return;
    stopped_ = std::move(why);
    cancels.swap(cancels_);
  }
  for (const auto& [key, cancel] : cancels) cancel();
  OnStop();
}

int Call::AddCancel(CancelFunction cancel) {
  if (cancel == nullptr) return -1;  // it is over already
  {
    std::lock_guard lock(mutex_);
    if (ended_) return -1;
    if (stopped_.ok()) {
      cancels_[next_cancel_] = std::move(cancel);
      return next_cancel_++;
    }
  }
  cancel();
  return -1;
}

void Call::RemoveCancel(int key) {
  std::lock_guard lock(mutex_);
  cancels_.erase(key);
}

absl::Status Call::stopped() const {
  std::lock_guard lock(mutex_);
  return stopped_;
}

Deadline Call::deadline() const {
  constexpr std::chrono::hours kForever(24 * 365);
  const auto deadline = context_->deadline();
  const auto left = deadline - std::chrono::system_clock::now();
  if (deadline == std::chrono::system_clock::time_point::max() || left > kForever) return kNoDeadline;
  return std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(left) -
         kReplyTime;
}

void Call::Forget() {
  std::shared_ptr<Call> self;
  {
    std::lock_guard lock(mutex_);
    context_ = nullptr;
    self = std::move(self_);
  }
  runtime_.Forget(this);
}

void Call::TryCancel() {
  std::lock_guard lock(mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

absl::Status EndOf(const Call& call, const absl::StatusOr<language::GenerationResult>& result) {
  if (!result.ok()) return result.status();
  if (result->finish_reason != language::FinishReason::kCancelled) return absl::OkStatus();
  absl::Status stopped = call.stopped();
  return stopped.ok() ? absl::UnavailableError("the server stopped this generation") : stopped;
}

}  // namespace blazon::service::rpc
