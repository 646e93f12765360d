#include "service/answerer.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "language/text_embedder.h"
#include "retrieval/extractive.h"
#include "service/answer_evidence.h"
#include "service/answer_prompt.h"
#include "service/answer_support.h"
#include "service/answer_threshold.h"
#include "service/captioner.h"
#include "service/evidence_search.h"
#include "service/language_runtime.h"
#include "service/milliseconds_since.h"
#include "service/passage_judge.h"
#include "service/question_completion.h"
#include "service/reader.h"

namespace blazon::service {
namespace {

constexpr size_t kMaxQuestionBytes = 8192;
constexpr int64_t kMaxCount = 50;
constexpr int64_t kMinContextTokens = 16, kMaxContextTokens = 4096;
constexpr size_t kMaxImages = 4, kMaxTurns = 64;
constexpr size_t kMaxStops = 15;  // one of the model's sixteen ends the answer at its line

// The thresholds are calibrated on held-out documents of assets/reading and on tests/reference/dev_questions.tsv; how
// they came about, assets/reader/README.md and assets/answerer/README.md tell.
constexpr size_t kSentencesRead = 1;   // by the model: with two, SmolLM2-135M mixes them up
constexpr double kRefuseBelow = 0.25;  // of the probability that the best sentence answers
constexpr double kLowConfidenceBelow = 0.3;
constexpr double kRefuseJudgedBelow = 0.168, kLowJudgedBelow = 0.25;

absl::Status OutOfRange(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; it must be ", low, " to ", high));
}

absl::Status CheckRequest(const AskRequest& request) {
  if (absl::StripAsciiWhitespace(request.question).empty())
    return absl::InvalidArgumentError("question is empty; ask something");
  if (request.question.size() > kMaxQuestionBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("question has ", request.question.size(), " bytes; the limit is ", kMaxQuestionBytes));
  }
  if (request.count < 1 || request.count > kMaxCount) return OutOfRange("count", request.count, 1, kMaxCount);
  if (request.context_tokens < kMinContextTokens || request.context_tokens > kMaxContextTokens) {
    return OutOfRange("context_tokens", request.context_tokens, kMinContextTokens, kMaxContextTokens);
  }
  if (request.images.size() > kMaxImages) {
    return absl::InvalidArgumentError(
        absl::StrCat("images has ", request.images.size(), " entries; the limit is ", kMaxImages));
  }
  if (request.turns.size() > kMaxTurns) {
    return absl::InvalidArgumentError(
        absl::StrCat("turns has ", request.turns.size(), " entries; the limit is ", kMaxTurns));
  }
  if (request.options.stop.size() > kMaxStops) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop has ", request.options.stop.size(), " strings; for an answer the limit is ", kMaxStops));
  }
  return request.refuse_below.has_value() ? CheckRefuseBelow(*request.refuse_below) : absl::OkStatus();
}

// What support is looked for in: the sentences that were looked at, whose chunk_index points into the result's sources,
// and on into its dropped chunks.
using Sentences = std::vector<retrieval::ScoredSentence>;

// Chunks that hold sentences become sources, in the order of the sentences; the others are dropped.
Sentences Attribute(Evidence evidence, AnswerResult& result) {
  std::map<size_t, int64_t> source_of;  // index of the chunk -> index of the source
  if (result.outcome != AnswerOutcome::kNoAnswer) {
    for (const retrieval::ScoredSentence& sentence : evidence.sentences) {
      const retrieval::ScoredChunk& chunk = evidence.chunks[sentence.chunk_index];
      const auto [source, added] = source_of.emplace(sentence.chunk_index, result.sources.size());
      if (added) result.sources.push_back(chunk);
      result.sentences.push_back({.source = source->second,
                                  .text = sentence.text,
                                  .byte_begin = static_cast<int64_t>(sentence.span.begin),
                                  .byte_end = static_cast<int64_t>(sentence.span.end),
                                  .line = LineOf(chunk, sentence.span),
                                  .score = std::clamp(sentence.score, 0.0, 1.0)});
    }
  }
  std::vector<size_t> piece_of(evidence.chunks.size());
  for (size_t i = 0; i < evidence.chunks.size(); ++i) {
    if (const auto source = source_of.find(i); source != source_of.end()) {
      piece_of[i] = static_cast<size_t>(source->second);
      continue;
    }
    piece_of[i] = result.sources.size() + result.dropped.size();
    result.dropped.push_back(std::move(evidence.chunks[i]));
    result.drop_reasons.push_back(evidence.reasons[i]);
  }
  for (retrieval::ScoredSentence& sentence : evidence.looked_at) sentence.chunk_index = piece_of[sentence.chunk_index];
  return std::move(evidence.looked_at);
}

