// Records for `blazon train sft` from a reading set: a passage, and questions that it answers or does not.
//
// A record's passage is a run of one document's sentences, drawn at random, with the title before it as the index puts
// it before a chunk. Its questions: those that a sentence of the run answers; some of the same document whose sentence
// lies outside, some that nothing in the document answers, and some of other documents that the embedder takes for
// this passage's. All but the first are to be refused. So the wording of a question does not tell whether it has an
// answer, and neither does its subject.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/embedder.h"
#include "service/training/reading_set.h"

namespace blazon::service {

struct AnswerRecordOptions {
  int64_t passes = 4;          // passages drawn of each document
  int64_t max_outside = 3;     // questions of a record whose sentence lies outside the passage
  int64_t max_unanswered = 3;  // of the document, without an answer
  int64_t max_others = 2;      // of other documents
  uint64_t seed = 1;
};

struct AnswerRecords {
  // JSON Lines as service/training/sft_data.h has them, {"prompt", "branches"}; in a random order.
  std::vector<std::string> training, held_out;
  int64_t answered = 0, refused = 0;  // branches of both
};

// Only documents with at least one answered question give records. Held-out documents get no question of others that
// are not, and the reverse. Errors: the embedder's; kInvalidArgument: an option out of range.
absl::StatusOr<AnswerRecords> MakeAnswerRecords(const std::vector<ReadingDocument>& documents,
                                                const retrieval::Embedder& embedder, const AnswerRecordOptions& options,
                                                const std::function<void(const std::string&)>& log);

}  // namespace blazon::service
