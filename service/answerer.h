// A question over a collection to an answer with its sources: complete it from the conversation and with what its
// pictures show, search, narrow to the best sentences, let the reader and the language model with the answering adapter
// choose among them or refuse, generate, and find what bears out each sentence of the answer.
//
// Thread safety: every method may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/generation_options.h"
#include "language/generation_result.h"
#include "retrieval/collection.h"
#include "service/answer_support.h"
#include "service/evidence_search.h"
#include "service/model_store.h"
#include "service/question_completion.h"
#include "service/text_generator.h"

namespace blazon::service {

struct AskRequest {
  std::string question;
  std::vector<std::string> images;  // of the question, at most 4: the bytes of JPEG, PNG, WebP or BMP files
  std::vector<EarlierTurn> turns;   // what was asked and answered before, oldest first, at most 64
  bool rewrite = true;              // complete the question from `turns`
  int64_t count = 10;               // chunks to retrieve, 1 .. 50
  retrieval::Filter filter;         // which documents to look at
  bool extractive = false;          // answer with the supporting sentences themselves; the language model is not used
  int64_t context_tokens = 256;     // budget of the text put before the model, 16 .. 4096
  // Confidence below which the question is refused, 0 .. 1. Default: what is kept with the collection
  // (answer_threshold.h; not when extractive, or when the model has no answering adapter), else the program's own.
  std::optional<double> refuse_below;
  language::GenerationOptions options = DefaultOptions();
  Deadline deadline = kNoDeadline;

  // Greedy, at most 64 new tokens.
  static language::GenerationOptions DefaultOptions();
};

enum class AnswerOutcome {
  kAnswered,
  kLowConfidence,  // the chunks touch the question but the evidence is thin; the answer is given and marked
  kNoAnswer,       // refused: nothing in the documents fits. AnswerResult::text is kNoAnswerText
};
inline constexpr std::string_view kNoAnswerText = "No answer in these documents.";

// A sentence of a source, word for word.
struct SupportingSentence {
  int64_t source = 0;                    // index into AnswerResult::sources
  std::string text;                      // verbatim
  int64_t byte_begin = 0, byte_end = 0;  // in the document's text
  int64_t line = 0;
  double score = 0;  // 0 .. 1, the probability that it answers: the reader's, or with the adapter's that of its passage
};

struct AnswerResult {
  AnswerOutcome outcome = AnswerOutcome::kAnswered;
  // The question that was searched for and answered: as given, or completed from the conversation, with
  // `image_captions` behind it.
  std::string asked;
  std::vector<std::string> image_captions;  // what the captioner said of each of the request's images
  std::string text;
  std::vector<retrieval::ScoredChunk> sources;  // the chunks that hold `sentences`, best first; empty when refused
  // The other chunks that were found: they fit too badly, or there was no room.
  std::vector<retrieval::ScoredChunk> dropped;
  std::vector<DropReason> drop_reasons;  // of each of `dropped`
  // One or two, best first; the model reads the first that fits. Empty when refused.
  std::vector<SupportingSentence> sentences;
  // Each sentence of `text`, and what bears it out; a citation's piece is an index into `sources` and on into
  // `dropped`. Empty when refused, and when generation was cancelled or ran out of time.
  std::vector<AnswerSentence> support;
  double confidence = 0;    // 0 .. 1, the probability that one of the sentences answers; the thresholds are put on it
  double refuse_below = 0;  // the threshold
  // The text is the documents' own: as asked, or because what the model wrote was not borne out by them.
  bool extractive = false;
  language::GenerationResult result;    // empty when refused or extractive
  double decode_ms = 0, encode_ms = 0;  // of the images
  double retrieve_ms = 0;               // embedding the question, searching, choosing sentences
  double support_ms = 0;                // finding what bears the answer out
};

// Receives one answer: the sources, then text, then OnDone exactly once.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  // `so_far` has what is known before there is a text: all but support and result. Returns false to cancel. Called even
  // when the answer will be refused.
  virtual bool OnSources(const AnswerResult& so_far) = 0;
  // The answer, in one piece: it is checked against the sentences first. Returns false to cancel.
  virtual bool OnText(std::string_view text) = 0;
  virtual void OnDone(const absl::StatusOr<AnswerResult>& result) = 0;
};

class Answerer {
 public:
  explicit Answerer(ModelStore& models) : models_(models) {}  // models must outlive it

  // Captions the images and searches on the calling thread, and calls OnSources from it; text and OnDone come from the
  // scheduler's thread, or from the calling one when the answer is refused or extractive. On an error the sink is not
  // called. `collection` is not kept.
  absl::StatusOr<CancelFunction> Start(const AskRequest& request, const retrieval::Collection& collection,
                                       std::shared_ptr<AnswerSink> sink);

  // The same, and waits.
  absl::StatusOr<AnswerResult> Ask(const AskRequest& request, const retrieval::Collection& collection);

 private:
  ModelStore& models_;
};

}  // namespace blazon::service
