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

}  // namespace blazon::service::rpc
