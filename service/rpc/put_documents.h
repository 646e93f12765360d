// IndexService.PutDocuments: documents as a stream of headers and bytes, indexed as they come.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "blazon/v1/index.pb.h"
#include "service/rpc/runtime.h"

namespace blazon::service::rpc {

// The reactor of one call; it owns itself.
grpc::ServerReadReactor<v1::PutDocumentsRequest>* StartPutDocuments(Runtime& runtime,
                                                                    grpc::CallbackServerContext* context,
                                                                    v1::PutDocumentsResponse* response);

}  // namespace blazon::service::rpc
