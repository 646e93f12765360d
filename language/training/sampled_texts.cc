#include "language/training/sampled_texts.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "language/sampler.h"

namespace blazon::language {
namespace {

// A text that is being written.
struct Writing {
  Sampler sampler;
  std::unique_ptr<ModelState> state;
  SampledText* text;
};

at::Tensor TokenIds(absl::Span<const TokenId> tokens) {
  return at::tensor(std::vector<int64_t>(tokens.begin(), tokens.end()), at::kLong);
}

}  // namespace

absl::StatusOr<std::vector<std::vector<SampledText>>> SampleTexts(const LanguageModel& model, const Adapter* adapter,
                                                                  absl::Span<const std::vector<TokenId>> prompts,
                                                                  absl::Span<const std::vector<uint64_t>> seeds,
                                                                  absl::Span<const TokenId> end_tokens,
                                                                  const SampledTextOptions& options) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<SampledText>> texts(prompts.size());
  std::vector<std::unique_ptr<ModelState>> states;
  std::vector<ModelInput> inputs;
  std::vector<int64_t> last;
  int64_t rows = 0;
  for (const std::vector<TokenId>& prompt : prompts) {
    states.push_back(model.NewState());
    inputs.push_back({.tokens = TokenIds(prompt), .state = states.back().get(), .adapter = adapter});
    last.push_back((rows += std::ssize(prompt)) - 1);
  }
  at::Tensor hidden = model.Forward(inputs).index_select(0, at::tensor(last, at::kLong));  // [prompts, D]
  at::Tensor logits = model.Logits(hidden).contiguous();                                   // [prompts, V]

  GenerationOptions sampling;
  sampling.max_new_tokens = options.max_tokens;
  sampling.temperature = options.temperature;
  std::vector<Writing> writing;
  std::vector<int64_t> row_of;  // of logits, for each text that is being written
  for (size_t i = 0; i < prompts.size(); ++i) {
    texts[i].resize(seeds[i].size());
    for (size_t j = 0; j < seeds[i].size(); ++j) {
      const bool is_last = j + 1 == seeds[i].size();
      writing.push_back({.sampler = Sampler(sampling, seeds[i][j], prompts[i]),
                         .state = is_last ? std::move(states[i]) : states[i]->Fork(),
                         .text = &texts[i][j]});
      row_of.push_back(static_cast<int64_t>(i));
    }
  }
  while (!writing.empty()) {
    std::vector<Writing> still;
    inputs.clear();
    for (size_t i = 0; i < writing.size(); ++i) {
      Writing& each = writing[i];
      const absl::StatusOr<TokenLogprob> choice = each.sampler.Sample(logits[row_of[i]]);
      if (!choice.ok()) return choice.status();
      if (std::find(end_tokens.begin(), end_tokens.end(), choice->id) != end_tokens.end()) {
        each.text->end = choice->id;
        continue;
      }
      each.text->tokens.push_back(choice->id);
      const bool full = each.state->length() >= model.config().context_length;
      if (full || std::ssize(each.text->tokens) >= options.max_tokens) continue;
      inputs.push_back({.tokens = TokenIds({&choice->id, 1}), .state = each.state.get(), .adapter = adapter});
      still.push_back(std::move(each));
    }
    writing = std::move(still);
    if (writing.empty()) break;
    logits = model.Logits(model.Forward(inputs)).contiguous();  // [writing, V]
    row_of.resize(writing.size());
    for (size_t i = 0; i < row_of.size(); ++i) row_of[i] = static_cast<int64_t>(i);
  }
  return texts;
}

}  // namespace blazon::language
