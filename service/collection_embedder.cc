#include "service/collection_embedder.h"

#include <utility>

namespace blazon::service {

retrieval::Embedder CollectionEmbedder(const language::TextEmbedder& embedder) {
  retrieval::Embedder result;
  result.dimension = embedder.dimension();
  result.max_tokens = embedder.max_tokens();
  result.fingerprint = embedder.fingerprint();
  result.count_tokens = [&embedder](std::string_view text) { return embedder.CountTokens(text); };
  result.embed = [&embedder](absl::Span<const std::string> texts) { return embedder.Embed(texts); };
  result.embed_pieces =
      [&embedder](
          absl::Span<const std::vector<std::string>> texts) -> absl::StatusOr<std::vector<retrieval::PieceVectors>> {
    absl::StatusOr<std::vector<language::PieceEmbeddings>> embedded = embedder.EmbedPieces(texts);
    if (!embedded.ok()) return embedded.status();
    std::vector<retrieval::PieceVectors> vectors;
    for (language::PieceEmbeddings& text : *embedded) vectors.push_back({std::move(text.text), std::move(text.pieces)});
    return vectors;
  };
  return result;
}

}  // namespace blazon::service
