// Puts search results into a better order: a cross-encoder reads the query beside each of the best pieces.
//
// Thread safety: const; all methods may be called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "language/passage_scorer.h"
#include "retrieval/collection.h"

namespace blazon::service {

class Reranker {
 public:
  // From the folder of a BertForSequenceClassification of one label (LoadReranker says what is refused).
  static absl::StatusOr<std::unique_ptr<Reranker>> Open(const std::filesystem::path& folder);

  // The chunks by how well they answer the query, best first; each score becomes the probability that it does, the
  // sigmoid of the model's logit. The model reads title and headings before a chunk's text, as the embedder does.
  // kInvalidArgument: query and a chunk are longer together than the model reads.
  absl::StatusOr<std::vector<retrieval::ScoredChunk>> Rerank(const std::string& query,
                                                             std::vector<retrieval::ScoredChunk> chunks) const;

  const std::string& name() const { return name_; }      // the folder's
  const std::string& digest() const { return digest_; }  // "sha256:..." of the weights

 private:
  Reranker(std::unique_ptr<language::PassageScorer> scorer, std::string name, std::string digest)
      : scorer_(std::move(scorer)), name_(std::move(name)), digest_(std::move(digest)) {}
  std::unique_ptr<language::PassageScorer> scorer_;
  const std::string name_, digest_;
};

// What the collection finds; with depth > 0 the best `depth` chunks, ordered anew, the first query.count of them.
// kFailedPrecondition: depth > 0, and `reranker` is null.
absl::StatusOr<std::vector<retrieval::ScoredChunk>> SearchReranked(const retrieval::Collection& collection,
                                                                   retrieval::Query query, int64_t depth,
                                                                   const Reranker* reranker);

}  // namespace blazon::service
