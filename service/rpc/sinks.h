// Ends a unary call with the reply that a generation comes to, or passes a stream on as it comes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "service/rpc/call.h"
#include "service/rpc/convert.h"

namespace blazon::service::rpc {

// Why a generation that ended as `result` gives no reply; OK when it does.
inline absl::Status EndOf(const Call& call, const absl::StatusOr<CaptionResult>& result) {
  return result.ok() ? EndOf(call, absl::StatusOr<language::GenerationResult>(result->result)) : result.status();
}
inline absl::Status EndOf(const Call& call, const absl::StatusOr<AnswerResult>& result) {
  return result.ok() ? EndOf(call, absl::StatusOr<language::GenerationResult>(result->result)) : result.status();
}

// Unary: `Sink` is CaptionSink or AnswerSink, `Result` what it is given at the end.
template <typename Sink, typename Result, typename Response>
class ReplySink : public Sink {
 public:
  ReplySink(std::shared_ptr<UnaryCall> call, Response* response) : call_(std::move(call)), response_(response) {}
  bool OnText(std::string_view) override { return call_->stopped().ok(); }
  void OnDone(const absl::StatusOr<Result>& result) override {
    absl::Status status = EndOf(*call_, result);
    if (status.ok()) *response_ = ToProto(*result, call_->runtime().models(), call_->waited_ms());
    call_->End(std::move(status));
  }

 protected:
  const std::shared_ptr<UnaryCall> call_;
  Response* const response_;
};

// Streaming: every reply has the events text_delta and done.
template <typename Sink, typename Result, typename Response>
class EventSink : public Sink {
 public:
  explicit EventSink(std::shared_ptr<StreamCall<Response>> call) : call_(std::move(call)) {}
  bool OnText(std::string_view text) override {
    Response event;
    event.set_text_delta(std::string(text));
    return call_->Push(std::move(event));
  }
  void OnDone(const absl::StatusOr<Result>& result) override {
    absl::Status status = EndOf(*call_, result);
    if (status.ok()) {
      Response event;
      *event.mutable_done() = ToProto(*result, call_->runtime().models(), call_->waited_ms());
      if (!call_->Push(std::move(event))) status = call_->stopped();
    }
    call_->End(std::move(status));
  }

 protected:
  const std::shared_ptr<StreamCall<Response>> call_;
};

// What a service does with what Start returned: keeps the cancel function, or ends the call.
inline void Track(Call& call, absl::StatusOr<CancelFunction> started) {
  if (started.ok()) {
    call.AddCancel(*std::move(started));
  } else {
    call.End(started.status());
  }
}

}  // namespace blazon::service::rpc
