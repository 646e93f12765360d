#include "language/sequence.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "language/prompt_checks.h"
#include "language/token_logprobs.h"

namespace blazon::language {
namespace {

double Milliseconds(Sequence::Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// int64 [n]
at::Tensor Ids(absl::Span<const TokenId> tokens) {
  const std::vector<int64_t> wide(tokens.begin(), tokens.end());
  return at::tensor(at::IntArrayRef(wide), at::kLong);
}

// The prompt as penalties see it: image tokens are no words.
std::vector<TokenId> Words(const Prompt& prompt) {
  std::vector<TokenId> words;
  for (const PromptPart& part : prompt) {
    if (const auto* tokens = std::get_if<std::vector<TokenId>>(&part))
      words.insert(words.end(), tokens->begin(), tokens->end());
    else
      words.insert(words.end(), PartLength(part), -1);
  }
  return words;
}

bool Contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Sequence::Sequence(GenerationRequest request, uint64_t seed, const LanguageModel& model, const Tokenizer& tokenizer,
                   const std::vector<TokenId>& end_tokens)
    : request_(std::move(request)),
      model_(model),
      tokenizer_(tokenizer),
      prompt_(Words(request_.prompt)),
      end_tokens_(end_tokens),
      prompt_length_(static_cast<int64_t>(prompt_.size())),
      memory_length_(model.config().memory_width > 0 ? PartLength(request_.prompt.front()) : 0),
      submitted_(Clock::now()) {
  result_.image_tokens = std::count(prompt_.begin(), prompt_.end(), -1);
  result_.prompt_tokens = prompt_length_;
  result_.seed = seed;
  if (request_.options.echo) result_.prompt = prompt_;
}

std::optional<FinishReason> Sequence::Interrupted(Clock::time_point now) const {
  if (cancelled || !sink_open_) return FinishReason::kCancelled;
  if (now >= request_.deadline) return FinishReason::kDeadline;
  return std::nullopt;
}

int64_t Sequence::PromptChunk(int64_t budget, bool whole) const {
  if (read_ < memory_length_) return whole || memory_length_ <= budget ? memory_length_ : 0;
  const int64_t end = std::min(prompt_length_, read_ + budget);
  for (const TokenSpan& span : request_.bidirectional) {
    if (span.end <= end || span.begin >= end) continue;
    if (span.begin > read_) return span.begin - read_;
    return whole ? span.end - read_ : 0;
  }
  return end - read_;
}

std::vector<ModelInput> Sequence::Next(int64_t prompt_tokens) {
  if (prompt_tokens_left() == 0) return NextOfBranches();
  if (prompt_state_ == nullptr) {
    prompt_state_ = model_.NewState();
    started_ = Clock::now();
  }
  if (prompt_state_->length() > read_) prompt_state_->Truncate(read_);  // a step failed half-way
  ModelInput input;
  input.state = prompt_state_.get();
  input.adapter = request_.adapter.get();
  // The pieces of the parts that lie in [begin, end) of the prompt. Tokens are embedded only beside image tokens.
  const int64_t begin = read_, end = begin + prompt_tokens;
  chunk_spans_.clear();
  for (const TokenSpan& span : request_.bidirectional) {
    if (span.begin >= begin && span.end <= end) chunk_spans_.push_back({span.begin - begin, span.end - begin});
  }
  input.bidirectional = chunk_spans_;
  std::vector<at::Tensor> pieces;
  bool all_tokens = true;
  for (int pass = 0; pass < 2 && (pass == 0 || !all_tokens); ++pass) {
    pieces.clear();
    int64_t offset = 0;  // of the part in the prompt
    for (const PromptPart& part : request_.prompt) {
      const int64_t from = std::max(begin, offset) - offset, to = std::min(end, offset + PartLength(part)) - offset;
      offset += PartLength(part);
      if (from >= to) continue;
      if (const auto* tokens = std::get_if<std::vector<TokenId>>(&part)) {
        const at::Tensor ids = Ids(absl::MakeConstSpan(*tokens).subspan(from, to - from));
        pieces.push_back(all_tokens ? ids : model_.Embed(ids));
      } else {
        all_tokens = false;
        pieces.push_back(std::get<at::Tensor>(part).narrow(0, from, to - from).to(model_.device()));
      }
    }
  }
  (all_tokens ? input.tokens : input.embeddings) = pieces.size() == 1 ? pieces[0] : at::cat(pieces);
  return {input};
}

ModelInput Sequence::BranchInput(ModelState& state, absl::Span<const TokenId> output) const {
  const int64_t read = prompt_length_ + static_cast<int64_t>(output.size()) - 1;
  if (state.length() > read) state.Truncate(read);  // a step failed half-way
  ModelInput input;
  input.state = &state;
  input.adapter = request_.adapter.get();
  input.tokens = Ids(output.last(1));
  return input;
}

std::vector<TokenLogprob> Sequence::ScorePrompt(const at::Tensor& logits) const {
  std::vector<TokenLogprob> scores;
  const at::Tensor logprobs = at::log_softmax(logits, -1).cpu().contiguous();  // [T, V]
  const int64_t vocabulary = logprobs.size(1);
  for (int64_t row = 0; row < logprobs.size(0) && read_ + row + 1 < prompt_length_; ++row) {
    const TokenId next = prompt_[read_ + row + 1];
    if (next < 0 || read_ + row < memory_length_) continue;  // an image token; the memory predicts nothing
    scores.push_back(LogprobOf(next, logprobs.const_data_ptr<float>() + row * vocabulary, vocabulary,
                               /*normaliser=*/0, request_.options.prompt_logprobs));
  }
  return scores;
}

void Sequence::Read(int64_t rows, std::vector<TokenLogprob> scores) {
  if (prompt_tokens_left() == 0) return;  // each branch counts its own tokens
  read_ += rows;
  std::move(scores.begin(), scores.end(), std::back_inserter(result_.prompt_logprobs));
}

int64_t Sequence::max_output() const {
  return std::min(request_.options.max_new_tokens, model_.config().context_length - prompt_length_);
}

bool Sequence::IsEndOfText(TokenId id) const { return !request_.options.ignore_eos && Contains(end_tokens_, id); }
bool Sequence::IsStop(TokenId id) const { return Contains(request_.options.stop_token_ids, id); }

bool Sequence::Send(int64_t index, std::string_view text) {
  if (!text.empty() && sink_open_)
    sink_open_ = index == 0 ? request_.sink->OnText(text) : request_.sink->OnSequenceText(index, text);
  return sink_open_;
}

void Sequence::NoteFirstToken() {
  if (!first_token_) first_token_ = Clock::now();
}

void Sequence::Deliver(FinishReason reason, std::vector<GeneratedSequence> sequences) {
  const Clock::time_point now = Clock::now(), started = started_.value_or(now), first = first_token_.value_or(now);
  result_.finish_reason = reason;
  result_.queue_ms = Milliseconds(started - submitted_);
  result_.prefill_ms = Milliseconds(first - started);
  result_.generate_ms = Milliseconds(now - first);
  if (!sequences.empty()) {
    result_.tokens = sequences[0].tokens;
    result_.logprobs = sequences[0].logprobs;
    if (width() == 1) result_.steps = std::move(sequences[0].steps);
    result_.mean_logprob = sequences[0].mean_logprob;
  }
  if (width() > 1) result_.sequences = std::move(sequences);
  request_.sink->OnDone(std::move(result_));
}

void Sequence::Fail(const absl::Status& status) { request_.sink->OnDone(status); }

}  // namespace blazon::language
