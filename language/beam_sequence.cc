#include "language/beam_sequence.h"

#include <ATen/ops/log_softmax.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include "language/repetition.h"
#include "language/token_logprobs.h"

namespace blazon::language {
namespace {

bool Better(const GeneratedSequence& a, const GeneratedSequence& b) { return a.score > b.score; }

}  // namespace

BeamSequence::BeamSequence(GenerationRequest request, uint64_t seed, const LanguageModel& model,
                           const Tokenizer& tokenizer, const std::vector<TokenId>& end_tokens)
    : Sequence(std::move(request), seed, model, tokenizer, end_tokens),
      group_beams_(request_.options.num_beams / request_.options.num_beam_groups),
      groups_(request_.options.num_beam_groups) {
  for (Group& group : groups_) {  // each begins with one beam without tokens
    group.running.push_back({.processor = LogitsProcessor(request_.options, prompt_),
                             .text = TextStream(request_.options.stop, request_.begins_text),
                             .state = nullptr,
                             .tokens = {},
                             .logprobs = {}});
  }
}

std::vector<ModelInput> BeamSequence::NextOfBranches() {
  std::vector<ModelInput> inputs;
  for (const Group& group : groups_) {
    for (const Beam& beam : group.running) inputs.push_back(BranchInput(*beam.state, beam.tokens));
  }
  return inputs;
}

absl::StatusOr<std::optional<FinishReason>> BeamSequence::Accept(const at::Tensor& logits) {
  const bool first = !prompt_state_taken();
  NoteFirstToken();
  const at::Tensor logprobs = at::log_softmax(logits, -1).contiguous();  // [n, V]
  const int64_t vocabulary = logprobs.size(1);
  const float* row = logprobs.const_data_ptr<float>();
  if (first) {
    const std::unique_ptr<ModelState> prompt = TakePromptState();
    for (Group& group : groups_) group.running[0].state = prompt->Fork();
  }
  std::vector<float> penalty(request_.options.num_beam_groups > 1 ? vocabulary : 0);  // of the groups before
  for (Group& group : groups_) {
    if (group.running.empty()) continue;
    Scores scores;
    for (const Beam& beam : group.running) {
      std::vector<float>& processed = scores.processed.emplace_back(row, row + vocabulary);
      if (!std::isfinite(*std::max_element(processed.begin(), processed.end())) || std::isnan(processed[0]))
        return absl::InternalError("the model gave logits that are not finite; its weights may be damaged");
      beam.processor.Process(processed);
      for (size_t id = 0; id < penalty.size(); ++id) processed[id] -= penalty[id];
      scores.logprobs.push_back(row);
      if (!first) row += vocabulary;  // at first all groups read the one row of the prompt's end
    }
    Step(group, scores);
    if (penalty.empty()) continue;
    for (const Beam& beam : group.running)
      penalty[beam.tokens.back()] += static_cast<float>(request_.options.diversity_penalty);
  }
  const bool over =
      std::all_of(groups_.begin(), groups_.end(), [](const Group& group) { return group.running.empty(); });
  if (!over) return std::nullopt;
  const Group& best = *std::max_element(groups_.begin(), groups_.end(), [](const Group& a, const Group& b) {
    return a.hypotheses[0].score < b.hypotheses[0].score;
  });
  return best.hypotheses[0].finish_reason;
}

void BeamSequence::Step(Group& group, const Scores& scores) {
  std::vector<Continuation> running;
  const std::vector<Continuation> best = BestContinuations(group, scores);
  for (size_t rank = 0; rank < best.size(); ++rank) {
    const Continuation& continuation = best[rank];
    const Beam& beam = group.running[continuation.beam];
    const std::optional<FinishReason> end = EndsWith(beam, continuation.token);
    if (!end) {
      if (static_cast<int64_t>(running.size()) < group_beams_) running.push_back(continuation);
    } else if (static_cast<int64_t>(rank) < group_beams_) {
      AddHypothesis(group, beam, continuation, *end, scores.logprobs[continuation.beam]);
    }
  }
  if (best.empty()) {  // every continuation is banned, as it would repeat an n-gram
    for (const Beam& beam : group.running) group.hypotheses.push_back(ToHypothesis(beam, FinishReason::kRepetition));
    std::stable_sort(group.hypotheses.begin(), group.hypotheses.end(), Better);
    if (static_cast<int64_t>(group.hypotheses.size()) > group_beams_) group.hypotheses.resize(group_beams_);
  }

  std::vector<int64_t> heirs(group.running.size(), 0);
  for (const Continuation& continuation : running) ++heirs[continuation.beam];
  std::vector<Beam> next;
  for (const Continuation& continuation : running) {
    Beam& from = group.running[continuation.beam];
    const bool last = --heirs[continuation.beam] == 0;
    next.push_back({.processor = from.processor,
                    .text = from.text,
                    .state = last ? std::move(from.state) : from.state->Fork(),
                    .tokens = from.tokens,
                    .logprobs = from.logprobs,
                    .logprob_sum = from.logprob_sum,
                    .score = continuation.score});
    Beam& beam = next.back();
    const float* logprobs = scores.logprobs[continuation.beam];
    beam.processor.Push(continuation.token);
    if (!request_.options.stop.empty()) beam.text.Push(tokenizer_, continuation.token);
    beam.tokens.push_back(continuation.token);
    beam.logprob_sum += logprobs[continuation.token];
    if (request_.options.top_logprobs >= 0) {
      beam.logprobs.push_back(LogprobOf(continuation.token, logprobs,
                                        static_cast<int64_t>(scores.processed[continuation.beam].size()),
                                        /*normaliser=*/0, request_.options.top_logprobs));
    }
  }
  group.running.swap(next);
  if (IsOver(group)) group.running.clear();
}

std::vector<BeamSequence::Continuation> BeamSequence::BestContinuations(const Group& group,
                                                                        const Scores& scores) const {
  std::set<TokenId> ends(request_.options.stop_token_ids.begin(), request_.options.stop_token_ids.end());
  if (!request_.options.ignore_eos) ends.insert(end_tokens().begin(), end_tokens().end());
  const size_t count = std::max<size_t>(2, 1 + ends.size()) * static_cast<size_t>(group_beams_);

  const auto better = [](const Continuation& a, const Continuation& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  };
  std::vector<Continuation> best;  // a heap with the worst one in front
  for (size_t beam = 0; beam < group.running.size(); ++beam) {
    const float sum = group.running[beam].score;
    const std::vector<float>& processed = scores.processed[beam];
    for (size_t token = 0; token < processed.size(); ++token) {
      const float score = sum + processed[token];
      if (best.size() == count && score <= best.front().score) continue;  // nearly always; later ones lose ties
      if (!(score > -std::numeric_limits<float>::infinity())) continue;   // banned
      if (best.size() == count) {
        std::pop_heap(best.begin(), best.end(), better);
        best.pop_back();
      }
      best.push_back({score, beam, static_cast<TokenId>(token)});
      std::push_heap(best.begin(), best.end(), better);
    }
  }
  std::sort_heap(best.begin(), best.end(), better);
  return best;
}

std::optional<FinishReason> BeamSequence::EndsWith(const Beam& beam, TokenId token) const {
  if (IsEndOfText(token)) return FinishReason::kEndOfText;
  if (IsStop(token)) return FinishReason::kStop;
  if (!request_.options.stop.empty()) {
    TextStream text = beam.text;
    text.Push(tokenizer_, token);
    if (text.stopped()) return FinishReason::kStop;
  }
  const int64_t length = static_cast<int64_t>(beam.tokens.size()) + 1;
  if (length >= max_output()) return FinishReason::kLength;
  if (!request_.options.allow_repetition && length >= kFewestRepeatedTokens) {
    std::vector<TokenId> tokens = beam.tokens;
    tokens.push_back(token);
    if (EndsInRepetition(tokens)) return FinishReason::kRepetition;
  }
  return std::nullopt;
}

void BeamSequence::AddHypothesis(Group& group, const Beam& beam, const Continuation& continuation, FinishReason reason,
                                 const float* logprobs) {
  GeneratedSequence hypothesis = ToHypothesis(beam, reason);
  double logprob_sum = beam.logprob_sum;
  if (!IsEndOfText(continuation.token) && !IsStop(continuation.token)) {  // the token that ends is part of the output
    hypothesis.tokens.push_back(continuation.token);
    logprob_sum += logprobs[continuation.token];
    if (request_.options.top_logprobs >= 0) {
      hypothesis.logprobs.push_back(LogprobOf(continuation.token, logprobs, model_.config().vocabulary_size,
                                              /*normaliser=*/0, request_.options.top_logprobs));
    }
    hypothesis.mean_logprob = logprob_sum / static_cast<double>(hypothesis.tokens.size());
  }
  hypothesis.score = FinalScore(continuation.score, static_cast<int64_t>(beam.tokens.size()) + 1);
  auto& kept = group.hypotheses;
  kept.insert(std::upper_bound(kept.begin(), kept.end(), hypothesis, Better), std::move(hypothesis));
  if (static_cast<int64_t>(kept.size()) > group_beams_) kept.pop_back();
}

bool BeamSequence::IsOver(const Group& group) const {
  if (group.running.empty()) return true;
  if (static_cast<int64_t>(group.hypotheses.size()) < group_beams_) return false;
  const EarlyStopping early_stopping = request_.options.early_stopping;
  if (early_stopping == EarlyStopping::kFirst) return true;
  const bool longest = early_stopping == EarlyStopping::kNever && request_.options.length_penalty > 0;
  const int64_t length = longest ? max_output() : static_cast<int64_t>(group.running[0].tokens.size());
  return FinalScore(group.running[0].score, length) <= group.hypotheses.back().score;
}

GeneratedSequence BeamSequence::ToHypothesis(const Beam& beam, FinishReason reason) const {
  const auto length = static_cast<int64_t>(beam.tokens.size());
  GeneratedSequence hypothesis;
  hypothesis.finish_reason = reason;
  hypothesis.tokens = beam.tokens;
  hypothesis.logprobs = beam.logprobs;
  if (length > 0) {
    hypothesis.mean_logprob = beam.logprob_sum / static_cast<double>(length);
    hypothesis.score = FinalScore(beam.score, length);
  }
  return hypothesis;
}

float BeamSequence::FinalScore(float sum, int64_t tokens) const {
  return sum / static_cast<float>(std::pow(static_cast<double>(tokens), request_.options.length_penalty));
}

void BeamSequence::Finish(FinishReason reason) {
  std::vector<GeneratedSequence> best;
  for (Group& group : groups_) {
    std::move(group.hypotheses.begin(), group.hypotheses.end(), std::back_inserter(best));
    for (const Beam& beam : group.running) {
      if (!beam.tokens.empty()) best.push_back(ToHypothesis(beam, reason));
    }
  }
  std::stable_sort(best.begin(), best.end(), Better);
  if (static_cast<int64_t>(best.size()) > request_.options.num_sequences) best.resize(request_.options.num_sequences);
  for (size_t i = 0; i < best.size(); ++i) {
    TextStream text(request_.options.stop, request_.begins_text);
    for (const TokenId id : best[i].tokens) best[i].text += text.Push(tokenizer_, id);
    best[i].text += text.Finish();
    Send(static_cast<int64_t>(i), best[i].text);
  }
  Deliver(reason, std::move(best));
}

}  // namespace blazon::language
