#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "service/rpc/call.h"
#include "service/rpc/convert.h"
#include "service/rpc/services.h"
#include "service/rpc/sinks.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr int kMaxDetokenizeIds = 1 << 20;

class GenerateReply final : public language::TextSink {
 public:
  GenerateReply(std::shared_ptr<UnaryCall> call, v1::GenerateResponse* response)
      : call_(std::move(call)), response_(response) {}
  bool OnText(std::string_view text) override {
    text_ += text;
    return call_->stopped().ok();
  }
  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override {
    absl::Status status = EndOf(*call_, result);
    if (status.ok()) {
      *response_ = ToProto(GeneratedText{std::move(text_), *result}, call_->runtime().models(), call_->waited_ms());
    }
    call_->End(std::move(status));
  }

 private:
  const std::shared_ptr<UnaryCall> call_;
  v1::GenerateResponse* const response_;
  std::string text_;
};

class GenerateEvents final : public language::TextSink {
 public:
  explicit GenerateEvents(std::shared_ptr<StreamCall<v1::StreamGenerateResponse>> call) : call_(std::move(call)) {}
  bool OnText(std::string_view text) override {
    text_ += text;
    v1::StreamGenerateResponse event;
    event.set_text_delta(std::string(text));
    return call_->Push(std::move(event));
  }
  bool OnSequenceText(int64_t index, std::string_view text) override {
    v1::StreamGenerateResponse event;
    event.set_text_delta(std::string(text));
    event.set_sequence(static_cast<int32_t>(index));
    return call_->Push(std::move(event));
  }
  bool OnReasoning(int64_t index, std::string_view text) override {
    v1::StreamGenerateResponse event;
    event.set_reasoning_delta(std::string(text));
    event.set_sequence(static_cast<int32_t>(index));
    return call_->Push(std::move(event));
  }
  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override {
    absl::Status status = EndOf(*call_, result);
    if (status.ok()) {
      v1::StreamGenerateResponse event;
      *event.mutable_done() =
          ToProto(GeneratedText{std::move(text_), *result}, call_->runtime().models(), call_->waited_ms());
      if (!call_->Push(std::move(event))) status = call_->stopped();
    }
    call_->End(std::move(status));
  }

 private:
  const std::shared_ptr<StreamCall<v1::StreamGenerateResponse>> call_;
  std::string text_;
};

// What is said of an adapter that is not there begins with the word.
absl::Status BlameAdapter(absl::Status status, absl::string_view field) {
  if (!absl::IsNotFound(status) || !absl::StartsWith(status.message(), "adapter ")) return status;
  return WithReason(WithField(std::move(status), field), "ADAPTER_NOT_FOUND");
}

// Reads pictures and tokenises on this worker and starts the generation.
template <typename Request>
void StartGeneration(Call& call, const Request& request, std::shared_ptr<language::TextSink> sink) {
  absl::StatusOr<GenerateRequest> generate = FromProto(request, call.runtime().models());
  if (!generate.ok()) return call.End(generate.status());
  generate->deadline = call.deadline();
  absl::StatusOr<CancelFunction> started = call.runtime().generator().Start(*generate, std::move(sink));
  // What TextGenerator says of a picture begins with its number: "image 1: ...".
  if (absl::IsInvalidArgument(started.status()) && absl::StartsWith(started.status().message(), "image ")) {
    started =
        WithReason(WithField(started.status(), request.has_chat() ? "chat.messages" : "prompt.parts"), "IMAGE_REFUSED");
  }
  if (!started.ok()) started = BlameAdapter(started.status(), "options.adapter");
  Track(call, std::move(started));
}

}  // namespace

grpc::ServerUnaryReactor* GenerationService::Generate(grpc::CallbackServerContext* context,
                                                      const v1::GenerateRequest* request,
                                                      v1::GenerateResponse* response) {
  auto call = std::make_shared<UnaryCall>(runtime_, context);
  call->Begin(*request, [call, request, response] {
    StartGeneration(*call, *request, std::make_shared<GenerateReply>(call, response));
  });
  return call.get();
}

