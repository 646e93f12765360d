#include "service/reranker.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/embedder_loader.h"
#include "service/checkpoint/weights_digest.h"

namespace blazon::service {

absl::StatusOr<std::unique_ptr<Reranker>> Reranker::Open(const std::filesystem::path& folder) {
  absl::StatusOr<std::unique_ptr<language::PassageScorer>> scorer = LoadReranker(folder);
  if (!scorer.ok()) return scorer.status();
  absl::StatusOr<std::string> digest = WeightsDigest({folder / "model.safetensors"}).Get();
  if (!digest.ok()) return digest.status();
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::canonical(folder, error);
  return std::unique_ptr<Reranker>(
      new Reranker(*std::move(scorer), (error ? folder : whole).filename().string(), *std::move(digest)));
}

absl::StatusOr<std::vector<retrieval::ScoredChunk>> Reranker::Rerank(const std::string& query,
                                                                     std::vector<retrieval::ScoredChunk> chunks) const {
  std::vector<std::string> passages;
  for (const retrieval::ScoredChunk& chunk : chunks) {
    const bool headed = !chunk.heading_path.empty() && chunk.heading_path != chunk.title;
    passages.push_back(absl::StrCat(chunk.title, chunk.title.empty() ? "" : "\n", headed ? chunk.heading_path : "",
                                    headed ? "\n" : "", chunk.text));
  }
  const absl::StatusOr<std::vector<float>> scores = scorer_->Score(query, passages);
  if (!scores.ok()) return scores.status();
  std::vector<size_t> order(chunks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return (*scores)[a] > (*scores)[b]; });
  std::vector<retrieval::ScoredChunk> ordered;
  for (const size_t place : order) {
    ordered.push_back(std::move(chunks[place]));
    ordered.back().score = 1 / (1 + std::exp(-static_cast<double>((*scores)[place])));
  }
  return ordered;
}

absl::StatusOr<std::vector<retrieval::ScoredChunk>> SearchReranked(const retrieval::Collection& collection,
                                                                   retrieval::Query query, int64_t depth,
                                                                   const Reranker* reranker) {
  if (depth == 0) return collection.Search(query);
  if (reranker == nullptr) {
    return absl::FailedPreconditionError(
        "there is no reranker here; start 'blazon serve', or the command without --server, with --reranker DIR, the "
        "folder of a cross-encoder");
  }
  const auto count = static_cast<size_t>(query.count);
  query.count = depth;
  absl::StatusOr<std::vector<retrieval::ScoredChunk>> chunks = collection.Search(query);
  if (!chunks.ok()) return chunks.status();
  chunks = reranker->Rerank(query.text, *std::move(chunks));
  if (chunks.ok() && chunks->size() > count) chunks->resize(count);
  return chunks;
}

}  // namespace blazon::service
