// What `index add --preview` shows: the pieces that documents would be cut into.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "retrieval/document_loader.h"
#include "retrieval/embedder.h"
#include "service/cli/backend.h"

namespace blazon::service::cli {

// Reads the files that the request names and cuts them as indexing would, one after another; `show` gets each chunk in
// order. Files that cannot be read are in the report as refused, or the error of the first with request.strict.
absl::StatusOr<AddReport> PreviewChunks(const AddRequest& request, const retrieval::LoaderOptions& loader,
                                        const retrieval::Embedder& embedder,
                                        const std::function<void(const PreviewedChunk&)>& show);

}  // namespace blazon::service::cli
