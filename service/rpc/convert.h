// Between the messages of proto/blazon/v1 and the plain structs of the service. Used by the server, and by the command
// line for --json and --server.
//
// No tensor comes here: this is the one place that knows both sides.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "blazon/v1/answer.pb.h"
#include "blazon/v1/caption.pb.h"
#include "blazon/v1/content.pb.h"
#include "blazon/v1/generation.pb.h"
#include "blazon/v1/index.pb.h"
#include "blazon/v1/model.pb.h"
#include "language/generation_options.h"
#include "language/generation_result.h"
#include "retrieval/collection.h"
#include "retrieval/collection_care.h"
#include "retrieval/indexer.h"
#include "service/answerer.h"
#include "service/captioner.h"
#include "service/model_store.h"
#include "service/text_generator.h"

namespace blazon::service::rpc {

// One line of JSON with the proto's own field names; fields that hold their default are printed too.
std::string ToJson(const google::protobuf::Message& message);

// ---- Options, both ways. Ranges that need no model are checked; the error names the field.
absl::StatusOr<language::GenerationOptions> FromProto(const v1::GenerationOptions& options,
                                                      language::GenerationOptions defaults);
v1::GenerationOptions ToProto(const language::GenerationOptions& options);

// ---- Requests. kInvalidArgument (or kNotFound for a model's name) tagged with field and reason
// (service/rpc/status.h).
absl::StatusOr<CaptionRequest> FromProto(const v1::CaptionRequest& request, const ModelStore& models);
absl::StatusOr<CaptionRequest> FromProto(const v1::StreamCaptionRequest& request, const ModelStore& models);
absl::StatusOr<CaptionRequest> FromProto(const v1::CaptionImagesRequest& request, const ModelStore& models);
absl::StatusOr<AskRequest> FromProto(const v1::AskRequest& request, const ModelStore& models);
absl::StatusOr<AskRequest> FromProto(const v1::StreamAskRequest& request, const ModelStore& models);
absl::StatusOr<GenerateRequest> FromProto(const v1::GenerateRequest& request, const ModelStore& models);
absl::StatusOr<GenerateRequest> FromProto(const v1::StreamGenerateRequest& request, const ModelStore& models);
absl::StatusOr<ScoreRequest> FromProto(const v1::ScoreRequest& request, const ModelStore& models);
absl::StatusOr<retrieval::Query> FromProto(const v1::SearchRequest& request);
absl::StatusOr<retrieval::Filter> FromProto(const v1::Filter& filter);
// `name` is empty, or the name of a model of this role; else kNotFound.
absl::Status CheckModel(const std::string& name, ModelRole role, const ModelStore& models);

// ---- Replies. `waited_ms`: time in the server's own queue, added to timings.queue_ms.
v1::CaptionResponse ToProto(const CaptionResult& result, ModelStore& models, double waited_ms = 0);
v1::AskResponse ToProto(const AnswerResult& result, ModelStore& models, double waited_ms = 0);
v1::AskSources ToSources(const AnswerResult& so_far);
v1::GenerateResponse ToProto(const GeneratedText& result, ModelStore& models, double waited_ms = 0);
v1::ScoreResponse ToProto(const CompletionScore& result, ModelStore& models, double waited_ms = 0);
v1::TokenizeResponse ToProto(const std::vector<Token>& tokens, ModelStore& models);
v1::DetokenizeResponse ToDetokenizeResponse(std::string text, ModelStore& models);
v1::EmbedResponse ToProto(const Embeddings& result, ModelStore& models, double waited_ms = 0);
v1::Labels ToProto(const std::vector<CaptionLabel>& labels);
v1::ScoredChunk ToProto(const retrieval::ScoredChunk& chunk);
v1::Document ToProto(const retrieval::DocumentInfo& document);
v1::Document ToProto(const retrieval::Document& document);
v1::PutState ToProto(retrieval::PutOutcome outcome);
v1::PutResult ToProto(const retrieval::SkippedFile& skipped);
v1::VerifyCollectionResponse ToProto(const retrieval::VerifyReport& report);
v1::SnapshotCollectionResponse ToProto(const retrieval::SnapshotReport& report);
v1::Model ToProto(const ModelInfo& info);
v1::Adapter ToProto(const AdapterInfo& info);
v1::ModelIdentity ToIdentity(const ModelInfo& info);
v1::ModelIdentity ToIdentity(const std::string& name, const std::string& digest);
v1::FinishReason ToProto(language::FinishReason reason);

}  // namespace blazon::service::rpc
