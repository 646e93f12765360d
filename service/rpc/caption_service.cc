#include <atomic>
#include <set>

#include "absl/strings/match.h"
#include "service/rpc/call.h"
#include "service/rpc/checks.h"
#include "service/rpc/convert.h"
#include "service/rpc/services.h"
#include "service/rpc/sinks.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

class CaptionReply final : public ReplySink<CaptionSink, CaptionResult, v1::CaptionResponse> {
 public:
  using ReplySink::ReplySink;
  bool OnLabels(const std::vector<CaptionLabel>&) override { return call_->stopped().ok(); }
};

class CaptionEvents final : public EventSink<CaptionSink, CaptionResult, v1::StreamCaptionResponse> {
 public:
  using EventSink::EventSink;
  bool OnLabels(const std::vector<CaptionLabel>& labels) override {
    v1::StreamCaptionResponse event;
    *event.mutable_labels() = ToProto(labels);
    return call_->Push(std::move(event));
  }
};

// What DecodeImage says begins with "The image" or "The PNG image".
absl::Status BlameImage(absl::Status status) {
  if (status.code() != absl::StatusCode::kInvalidArgument || !absl::StartsWith(status.message(), "The ")) return status;
  return WithReason(WithField(std::move(status), "image.data"), "IMAGE_REFUSED");
}

absl::StatusOr<CancelFunction> StartCaptioner(Call& call, const CaptionRequest& request,
                                              std::shared_ptr<CaptionSink> sink) {
  absl::StatusOr<CancelFunction> started = call.runtime().captioner().Start(request, std::move(sink));
  if (!started.ok()) return BlameImage(started.status());
  return started;
}

// Decodes and encodes on this worker and starts the generation.
template <typename Request>
void StartCaption(Call& call, const Request& request, std::shared_ptr<CaptionSink> sink) {
  absl::StatusOr<CaptionRequest> caption = FromProto(request, call.runtime().models());
  if (!caption.ok()) return call.End(caption.status());
  caption->deadline = call.deadline();
  Track(call, StartCaptioner(call, *caption, std::move(sink)));
}

