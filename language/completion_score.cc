#include "language/completion_score.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "language/prompt_checks.h"
#include "language/sampled_sequence.h"

namespace blazon::language {
namespace {

constexpr int64_t kScoreChunk = 256;

}  // namespace

std::vector<TokenLogprob> ScoreCompletion(const LanguageModel& model, const Tokenizer& tokenizer,
                                          GenerationRequest read, absl::Span<const TokenId> completion) {
  const c10::InferenceMode guard;
  int64_t prompt_length = 0;
  for (const PromptPart& part : read.prompt) prompt_length += PartLength(part);
  const std::vector<TokenId> text(completion.begin(), completion.end());
  const std::vector<int64_t> wide(completion.begin(), completion.end());
  const at::Tensor ids = at::tensor(at::IntArrayRef(wide), at::kLong);  // [T]
  read.prompt.emplace_back(text);
  const std::vector<TokenId> no_end_tokens;
  // For the reading of the prompt alone: it is never asked for a token.
  SampledSequence sequence(std::move(read), /*seed=*/0, model, tokenizer, no_end_tokens);
  std::vector<TokenLogprob> scores;
  for (int64_t begin = 0; sequence.prompt_tokens_left() > 1;) {  // the last token predicts nothing that is scored
    const int64_t end = begin + sequence.PromptChunk(kScoreChunk, /*whole=*/true);
    const at::Tensor hidden = model.Forward(sequence.Next(end - begin));  // [end - begin, D]
    sequence.Read(end - begin, {});
    // Row r predicts token r + 1.
    const int64_t from = std::max({begin, prompt_length - 1, int64_t{0}});
    const int64_t until = std::min(end, prompt_length + ids.size(0) - 1);
    if (from < until) {
      const at::Tensor logprobs =
          at::log_softmax(model.Logits(hidden.slice(0, from - begin, until - begin).contiguous()), -1);  // [n, V]
      const int64_t first = from + 1 - prompt_length;  // of the completion
      const at::Tensor chosen =
          logprobs.gather(1, ids.slice(0, first, first + until - from).unsqueeze(1).to(logprobs.device()))
              .squeeze(1)
              .cpu()
              .contiguous();  // [n]
      for (int64_t row = 0; row < chosen.size(0); ++row) {
        scores.push_back({.id = text[first + row], .logprob = chosen.const_data_ptr<float>()[row], .top = {}});
      }
    }
    begin = end;
  }
  return scores;
}

}  // namespace blazon::language
