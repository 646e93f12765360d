// A text embedder as a collection wants it.
#pragma once

#include "language/text_embedder.h"
#include "retrieval/embedder.h"

namespace blazon::service {

// `embedder` must outlive the result.
retrieval::Embedder CollectionEmbedder(const language::TextEmbedder& embedder);

}  // namespace blazon::service