// Fills support from the text.
absl::Status Support(const Sentences& sentences, const retrieval::Embedder& embedder, AnswerResult& result) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<const retrieval::ScoredChunk*> pieces;
  for (const retrieval::ScoredChunk& chunk : result.sources) pieces.push_back(&chunk);
  for (const retrieval::ScoredChunk& chunk : result.dropped) pieces.push_back(&chunk);
  std::vector<SourceSentence> sources;
  for (const retrieval::ScoredSentence& sentence : sentences)
    sources.push_back({sentence.chunk_index, sentence.span, sentence.vector, sentence.score});
  absl::StatusOr<std::vector<AnswerSentence>> support =
      FindSupport(result.asked, result.text, pieces, sources, embedder);
  if (!support.ok()) return support.status();
  result.support = *std::move(support);
  result.support_ms = MillisecondsSince(start);
  return absl::OkStatus();
}

// Makes request.question the whole question: completed from the conversation, with what its pictures show behind it.
absl::Status Complete(ModelStore& models, AskRequest& request, AnswerResult& result) {
  if (request.rewrite) request.question = CompleteQuestion(request.question, request.turns);
  Captioner captioner(models);
  for (std::string& image : request.images) {
    CaptionRequest caption;
    caption.image = std::move(image);
    caption.options.seed = request.options.seed;
    caption.deadline = request.deadline;
    absl::StatusOr<CaptionResult> seen = captioner.Caption(caption);
    if (!seen.ok()) return seen.status();
    result.decode_ms += seen->decode_ms;
    result.encode_ms += seen->encode_ms;
    absl::StrAppend(&request.question, " (", absl::StripSuffix(seen->text, "."), ")");
    result.image_captions.push_back(std::move(seen->text));
  }
  result.asked = request.question;
  return absl::OkStatus();
}

// What the model reads: the best sentence, under its title and headings where the answering adapter reads, and the
// question.
absl::StatusOr<std::vector<language::TokenId>> PromptTokens(const AskRequest& request, const AnswerResult& result,
                                                            const language::Tokenizer& tokenizer, bool adapted) {
  const SupportingSentence& sentence = result.sentences.front();
  if (adapted) {
    const retrieval::ScoredChunk& source = result.sources[sentence.source];
    const std::string passage = AnswerPassage(source.title, source.heading_path, sentence.text);
    if (static_cast<int64_t>(tokenizer.Encode(passage).size()) <= request.context_tokens)
      return AnswerTokens(tokenizer, passage, request.question);
  } else {
    const AnswerPrompt prompt =
        BuildAnswerPrompt(request.question, {sentence.text}, kSentencesRead, request.context_tokens,
                          [&](std::string_view text) { return static_cast<int64_t>(tokenizer.Encode(text).size()); });
    if (!prompt.used.empty()) return tokenizer.Encode(prompt.text);
  }
  return NothingFits(request.context_tokens);
}

std::string ExtractiveText(const std::vector<SupportingSentence>& sentences) {
  return absl::StrJoin(sentences, " ",
                       [](std::string* out, const SupportingSentence& sentence) { out->append(sentence.text); });
}

// Holds the generated answer back until it can be checked against the sentences, then passes it on in one piece.
// SmolLM2-135M invents numbers; an answer that is not grounded is replaced by the sentence itself.
class CheckAnswer : public language::TextSink {
 public:
  CheckAnswer(AnswerResult so_far, Sentences sentences, retrieval::Embedder embedder, std::shared_ptr<AnswerSink> sink)
      : result_(std::move(so_far)),
        sentences_(std::move(sentences)),
        embedder_(std::move(embedder)),
        sink_(std::move(sink)) {}

  bool OnText(std::string_view text) override {
    result_.text += text;
    return true;
  }

  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override {
    if (!result.ok()) return sink_->OnDone(result.status());
    result_.result = *result;
    result_.text = std::string(absl::StripAsciiWhitespace(result_.text));
    const bool ended = result->finish_reason != language::FinishReason::kCancelled &&
                       result->finish_reason != language::FinishReason::kDeadline;
    const SupportingSentence& read = result_.sentences.front();
    const retrieval::ScoredChunk& source = result_.sources[read.source];
    if (ended && !IsGrounded(result_.text, absl::StrCat(source.title, "\n", source.heading_path, "\n", read.text),
                             result_.asked)) {
      result_.text = read.text;
      result_.extractive = true;
    }
    if (!result_.text.empty()) sink_->OnText(result_.text);
    if (ended) {
      if (absl::Status status = Support(sentences_, embedder_, result_); !status.ok()) return sink_->OnDone(status);
    }
    sink_->OnDone(std::move(result_));
  }

 private:
  AnswerResult result_;
  const Sentences sentences_;
  const retrieval::Embedder embedder_;
  std::shared_ptr<AnswerSink> sink_;
};

class AnswerWait : public AnswerSink {
 public:
  bool OnSources(const AnswerResult&) override { return true; }
  bool OnText(std::string_view) override { return true; }
  void OnDone(const absl::StatusOr<AnswerResult>& result) override { promise_.set_value(result); }
  absl::StatusOr<AnswerResult> Get() { return promise_.get_future().get(); }

