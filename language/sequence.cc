#include "language/sequence.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"

namespace blazon::language {
namespace {

double Milliseconds(Sequence::Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

int64_t Length(const PromptPart& part) {
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&part)) return static_cast<int64_t>(tokens->size());
  return std::get<at::Tensor>(part).size(0);
}

// int64 [n]
at::Tensor Ids(absl::Span<const TokenId> tokens) {
  const std::vector<int64_t> wide(tokens.begin(), tokens.end());
  return at::tensor(at::IntArrayRef(wide), at::kLong);
}

// The prompt as the sampler's penalties see it: image tokens are no words.
std::vector<TokenId> Words(const Prompt& prompt) {
  std::vector<TokenId> words;
  for (const PromptPart& part : prompt) {
    if (const auto* tokens = std::get_if<std::vector<TokenId>>(&part))
      words.insert(words.end(), tokens->begin(), tokens->end());
    else
      words.insert(words.end(), Length(part), -1);
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
      end_tokens_(end_tokens),
      sampler_(request_.options, seed, Words(request_.prompt)),
      text_(request_.options.stop),
      submitted_(Clock::now()) {
  for (const PromptPart& part : request_.prompt) {
    prompt_length_ += Length(part);
    if (std::holds_alternative<at::Tensor>(part)) result_.image_tokens += Length(part);
  }
  result_.prompt_tokens = prompt_length_;
  result_.seed = seed;
}

std::optional<FinishReason> Sequence::Interrupted(Clock::time_point now) const {
  if (cancelled || !sink_open_) return FinishReason::kCancelled;
  if (now >= request_.deadline) return FinishReason::kDeadline;
  return std::nullopt;
}

ModelInput Sequence::Next(int64_t prompt_tokens) {
  if (state_ == nullptr) {
    state_ = model_.NewState();
    started_ = Clock::now();
  }
  if (state_->length() > read_) state_->Truncate(read_);  // a step failed half-way
  ModelInput input;
  input.state = state_.get();
  input.adapter = request_.adapter.get();
  if (prompt_tokens_left() == 0) {
    input.tokens = Ids({&last_token_, 1});
    return input;
  }
  // The pieces of the parts that lie in [begin, end) of the prompt. Tokens are embedded only beside image tokens.
  const int64_t begin = read_, end = std::min(prompt_length_, begin + prompt_tokens);
  std::vector<at::Tensor> pieces;
  bool all_tokens = true;
  for (int pass = 0; pass < 2 && (pass == 0 || !all_tokens); ++pass) {
    pieces.clear();
    int64_t offset = 0;  // of the part in the prompt
    for (const PromptPart& part : request_.prompt) {
      const int64_t from = std::max(begin, offset) - offset, to = std::min(end, offset + Length(part)) - offset;
      offset += Length(part);
      if (from >= to) continue;
      if (const auto* tokens = std::get_if<std::vector<TokenId>>(&part)) {
        const at::Tensor ids = Ids(absl::MakeConstSpan(*tokens).subspan(from, to - from));
        pieces.push_back(all_tokens ? ids : model_.Embed(ids));
      } else {
        all_tokens = false;
        pieces.push_back(std::get<at::Tensor>(part).narrow(0, from, to - from));
      }
    }
  }
  (all_tokens ? input.tokens : input.embeddings) = pieces.size() == 1 ? pieces[0] : at::cat(pieces);
  return input;
}

absl::StatusOr<std::optional<FinishReason>> Sequence::Accept(const at::Tensor& logits) {
  absl::StatusOr<TokenLogprob> choice = sampler_.Sample(logits);
  if (!choice.ok()) return choice.status();
  if (!first_token_) first_token_ = Clock::now();
  last_token_ = choice->id;
  if (!request_.options.ignore_eos && Contains(end_tokens_, last_token_)) return FinishReason::kEndOfText;
  if (Contains(request_.options.stop_token_ids, last_token_)) return FinishReason::kStop;

  result_.tokens.push_back(last_token_);
  logprob_sum_ += choice->logprob;
  if (request_.options.top_logprobs >= 0) result_.logprobs.push_back(*std::move(choice));
  const std::string text =
      tokenizer_.IsSpecial(last_token_) ? std::string() : text_.Push(tokenizer_.TokenBytes(last_token_));
  if (!Send(text)) return FinishReason::kCancelled;
  if (text_.stopped()) return FinishReason::kStop;
  const int64_t generated = static_cast<int64_t>(result_.tokens.size());
  if (generated >= request_.options.max_new_tokens || prompt_length_ + generated >= model_.config().context_length) {
    return FinishReason::kLength;
  }
  return std::nullopt;
}

bool Sequence::Send(std::string_view text) {
  if (!text.empty() && sink_open_) sink_open_ = request_.sink->OnText(text);
  return sink_open_;
}

void Sequence::Finish(FinishReason reason) {
  Send(text_.Finish());
  const Clock::time_point now = Clock::now(), started = started_.value_or(now), first = first_token_.value_or(now);
  result_.finish_reason = reason;
  if (!result_.tokens.empty()) result_.mean_logprob = logprob_sum_ / static_cast<double>(result_.tokens.size());
  result_.queue_ms = Milliseconds(started - submitted_);
  result_.prefill_ms = Milliseconds(first - started);
  result_.generate_ms = Milliseconds(now - first);
  request_.sink->OnDone(std::move(result_));
}

void Sequence::Fail(const absl::Status& status) { request_.sink->OnDone(status); }

}  // namespace blazon::language