// Many pictures over one stream, a few at a time; while the client does not take answers, no further picture is read.
class CaptionImagesCall final
    : public WritingCall<grpc::ServerBidiReactor<v1::CaptionImagesRequest, v1::CaptionImagesResponse>,
                         v1::CaptionImagesResponse> {
 public:
  using WritingCall::WritingCall;

  void Start() {
    if (!Admit(v1::CaptionImagesRequest())) return;
    started_ = true;
    MaybeRead();
  }

  void OnReadDone(bool ok) override {
    auto request = std::make_shared<v1::CaptionImagesRequest>();
    bool idle = false;
    {
      std::lock_guard lock(mutex_);
      reading_ = false;
      if (ok) {
        request->Swap(&request_);
        ++under_way_;
      } else {
        last_read_ = true;
        idle = under_way_ == 0;
      }
    }
    if (ok) return Enqueue(std::move(request));
    if (idle) End(stopped());
  }

  // A picture's answer: the caption, or why there is none.
  void Answer(const std::string& id, v1::CaptionImagesResponse answer) {
    if (stopped().ok()) Push(std::move(answer));
    bool over = false;
    {
      std::lock_guard lock(mutex_);
      ids_.erase(id);
      over = --under_way_ == 0 && last_read_;
    }
    if (absl::Status why = stopped(); over || !why.ok()) {
      if (over || Idle()) End(std::move(why));
      return;
    }
    MaybeRead();
  }

  void Refuse(const std::string& id, const absl::Status& why) {
    v1::CaptionImagesResponse answer;
    answer.set_id(id);
    *answer.mutable_error() = ToRpcStatus(BlameField(why, *v1::CaptionImagesRequest::descriptor()));
    Answer(id, std::move(answer));
  }

 private:
  static constexpr int kAtOnce = 4;
  static constexpr size_t kMaxIdBytes = 256;

  class Sink final : public CaptionSink {
   public:
    Sink(std::shared_ptr<CaptionImagesCall> call, std::string id, double waited_ms)
        : call_(std::move(call)), id_(std::move(id)), waited_ms_(waited_ms) {}
    bool OnLabels(const std::vector<CaptionLabel>&) override { return call_->stopped().ok(); }
    bool OnText(std::string_view) override { return call_->stopped().ok(); }
    void OnDone(const absl::StatusOr<CaptionResult>& result) override {
      done_ = true;
      call_->RemoveCancel(cancel_key_);
      if (absl::Status status = EndOf(*call_, result); !status.ok()) return call_->Refuse(id_, status);
      v1::CaptionImagesResponse answer;
      answer.set_id(id_);
      *answer.mutable_caption() = ToProto(*result, call_->runtime().models(), waited_ms_);
      call_->Answer(id_, std::move(answer));
    }
    // Start has returned, perhaps after OnDone.
    void OnStarted(CancelFunction cancel) {
      cancel_key_ = call_->AddCancel(std::move(cancel));
      if (done_) call_->RemoveCancel(cancel_key_);
    }

   private:
    const std::shared_ptr<CaptionImagesCall> call_;
    const std::string id_;
    const double waited_ms_;
    std::atomic<int> cancel_key_{-1};
    std::atomic<bool> done_{false};
  };

  bool Idle() {
    std::lock_guard lock(mutex_);
    return under_way_ == 0;
  }

  void MaybeRead() {
    std::lock_guard lock(mutex_);
    if (!started_ || reading_ || last_read_ || under_way_ >= kAtOnce || !HasRoom()) return;
    reading_ = true;
    StartRead(&request_);
  }

  void OnWritten() override { MaybeRead(); }
  void OnStop() override {
    if (Idle()) End(stopped());
  }

  void Enqueue(std::shared_ptr<v1::CaptionImagesRequest> request) {
    const std::string id = request->id();
    bool fresh = false;
    {
      std::lock_guard lock(mutex_);
      fresh = !id.empty() && id.size() <= kMaxIdBytes && ids_.insert(id).second;
    }
    if (!fresh) {  // answered under the id as it came; "" is never in ids_
      v1::CaptionImagesResponse answer;
      answer.set_id(id);
      *answer.mutable_error() =
          ToRpcStatus(FieldError("id", "must have 1 to 256 bytes and differ from those under way"));
      return Answer("", std::move(answer));
    }
    if (absl::Status status = CheckKnownFields(*request); !status.ok()) return Refuse(id, status);
    const auto begun = std::chrono::steady_clock::now();
    auto self = std::static_pointer_cast<CaptionImagesCall>(shared_from_this());
    const absl::Status status = runtime().Enqueue([self, request, begun] { self->Caption(*request, begun); });
    if (!status.ok()) return Refuse(id, status);
    MaybeRead();
  }

  // On a worker.
  void Caption(const v1::CaptionImagesRequest& request, std::chrono::steady_clock::time_point begun) {
    const std::string& id = request.id();
    if (absl::Status why = stopped(); !why.ok()) return Refuse(id, why);
    absl::StatusOr<CaptionRequest> caption = FromProto(request, runtime().models());
    if (!caption.ok()) return Refuse(id, caption.status());
    caption->deadline = deadline();
    auto self = std::static_pointer_cast<CaptionImagesCall>(shared_from_this());
    const double waited = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
    auto sink = std::make_shared<Sink>(self, id, waited);
    absl::StatusOr<CancelFunction> cancel = StartCaptioner(*this, *caption, sink);
    if (!cancel.ok()) return Refuse(id, cancel.status());
    sink->OnStarted(*std::move(cancel));
  }

  v1::CaptionImagesRequest request_;  // being read
  bool started_ = false;
  bool reading_ = false;
  bool last_read_ = false;
  int under_way_ = 0;
  std::set<std::string> ids_;
};

}  // namespace

grpc::ServerUnaryReactor* CaptionService::Caption(grpc::CallbackServerContext* context,
                                                  const v1::CaptionRequest* request, v1::CaptionResponse* response) {
  auto call = std::make_shared<UnaryCall>(runtime_, context);
  call->Begin(*request, [call, request, response] {
    StartCaption(*call, *request, std::make_shared<CaptionReply>(call, response));
  });
  return call.get();
}

grpc::ServerWriteReactor<v1::StreamCaptionResponse>* CaptionService::StreamCaption(
    grpc::CallbackServerContext* context, const v1::StreamCaptionRequest* request) {
  auto call = std::make_shared<StreamCall<v1::StreamCaptionResponse>>(runtime_, context);
  call->Begin(*request, [call, request] { StartCaption(*call, *request, std::make_shared<CaptionEvents>(call)); });
  return call.get();
}

grpc::ServerBidiReactor<v1::CaptionImagesRequest, v1::CaptionImagesResponse>* CaptionService::CaptionImages(
    grpc::CallbackServerContext* context) {
  auto call = std::make_shared<CaptionImagesCall>(runtime_, context);
  call->Start();
  return call.get();
}

}  // namespace blazon::service::rpc
