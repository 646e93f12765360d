// The five services, as gRPC registers them. Each method checks, enqueues and returns at once.
#pragma once

#include "blazon/v1/answer.grpc.pb.h"
#include "blazon/v1/caption.grpc.pb.h"
#include "blazon/v1/generation.grpc.pb.h"
#include "blazon/v1/index.grpc.pb.h"
#include "blazon/v1/model.grpc.pb.h"
#include "service/rpc/runtime.h"

namespace blazon::service::rpc {

class CaptionService final : public v1::CaptionService::CallbackService {
 public:
  explicit CaptionService(Runtime& runtime) : runtime_(runtime) {}
  grpc::ServerUnaryReactor* Caption(grpc::CallbackServerContext* context, const v1::CaptionRequest* request,
                                    v1::CaptionResponse* response) override;
  grpc::ServerWriteReactor<v1::StreamCaptionResponse>* StreamCaption(grpc::CallbackServerContext* context,
                                                                     const v1::StreamCaptionRequest* request) override;
  grpc::ServerBidiReactor<v1::CaptionImagesRequest, v1::CaptionImagesResponse>* CaptionImages(
      grpc::CallbackServerContext* context) override;

 private:
  Runtime& runtime_;
};

class AnswerService final : public v1::AnswerService::CallbackService {
 public:
  explicit AnswerService(Runtime& runtime) : runtime_(runtime) {}
  grpc::ServerUnaryReactor* Ask(grpc::CallbackServerContext* context, const v1::AskRequest* request,
                                v1::AskResponse* response) override;
  grpc::ServerWriteReactor<v1::StreamAskResponse>* StreamAsk(grpc::CallbackServerContext* context,
                                                             const v1::StreamAskRequest* request) override;

 private:
  Runtime& runtime_;
};

class GenerationService final : public v1::GenerationService::CallbackService {
 public:
  explicit GenerationService(Runtime& runtime) : runtime_(runtime) {}
  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* context, const v1::GenerateRequest* request,
                                     v1::GenerateResponse* response) override;
  grpc::ServerWriteReactor<v1::StreamGenerateResponse>* StreamGenerate(
      grpc::CallbackServerContext* context, const v1::StreamGenerateRequest* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context, const v1::EmbedRequest* request,
                                  v1::EmbedResponse* response) override;

 private:
  Runtime& runtime_;
};

class IndexService final : public v1::IndexService::CallbackService {
 public:
  explicit IndexService(Runtime& runtime) : runtime_(runtime) {}
  grpc::ServerUnaryReactor* CreateCollection(grpc::CallbackServerContext* context,
                                             const v1::CreateCollectionRequest* request,
                                             v1::CreateCollectionResponse* response) override;
  grpc::ServerUnaryReactor* GetCollection(grpc::CallbackServerContext* context, const v1::GetCollectionRequest* request,
                                          v1::GetCollectionResponse* response) override;
  grpc::ServerUnaryReactor* ListCollections(grpc::CallbackServerContext* context,
                                            const v1::ListCollectionsRequest* request,
                                            v1::ListCollectionsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteCollection(grpc::CallbackServerContext* context,
                                             const v1::DeleteCollectionRequest* request,
                                             v1::DeleteCollectionResponse* response) override;
  grpc::ServerUnaryReactor* UpdateCollection(grpc::CallbackServerContext* context,
                                             const v1::UpdateCollectionRequest* request,
                                             v1::UpdateCollectionResponse* response) override;
  grpc::ServerReadReactor<v1::PutDocumentsRequest>* PutDocuments(grpc::CallbackServerContext* context,
                                                                 v1::PutDocumentsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDocuments(grpc::CallbackServerContext* context,
                                            const v1::DeleteDocumentsRequest* request,
                                            v1::DeleteDocumentsResponse* response) override;
  grpc::ServerUnaryReactor* GetDocument(grpc::CallbackServerContext* context, const v1::GetDocumentRequest* request,
                                        v1::GetDocumentResponse* response) override;
  grpc::ServerUnaryReactor* ListDocuments(grpc::CallbackServerContext* context, const v1::ListDocumentsRequest* request,
                                          v1::ListDocumentsResponse* response) override;
  grpc::ServerUnaryReactor* Search(grpc::CallbackServerContext* context, const v1::SearchRequest* request,
                                   v1::SearchResponse* response) override;
  grpc::ServerUnaryReactor* VerifyCollection(grpc::CallbackServerContext* context,
                                             const v1::VerifyCollectionRequest* request,
                                             v1::VerifyCollectionResponse* response) override;
  grpc::ServerUnaryReactor* SnapshotCollection(grpc::CallbackServerContext* context,
                                               const v1::SnapshotCollectionRequest* request,
                                               v1::SnapshotCollectionResponse* response) override;

 private:
  Runtime& runtime_;
};

class ModelService final : public v1::ModelService::CallbackService {
 public:
  explicit ModelService(Runtime& runtime) : runtime_(runtime) {}
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerUnaryReactor* ListAdapters(grpc::CallbackServerContext* context, const v1::ListAdaptersRequest* request,
                                         v1::ListAdaptersResponse* response) override;
  grpc::ServerUnaryReactor* LoadAdapter(grpc::CallbackServerContext* context, const v1::LoadAdapterRequest* request,
                                        v1::LoadAdapterResponse* response) override;
  grpc::ServerUnaryReactor* UnloadAdapter(grpc::CallbackServerContext* context, const v1::UnloadAdapterRequest* request,
                                          v1::UnloadAdapterResponse* response) override;

 private:
  Runtime& runtime_;
};

}  // namespace blazon::service::rpc
