// The trained reader over what search found: which sentence answers a question, and whether any does.
//
// Thread safety: every method may be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/text_embedder.h"
#include "retrieval/collection.h"
#include "retrieval/extractive.h"

namespace blazon::service {

// What the reader is told of a sentence beside its words: cosine, content, weakest, question_words, and the cosine of
// its chunk. The order belongs to the trained weights.
std::vector<float> ReaderFeatures(const retrieval::ScoredSentence& sentence, const retrieval::ScoredChunk& chunk);
inline constexpr int64_t kReaderFeatures = 5;

struct Reading {
  double rank = 0;     // the higher, the better it answers; comparable among the sentences of one question
  double answers = 0;  // probability that it answers at all
};

class Reader {
 public:
  // `embedder` must outlive the result. kFailedPrecondition: the weights belong to another embedder.
  // kNotFound, kDataLoss, kInvalidArgument: the file is missing or broken.
  static absl::StatusOr<std::unique_ptr<Reader>> Load(const std::filesystem::path& file,
                                                      const language::TextEmbedder& embedder);
  virtual ~Reader() = default;

  // Element i is of sentences[i]. chunks: those that the sentences' chunk_index points into. The question and each
  // passage have at most the embedder's max_tokens tokens (what RankSentences gives has).
  virtual absl::StatusOr<std::vector<Reading>> Read(const std::string& question,
                                                    absl::Span<const retrieval::ScoredSentence> sentences,
                                                    absl::Span<const retrieval::ScoredChunk> chunks) const = 0;
};

}  // namespace blazon::service
