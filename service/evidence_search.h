// What the documents have to say to a question: search, then sentences, which the reader and the language model with
// the answering adapter judge.
//
// Thread safety: functions may be called from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/collection.h"
#include "retrieval/embedder.h"
#include "retrieval/extractive.h"
#include "service/reader.h"

namespace blazon::language {
struct Adapter;
class LanguageModel;
class Tokenizer;
}  // namespace blazon::language

namespace blazon::service {

// Why a chunk that was found is not among the sources.
enum class DropReason {
  kFitsBadly,  // it was read; others answer better, or none does
  kNoRoom,     // the model was to judge a sentence of it that is longer than context_tokens
  kNotRead,    // sentences of it were not looked at: chunks before it have as many as are
};

struct EvidenceQuery {
  std::string question;
  int64_t count = 10;  // chunks
  retrieval::Filter filter;
  int64_t context_tokens = 256;  // what the judge reads at once, at most
};

struct Evidence {
  std::vector<retrieval::ScoredChunk> chunks;        // as searched
  std::vector<retrieval::ScoredSentence> looked_at;  // all sentences of the chunks, up to 256
  std::vector<retrieval::ScoredSentence>
      sentences;                    // that answer, best first: one or two. Their score: the probability
  std::vector<DropReason> reasons;  // why chunk i is not used, if it is not
  double confidence = 0;            // the probability that one of the sentences answers
};

// What the language model judges passages with.
struct Judge {
  const language::LanguageModel& model;
  const language::Tokenizer& tokenizer;
  const language::Adapter& adapter;
};

// judge: null leaves the reader's word the last.
// kInvalidArgument: the question is longer than the embedder takes, or no sentence that was found fits into
// context_tokens. Else what the collection, the models and the reader say.
absl::StatusOr<Evidence> FindEvidence(const EvidenceQuery& query, const retrieval::Collection& collection,
                                      const retrieval::Embedder& embedder, const Reader& reader, const Judge* judge);

// That nothing fits into context_tokens.
absl::Status NothingFits(int64_t context_tokens);

}  // namespace blazon::service
