#include "language/sampled_sequence.h"

#include <string>
#include <utility>

#include "language/repetition.h"

namespace blazon::language {

SampledSequence::SampledSequence(GenerationRequest request, uint64_t seed, const LanguageModel& model,
                                 const Tokenizer& tokenizer, const std::vector<TokenId>& end_tokens)
    : Sequence(std::move(request), seed, model, tokenizer, end_tokens) {
  for (int64_t i = 0; i < request_.options.num_sequences; ++i)
    branches_.emplace_back(request_, seed + static_cast<uint64_t>(i), prompt_);
}

std::vector<int64_t> SampledSequence::Unfinished() const {
  std::vector<int64_t> indices;
  for (size_t i = 0; i < branches_.size(); ++i) {
    if (!branches_[i].finished) indices.push_back(static_cast<int64_t>(i));
  }
  return indices;
}

std::vector<ModelInput> SampledSequence::NextOfBranches() {
  std::vector<ModelInput> inputs;
  for (const int64_t i : Unfinished()) inputs.push_back(BranchInput(*branches_[i].state, branches_[i].result.tokens));
  return inputs;
}

absl::StatusOr<std::optional<FinishReason>> SampledSequence::Accept(const at::Tensor& logits) {
  NoteFirstToken();
  const std::vector<int64_t> indices = Unfinished();
  const bool shared = !prompt_state_taken();  // all first tokens are drawn from the one row of the prompt's end
  for (size_t row = 0; row < indices.size(); ++row) {
    const auto finished = Extend(indices[row], logits[shared ? 0 : static_cast<int64_t>(row)]);
    if (!finished.ok()) return finished.status();
    if (finished->has_value()) End(indices[row], **finished);
  }
  if (!sink_open()) return FinishReason::kCancelled;
  const std::vector<int64_t> left = Unfinished();
  if (shared) {
    std::unique_ptr<ModelState> prompt = TakePromptState();
    for (size_t i = 0; i < left.size(); ++i)
      branches_[left[i]].state = i + 1 < left.size() ? prompt->Fork() : std::move(prompt);
  }
  if (left.empty()) return branches_[0].finished;
  return std::nullopt;
}

absl::StatusOr<std::optional<FinishReason>> SampledSequence::Extend(int64_t index, const at::Tensor& logits) {
  Branch& branch = branches_[index];
  SamplingStep* step = nullptr;
  if (request_.options.explain > 0) step = &branch.result.steps.emplace_back();
  absl::StatusOr<TokenLogprob> choice = branch.sampler.Sample(logits, step);
  if (!choice.ok()) return choice.status();
  const TokenId id = choice->id;
  if (IsEndOfText(id)) return FinishReason::kEndOfText;
  if (IsStop(id)) return FinishReason::kStop;

  branch.result.tokens.push_back(id);
  branch.logprob_sum += choice->logprob;
  if (request_.options.top_logprobs >= 0) branch.result.logprobs.push_back(*std::move(choice));
  if (!Show(index, branch.text.Push(tokenizer_, id))) return FinishReason::kCancelled;
  if (branch.text.stopped()) return FinishReason::kStop;
  if (static_cast<int64_t>(branch.result.tokens.size()) >= max_output()) return FinishReason::kLength;
  if (!request_.options.allow_repetition && EndsInRepetition(branch.result.tokens)) return FinishReason::kRepetition;
  return std::nullopt;
}

bool SampledSequence::Show(int64_t index, std::string_view text) {
  branches_[index].result.text += text;
  return Send(index, text);
}

void SampledSequence::End(int64_t index, FinishReason reason) {
  Branch& branch = branches_[index];
  Show(index, branch.text.Finish());
  branch.finished = reason;
  branch.state = nullptr;
  branch.result.finish_reason = reason;
  branch.result.score = branch.logprob_sum;
  if (!branch.result.tokens.empty())
    branch.result.mean_logprob = branch.logprob_sum / static_cast<double>(branch.result.tokens.size());
}

void SampledSequence::Finish(FinishReason reason) {
  for (const int64_t i : Unfinished()) End(i, reason);
  std::vector<GeneratedSequence> sequences;
  for (Branch& branch : branches_) sequences.push_back(std::move(branch.result));
  Deliver(reason, std::move(sequences));
}

}  // namespace blazon::language