grpc::ServerWriteReactor<v1::StreamGenerateResponse>* GenerationService::StreamGenerate(
    grpc::CallbackServerContext* context, const v1::StreamGenerateRequest* request) {
  auto call = std::make_shared<StreamCall<v1::StreamGenerateResponse>>(runtime_, context);
  call->Begin(*request, [call, request] { StartGeneration(*call, *request, std::make_shared<GenerateEvents>(call)); });
  return call.get();
}

grpc::ServerUnaryReactor* GenerationService::Score(grpc::CallbackServerContext* context,
                                                   const v1::ScoreRequest* request, v1::ScoreResponse* response) {
  return Compute(runtime_, context, request, response,
                 [](const v1::ScoreRequest& request, v1::ScoreResponse& response, UnaryCall& call) -> absl::Status {
                   ModelStore& models = call.runtime().models();
                   const absl::StatusOr<ScoreRequest> converted = FromProto(request, models);
                   if (!converted.ok()) return converted.status();
                   auto score = call.runtime().generator().Score(*converted);
                   if (!score.ok()) return BlameAdapter(score.status(), "adapter");
                   response = ToProto(*score, models, call.waited_ms());
                   return absl::OkStatus();
                 });
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* context,
                                                      const v1::TokenizeRequest* request,
                                                      v1::TokenizeResponse* response) {
  return Compute(
      runtime_, context, request, response,
      [](const v1::TokenizeRequest& request, v1::TokenizeResponse& response, UnaryCall& call) -> absl::Status {
        ModelStore& models = call.runtime().models();
        if (absl::Status status = CheckModel(request.model(), ModelRole::kLanguage, models); !status.ok())
          return status;
        auto tokens = call.runtime().generator().Tokenize(request.text());
        if (!tokens.ok()) return tokens.status();
        response = ToProto(*tokens, models);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* context,
                                                        const v1::DetokenizeRequest* request,
                                                        v1::DetokenizeResponse* response) {
  return Compute(
      runtime_, context, request, response,
      [](const v1::DetokenizeRequest& request, v1::DetokenizeResponse& response, UnaryCall& call) -> absl::Status {
        ModelStore& models = call.runtime().models();
        if (absl::Status status = CheckModel(request.model(), ModelRole::kLanguage, models); !status.ok())
          return status;
        if (request.ids_size() > kMaxDetokenizeIds) {
          return FieldError("ids",
                            absl::StrCat("has ", request.ids_size(), " entries; the limit is ", kMaxDetokenizeIds));
        }
        const std::vector<language::TokenId> ids(request.ids().begin(), request.ids().end());
        auto text = call.runtime().generator().Detokenize(ids);
        if (!text.ok()) {
          const bool id = text.status().code() == absl::StatusCode::kInvalidArgument;
          return id ? WithReason(WithField(text.status(), "ids"), "INVALID_FIELD") : text.status();
        }
        response = ToDetokenizeResponse(*std::move(text), models);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* GenerationService::Embed(grpc::CallbackServerContext* context,
                                                   const v1::EmbedRequest* request, v1::EmbedResponse* response) {
  return Compute(runtime_, context, request, response,
                 [](const v1::EmbedRequest& request, v1::EmbedResponse& response, UnaryCall& call) -> absl::Status {
                   ModelStore& models = call.runtime().models();
                   if (absl::Status status = CheckModel(request.model(), ModelRole::kEmbedder, models); !status.ok())
                     return status;
                   const std::vector<std::string> texts(request.texts().begin(), request.texts().end());
                   auto embeddings = call.runtime().generator().Embed(texts);
                   if (!embeddings.ok()) return embeddings.status();
                   response = ToProto(*embeddings, models, call.waited_ms());
                   return absl::OkStatus();
                 });
}

}  // namespace blazon::service::rpc