 private:
  std::promise<absl::StatusOr<AnswerResult>> promise_;
};

}  // namespace

language::GenerationOptions AskRequest::DefaultOptions() {
  language::GenerationOptions options;
  options.max_new_tokens = 64;
  return options;
}

absl::StatusOr<CancelFunction> Answerer::Start(const AskRequest& request, const retrieval::Collection& collection,
                                               std::shared_ptr<AnswerSink> sink) {
  if (absl::Status status = CheckRequest(request); !status.ok()) return status;
  LanguageRuntime* runtime = nullptr;
  if (!request.extractive) {
    absl::StatusOr<LanguageRuntime*> loaded = models_.Language();
    if (!loaded.ok()) return loaded.status();
    runtime = *loaded;
    const language::LanguageModelConfig& config = runtime->loaded.model->config();
    if (absl::Status status = language::Validate(request.options, config.vocabulary_size, config.context_length);
        !status.ok())
      return status;
  }
  absl::StatusOr<retrieval::Embedder> embedder = models_.CollectionEmbedder();
  if (!embedder.ok()) return embedder.status();
  absl::StatusOr<const Reader*> reader = models_.ReaderModel();
  if (!reader.ok()) return reader.status();
  std::optional<Judge> judge;
  std::shared_ptr<const language::Adapter> adapter;  // null: extractive, or the adapter is for another model
  if (runtime != nullptr) {
    absl::StatusOr<std::shared_ptr<const language::Adapter>> loaded = models_.AnswerAdapter();
    if (!loaded.ok()) return loaded.status();
    adapter = *std::move(loaded);
    if (adapter != nullptr) judge.emplace(*runtime->loaded.model, *runtime->loaded.tokenizer, *adapter);
  }
  AnswerResult result;
  AskRequest whole = request;
  if (absl::Status status = Complete(models_, whole, result); !status.ok()) return status;
  const auto start = std::chrono::steady_clock::now();
  absl::StatusOr<Evidence> evidence =
      FindEvidence({whole.question, whole.count, whole.filter, whole.context_tokens}, collection, *embedder, **reader,
                   judge.has_value() ? &*judge : nullptr);
  if (!evidence.ok()) return evidence.status();

  result.confidence = evidence->confidence;
  result.refuse_below = judge.has_value() ? kRefuseJudgedBelow : kRefuseBelow;
  if (request.refuse_below.has_value()) {
    result.refuse_below = *request.refuse_below;
  } else if (judge.has_value()) {
    const absl::StatusOr<std::optional<double>> kept = KeptRefuseBelow(collection);
    if (!kept.ok()) return kept.status();
    result.refuse_below = kept->value_or(result.refuse_below);
  }
  const double low = judge.has_value() ? kLowJudgedBelow : kLowConfidenceBelow;
  result.outcome = evidence->sentences.empty() || evidence->confidence < result.refuse_below ? AnswerOutcome::kNoAnswer
                   : evidence->confidence < low ? AnswerOutcome::kLowConfidence
                                                : AnswerOutcome::kAnswered;
  result.extractive = request.extractive;
  Sentences sentences = Attribute(*std::move(evidence), result);

  std::vector<language::TokenId> prompt;
  if (result.outcome != AnswerOutcome::kNoAnswer && !request.extractive) {
    absl::StatusOr<std::vector<language::TokenId>> tokens =
        PromptTokens(whole, result, *runtime->loaded.tokenizer, /*adapted=*/adapter != nullptr);
    if (!tokens.ok()) return tokens.status();
    prompt = *std::move(tokens);
  }
  result.retrieve_ms = MillisecondsSince(start);
  if (!sink->OnSources(result)) return absl::CancelledError("the caller went away");

  if (result.outcome == AnswerOutcome::kNoAnswer || request.extractive) {
    result.text =
        result.outcome == AnswerOutcome::kNoAnswer ? std::string(kNoAnswerText) : ExtractiveText(result.sentences);
    if (result.outcome != AnswerOutcome::kNoAnswer) {
      if (absl::Status status = Support(sentences, *embedder, result); !status.ok()) return status;
    }
    sink->OnText(result.text);
    sink->OnDone(std::move(result));
    return CancelFunction([] {});
  }
  language::GenerationRequest generation;
  generation.prompt = {std::move(prompt)};
  generation.adapter = std::move(adapter);
  generation.options = request.options;
  generation.options.stop.push_back("\n");
  generation.deadline = request.deadline;
  generation.sink =
      std::make_shared<CheckAnswer>(std::move(result), std::move(sentences), *std::move(embedder), std::move(sink));
  return runtime->scheduler->Submit(std::move(generation));
}

absl::StatusOr<AnswerResult> Answerer::Ask(const AskRequest& request, const retrieval::Collection& collection) {
  auto wait = std::make_shared<AnswerWait>();
  absl::StatusOr<CancelFunction> started = Start(request, collection, wait);
  if (!started.ok()) return started.status();
  return wait->Get();
}

}  // namespace blazon::service
