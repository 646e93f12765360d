// One RPC under way: what unary, streaming and bidirectional calls have in common.
//
// Life: made by a service's method, kept alive by itself until gRPC calls OnDone, and by the sinks that write to it.
// Every call ends exactly once, by End; nothing is written after that. gRPC never runs a callback within a call into it
// from a thread of ours, so it is called with the mutex held.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "service/rpc/runtime.h"
#include "service/text_generator.h"

namespace blazon::service::rpc {

class Call : public std::enable_shared_from_this<Call> {
 public:
  virtual ~Call() = default;

  // The first thing a method does. Refuses the call when the server drains or is full, or when `request` has unknown
  // fields: the call has then ended and false is returned.
  bool Admit(const google::protobuf::Message& request);
  // Admit, then `work` on a worker; not when the client is gone by then.
  void Begin(const google::protobuf::Message& request, std::function<void()> work);

  // Ends the call. What was written before is sent first. Only the first call of it does something.
  void End(absl::Status status);

  // Stops the work of the call, which then ends with `why`; from OnCancel, at shutdown, or when the reader is too slow.
  void Stop(absl::Status why);
  // `cancel` runs when the call is stopped, at once if it has been; it may be empty. Returns a key for RemoveCancel.
  int AddCancel(CancelFunction cancel);
  void RemoveCancel(int key);
  // Why the call was stopped; OK when it was not.
  absl::Status stopped() const;

  // When the client stops waiting, a little earlier: what was generated until then can still reach it.
  Deadline deadline() const;
  // Time between Begin and the start of its work.
  double waited_ms() const { return waited_ms_; }
  Runtime& runtime() { return runtime_; }

  // Cancels the call when the client has accepted nothing for `limit`.
  virtual void CheckProgress(std::chrono::steady_clock::time_point now, std::chrono::milliseconds limit) {}

 protected:
  Call(Runtime& runtime, grpc::CallbackServerContext* context) : runtime_(runtime), context_(context) {}

  // gRPC's Finish, once the buffer is empty.
  virtual void Close(grpc::Status status) = 0;
  // After Stop: ends a call that has nothing running.
  virtual void OnStop() {}
  // To be called by OnDone, last.
  void Forget();
  // Cancels the call at gRPC's level, if it is still there.
  void TryCancel();

  mutable std::mutex mutex_;

 private:
  Runtime& runtime_;
  grpc::CallbackServerContext* context_;  // null after OnDone
  const google::protobuf::Descriptor* request_type_ = nullptr;
  std::shared_ptr<Call> self_;
  absl::Status stopped_;
  std::map<int, CancelFunction> cancels_;
  int next_cancel_ = 0;
  bool admitted_ = false;
  bool ended_ = false;
  double waited_ms_ = 0;
};

// OK when the generation came to an end of its own; else why it did not.
absl::Status EndOf(const Call& call, const absl::StatusOr<language::GenerationResult>& result);

class UnaryCall : public grpc::ServerUnaryReactor, public Call {
 public:
  UnaryCall(Runtime& runtime, grpc::CallbackServerContext* context) : Call(runtime, context) {}
  void OnCancel() override { Stop(absl::CancelledError("the client cancelled the call")); }
  void OnDone() override { Forget(); }

 private:
  void Close(grpc::Status status) override { Finish(std::move(status)); }
};

// A call that streams replies: one write in flight, the rest in a buffer of bounded size.
template <typename Reactor, typename Response>
class WritingCall : public Reactor, public Call {
 public:
  WritingCall(Runtime& runtime, grpc::CallbackServerContext* context) : Call(runtime, context) {}

  // Never blocks. False: the client is gone or too far behind, and the call is stopped.
  bool Push(Response response) {
    {
      std::lock_guard lock(mutex_);
      if (broken_ || closing_.has_value()) return false;
      if (!writing_) {
        Write(std::move(response));
        return true;
      }
      buffered_bytes_ += response.ByteSizeLong();
      if (buffered_bytes_ <= runtime().options().stream_buffer_bytes) {
        buffer_.push_back(std::move(response));
        return true;
      }
      broken_ = true;
      buffer_.clear();
    }
    Stop(absl::ResourceExhaustedError("the client reads too slowly; read faster, or ask for fewer tokens"));
    return false;
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) {
        broken_ = true;
        buffer_.clear();
      }
      if (!buffer_.empty()) {
        Response next = std::move(buffer_.front());
        buffer_.pop_front();
        buffered_bytes_ -= next.ByteSizeLong();
        Write(std::move(next));
      } else if (closing_.has_value()) {
        Reactor::Finish(*closing_);
        return;
      }
    }
    if (!ok) Stop(absl::CancelledError("the client is gone"));
    OnWritten();
  }

  void OnCancel() override { Stop(absl::CancelledError("the client cancelled the call")); }
  void OnDone() override { Forget(); }

  void CheckProgress(std::chrono::steady_clock::time_point now, std::chrono::milliseconds limit) override {
    {
      std::lock_guard lock(mutex_);
      if (!writing_ || now - write_began_ < limit) return;
    }
    TryCancel();
  }

 protected:
  // Room was made in the buffer.
  virtual void OnWritten() {}
  // With mutex_ held: whether more work for this client makes sense now.
  bool HasRoom() { return !closing_.has_value() && buffered_bytes_ * 2 <= runtime().options().stream_buffer_bytes; }

 private:
  void Close(grpc::Status status) override {
    std::lock_guard lock(mutex_);
    closing_ = std::move(status);
    if (!writing_) Reactor::Finish(*closing_);
  }

  // With mutex_ held and no write in flight.
  void Write(Response response) {
    current_ = std::move(response);
    writing_ = true;
    write_began_ = std::chrono::steady_clock::now();
    Reactor::StartWrite(&current_);
  }

  Response current_;  // in flight
  bool writing_ = false;
  bool broken_ = false;  // nothing more can be sent
  std::deque<Response> buffer_;
  size_t buffered_bytes_ = 0;
  std::optional<grpc::Status> closing_;
  std::chrono::steady_clock::time_point write_began_;
};

template <typename Response>
using StreamCall = WritingCall<grpc::ServerWriteReactor<Response>, Response>;

// A unary method that computes its reply on a worker: `work` fills the response or says why not.
template <typename Request, typename Response, typename Work>
grpc::ServerUnaryReactor* Compute(Runtime& runtime, grpc::CallbackServerContext* context, const Request* request,
                                  Response* response, Work work) {
  auto call = std::make_shared<UnaryCall>(runtime, context);
  call->Begin(*request, [call, request, response, work] { call->End(work(*request, *response, *call)); });
  return call.get();
}

}  // namespace blazon::service::rpc
