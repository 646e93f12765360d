#include <chrono>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "retrieval/collection_care.h"
#include "service/answer_threshold.h"
#include "service/reranker.h"
#include "service/rpc/call.h"
#include "service/rpc/convert.h"
#include "service/rpc/convert_retrieval.h"
#include "service/rpc/paging.h"
#include "service/rpc/put_documents.h"
#include "service/rpc/services.h"

namespace blazon::service::rpc {
namespace {

constexpr int kMaxDeletions = 1000;

absl::Status Describe(CollectionStore& collections, const std::string& name, v1::Collection& out) {
  absl::StatusOr<CollectionStore::Handle> collection = collections.Use(name);
  if (!collection.ok()) return collection.status();
  absl::StatusOr<retrieval::CollectionStats> stats = (*collection)->Stats();
  if (!stats.ok()) return stats.status();
  out = ToProto(name, *stats);
  return absl::OkStatus();
}

absl::Status Search(const v1::SearchRequest& request, v1::SearchResponse& response, UnaryCall& call) {
  absl::StatusOr<retrieval::Query> query = FromProto(request);
  if (!query.ok()) return query.status();
  const absl::StatusOr<int64_t> depth = RerankDepth(request, query->count);
  if (!depth.ok()) return depth.status();
  absl::StatusOr<CollectionStore::Handle> collection = call.runtime().collections().Use(request.collection());
  if (!collection.ok()) return collection.status();
  const auto start = std::chrono::steady_clock::now();
  const Reranker* reranker = call.runtime().reranker();
  absl::StatusOr<std::vector<retrieval::ScoredChunk>> chunks = SearchReranked(**collection, *query, *depth, reranker);
  if (!chunks.ok()) return chunks.status();
  for (const retrieval::ScoredChunk& chunk : *chunks) *response.add_results() = ToProto(chunk);
  response.mutable_timings()->set_queue_ms(call.waited_ms());
  response.mutable_timings()->set_retrieve_ms(
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  if (query->mode != retrieval::SearchMode::kWords) {
    *response.mutable_embedder() = ToIdentity(call.runtime().models().Info(ModelRole::kEmbedder));
  }
  if (*depth > 0) *response.mutable_reranker() = ToIdentity(*reranker);
  return absl::OkStatus();
}

absl::Status ListDocuments(const v1::ListDocumentsRequest& request, v1::ListDocumentsResponse& response,
                           UnaryCall& call) {
  absl::StatusOr<int> page_size = PageSize(request.page_size());
  if (!page_size.ok()) return page_size.status();
  absl::StatusOr<retrieval::Filter> filter = FromProto(request.filter());
  if (!filter.ok()) return filter.status();
  absl::StatusOr<CollectionStore::Handle> collection = call.runtime().collections().Use(request.collection());
  if (!collection.ok()) return collection.status();
  absl::StatusOr<retrieval::DocumentPage> page = (*collection)->List(*page_size, request.page_token(), *filter);
  if (!page.ok()) return page.status();
  for (const retrieval::DocumentInfo& document : page->documents) *response.add_documents() = ToProto(document);
  response.set_next_page_token(page->next_page_token);
  return absl::OkStatus();
}

absl::Status GetDocument(const v1::GetDocumentRequest& request, v1::GetDocumentResponse& response, UnaryCall& call) {
  if (request.id().empty()) return FieldError("id", "is empty; ListDocuments gives the ids");
  absl::StatusOr<CollectionStore::Handle> collection = call.runtime().collections().Use(request.collection());
  if (!collection.ok()) return collection.status();
  absl::StatusOr<retrieval::Document> document = (*collection)->Get(request.id());
  if (!document.ok()) return document.status();
  *response.mutable_document() = ToProto(*document);
  response.set_text(std::move(document->text));
  return absl::OkStatus();
}

absl::Status DeleteDocuments(const v1::DeleteDocumentsRequest& request, v1::DeleteDocumentsResponse& response,
                             UnaryCall& call) {
  if (request.ids_size() < 1 || request.ids_size() > kMaxDeletions) {
    return FieldError("ids", absl::StrCat("has ", request.ids_size(), " entries; its range is 1 to ", kMaxDeletions));
  }
  absl::StatusOr<CollectionStore::Handle> collection = call.runtime().collections().Use(request.collection());
  if (!collection.ok()) return collection.status();
  const std::vector<std::string> ids(request.ids().begin(), request.ids().end());
  absl::StatusOr<int64_t> deleted = (*collection)->Delete(ids);
  if (!deleted.ok()) return deleted.status();
  response.set_deleted(static_cast<int32_t>(*deleted));
  return absl::OkStatus();
}

absl::Status UpdateCollection(const v1::UpdateCollectionRequest& request, v1::UpdateCollectionResponse& response,
                              UnaryCall& call) {
  std::optional<double> refuse_below;
  if (request.has_refuse_below()) {
    refuse_below = request.refuse_below();
    if (!CheckRefuseBelow(*refuse_below).ok())
      return FieldError("refuse_below", absl::StrCat("is ", *refuse_below, "; its range is 0 to 1"));
  }
  CollectionStore& collections = call.runtime().collections();
  {
    absl::StatusOr<CollectionStore::Handle> collection = collections.Use(request.collection());
    if (!collection.ok()) return collection.status();
    if (absl::Status status = KeepRefuseBelow(**collection, refuse_below); !status.ok()) return status;
  }
  return Describe(collections, request.collection(), *response.mutable_collection());
}

absl::Status VerifyCollection(const v1::VerifyCollectionRequest& request, v1::VerifyCollectionResponse& response,
                              UnaryCall& call) {
  const absl::StatusOr<std::filesystem::path> folder = call.runtime().collections().Folder(request.collection());
  if (!folder.ok()) return folder.status();
  const absl::StatusOr<retrieval::VerifyReport> report = retrieval::VerifyCollection(*folder);
  if (!report.ok()) return report.status();
  response = ToProto(*report);
  return absl::OkStatus();
}

absl::Status SnapshotCollection(const v1::SnapshotCollectionRequest& request, v1::SnapshotCollectionResponse& response,
                                UnaryCall& call) {
  CollectionStore& collections = call.runtime().collections();
  const absl::StatusOr<std::filesystem::path> folder = collections.Folder(request.collection());
  if (!folder.ok()) return folder.status();
  if (!CollectionStore::CheckName(request.snapshot()).ok()) {
    return FieldError("snapshot",
                      "is not a name: 1 to 64 letters, digits, '-', '_' and '.', the first a letter or a digit");
  }
  const absl::StatusOr<retrieval::SnapshotReport> report =
      retrieval::SnapshotCollection(*folder, collections.snapshots_folder() / request.snapshot());
  if (!report.ok()) return report.status();
  response = ToProto(*report);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* IndexService::CreateCollection(grpc::CallbackServerContext* context,
                                                         const v1::CreateCollectionRequest* request,
                                                         v1::CreateCollectionResponse* response) {
  return Compute(
      runtime_, context, request, response,
      [](const v1::CreateCollectionRequest& request, v1::CreateCollectionResponse& response, UnaryCall& call) {
        CollectionStore& collections = call.runtime().collections();
        absl::StatusOr<retrieval::IndexKind> index = FromProto(request.index());
        if (!index.ok()) return index.status();
        absl::Status status = collections.Create(request.collection(), *index);
        return status.ok() ? Describe(collections, request.collection(), *response.mutable_collection()) : status;
      });
}

grpc::ServerUnaryReactor* IndexService::GetCollection(grpc::CallbackServerContext* context,
                                                      const v1::GetCollectionRequest* request,
                                                      v1::GetCollectionResponse* response) {
  return Compute(runtime_, context, request, response,
                 [](const v1::GetCollectionRequest& request, v1::GetCollectionResponse& response, UnaryCall& call) {
                   return Describe(call.runtime().collections(), request.collection(), *response.mutable_collection());
                 });
}

grpc::ServerUnaryReactor* IndexService::ListCollections(grpc::CallbackServerContext* context,
                                                        const v1::ListCollectionsRequest* request,
                                                        v1::ListCollectionsResponse* response) {
  return Compute(runtime_, context, request, response,
                 [](const v1::ListCollectionsRequest& request, v1::ListCollectionsResponse& response,
                    UnaryCall& call) -> absl::Status {
                   absl::StatusOr<std::vector<std::string>> names = call.runtime().collections().List();
                   if (!names.ok()) return names.status();
                   auto page = TakePage(*names, request.page_size(), request.page_token(),
                                        [](const std::string& name) { return name; });
                   if (!page.ok()) return page.status();
                   response.mutable_collections()->Assign(page->items.begin(), page->items.end());
                   response.set_next_page_token(page->next_page_token);
                   return absl::OkStatus();
                 });
}

grpc::ServerUnaryReactor* IndexService::DeleteCollection(grpc::CallbackServerContext* context,
                                                         const v1::DeleteCollectionRequest* request,
                                                         v1::DeleteCollectionResponse* response) {
  return Compute(runtime_, context, request, response,
                 [](const v1::DeleteCollectionRequest& request, v1::DeleteCollectionResponse&, UnaryCall& call) {
                   return call.runtime().collections().Delete(request.collection());
                 });
}

grpc::ServerUnaryReactor* IndexService::UpdateCollection(grpc::CallbackServerContext* context,
                                                         const v1::UpdateCollectionRequest* request,
                                                         v1::UpdateCollectionResponse* response) {
  return Compute(runtime_, context, request, response, rpc::UpdateCollection);
}

grpc::ServerReadReactor<v1::PutDocumentsRequest>* IndexService::PutDocuments(grpc::CallbackServerContext* context,
                                                                             v1::PutDocumentsResponse* response) {
  return StartPutDocuments(runtime_, context, response);
}

grpc::ServerUnaryReactor* IndexService::DeleteDocuments(grpc::CallbackServerContext* context,
                                                        const v1::DeleteDocumentsRequest* request,
                                                        v1::DeleteDocumentsResponse* response) {
  return Compute(runtime_, context, request, response, rpc::DeleteDocuments);
}

grpc::ServerUnaryReactor* IndexService::GetDocument(grpc::CallbackServerContext* context,
                                                    const v1::GetDocumentRequest* request,
                                                    v1::GetDocumentResponse* response) {
  return Compute(runtime_, context, request, response, rpc::GetDocument);
}

grpc::ServerUnaryReactor* IndexService::ListDocuments(grpc::CallbackServerContext* context,
                                                      const v1::ListDocumentsRequest* request,
                                                      v1::ListDocumentsResponse* response) {
  return Compute(runtime_, context, request, response, rpc::ListDocuments);
}

grpc::ServerUnaryReactor* IndexService::Search(grpc::CallbackServerContext* context, const v1::SearchRequest* request,
                                               v1::SearchResponse* response) {
  return Compute(runtime_, context, request, response, rpc::Search);
}

grpc::ServerUnaryReactor* IndexService::VerifyCollection(grpc::CallbackServerContext* context,
                                                         const v1::VerifyCollectionRequest* request,
                                                         v1::VerifyCollectionResponse* response) {
  return Compute(runtime_, context, request, response, rpc::VerifyCollection);
}

grpc::ServerUnaryReactor* IndexService::SnapshotCollection(grpc::CallbackServerContext* context,
                                                           const v1::SnapshotCollectionRequest* request,
                                                           v1::SnapshotCollectionResponse* response) {
  return Compute(runtime_, context, request, response, rpc::SnapshotCollection);
}

}  // namespace blazon::service::rpc
