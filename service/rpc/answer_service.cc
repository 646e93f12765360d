#include "service/rpc/call.h"
#include "service/rpc/convert.h"
#include "service/rpc/services.h"
#include "service/rpc/sinks.h"

namespace blazon::service::rpc {
namespace {

class AnswerReply final : public ReplySink<AnswerSink, AnswerResult, v1::AskResponse> {
 public:
  using ReplySink::ReplySink;
  bool OnSources(const AnswerResult&) override { return call_->stopped().ok(); }
};

class AnswerEvents final : public EventSink<AnswerSink, AnswerResult, v1::StreamAskResponse> {
 public:
  using EventSink::EventSink;
  bool OnSources(const AnswerResult& so_far) override {
    v1::StreamAskResponse event;
    *event.mutable_sources() = ToSources(so_far);
    return call_->Push(std::move(event));
  }
};

// Searches on this worker and starts the generation.
template <typename Request>
void StartAnswer(Call& call, const Request& request, std::shared_ptr<AnswerSink> sink) {
  absl::StatusOr<AskRequest> ask = FromProto(request, call.runtime().models());
  if (!ask.ok()) return call.End(ask.status());
  ask->deadline = call.deadline();
  absl::StatusOr<CollectionStore::Handle> collection = call.runtime().collections().Use(request.collection());
  if (!collection.ok()) return call.End(collection.status());
  Track(call, call.runtime().answerer().Start(*ask, **collection, std::move(sink)));
}

}  // namespace

grpc::ServerUnaryReactor* AnswerService::Ask(grpc::CallbackServerContext* context, const v1::AskRequest* request,
                                             v1::AskResponse* response) {
  auto call = std::make_shared<UnaryCall>(runtime_, context);
  call->Begin(*request, [call, request, response] {
    StartAnswer(*call, *request, std::make_shared<AnswerReply>(call, response));
  });
  return call.get();
}

grpc::ServerWriteReactor<v1::StreamAskResponse>* AnswerService::StreamAsk(grpc::CallbackServerContext* context,
                                                                          const v1::StreamAskRequest* request) {
  auto call = std::make_shared<StreamCall<v1::StreamAskResponse>>(runtime_, context);
  call->Begin(*request, [call, request] { StartAnswer(*call, *request, std::make_shared<AnswerEvents>(call)); });
  return call.get();
}

}  // namespace blazon::service::rpc
