#include "service/rpc/call.h"
#include "service/rpc/convert.h"
#include "service/rpc/paging.h"
#include "service/rpc/services.h"

namespace blazon::service::rpc {

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  return Compute(
      runtime_, context, request, response,
      [](const v1::ListModelsRequest& request, v1::ListModelsResponse& response, UnaryCall& call) -> absl::Status {
        const std::vector<ModelInfo> models = call.runtime().models().List();
        auto page =
            TakePage(models, request.page_size(), request.page_token(), [](const ModelInfo& m) { return m.name; });
        if (!page.ok()) return page.status();
        for (const ModelInfo& model : page->items) *response.add_models() = ToProto(model);
        response.set_next_page_token(page->next_page_token);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request, v1::GetModelResponse* response) {
  return Compute(
      runtime_, context, request, response,
      [](const v1::GetModelRequest& request, v1::GetModelResponse& response, UnaryCall& call) -> absl::Status {
        if (request.name().empty()) return FieldError("name", "is empty; ListModels gives the names");
        absl::StatusOr<ModelInfo> model = call.runtime().models().Get(request.name());
        if (!model.ok()) return WithReason(WithField(model.status(), "name"), "MODEL_NOT_FOUND");
        *response.mutable_model() = ToProto(*model);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ModelService::ListAdapters(grpc::CallbackServerContext* context,
                                                     const v1::ListAdaptersRequest* request,
                                                     v1::ListAdaptersResponse* response) {
  return Compute(
      runtime_, context, request, response,
      [](const v1::ListAdaptersRequest& request, v1::ListAdaptersResponse& response, UnaryCall& call) -> absl::Status {
        const AdapterStore& store = call.runtime().models().adapters();
        const std::vector<AdapterInfo> adapters = store.List();
        auto page =
            TakePage(adapters, request.page_size(), request.page_token(), [](const AdapterInfo& a) { return a.name; });
        if (!page.ok()) return page.status();
        for (const AdapterInfo& adapter : page->items) *response.add_adapters() = ToProto(adapter);
        response.set_next_page_token(page->next_page_token);
        for (std::string& source : store.Sources()) response.add_sources(std::move(source));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ModelService::LoadAdapter(grpc::CallbackServerContext* context,
                                                    const v1::LoadAdapterRequest* request,
                                                    v1::LoadAdapterResponse* response) {
  return Compute(
      runtime_, context, request, response,
      [](const v1::LoadAdapterRequest& request, v1::LoadAdapterResponse& response, UnaryCall& call) -> absl::Status {
        if (request.source().empty()) return FieldError("source", "is empty; ListAdapters gives what can be loaded");
        absl::StatusOr<AdapterInfo> adapter =
            call.runtime().models().LoadAdapter(request.source(), request.name(), request.replace());
        if (!adapter.ok()) return adapter.status();
        *response.mutable_adapter() = ToProto(*adapter);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ModelService::UnloadAdapter(grpc::CallbackServerContext* context,
                                                      const v1::UnloadAdapterRequest* request,
                                                      v1::UnloadAdapterResponse* response) {
  return Compute(runtime_, context, request, response,
                 [](const v1::UnloadAdapterRequest& request, v1::UnloadAdapterResponse& response,
                    UnaryCall& call) -> absl::Status {
                   if (request.name().empty()) return FieldError("name", "is empty; ListAdapters gives the names");
                   absl::StatusOr<AdapterInfo> adapter = call.runtime().models().adapters().Unload(request.name());
                   if (absl::IsNotFound(adapter.status()))
                     return WithReason(WithField(adapter.status(), "name"), "ADAPTER_NOT_FOUND");
                   if (!adapter.ok()) return adapter.status();
                   *response.mutable_adapter() = ToProto(*adapter);
                   return absl::OkStatus();
                 });
}

}  // namespace blazon::service::rpc
