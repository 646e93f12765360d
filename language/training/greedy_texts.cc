#include "language/training/greedy_texts.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <memory>

namespace blazon::language {
namespace {

at::Tensor Ids(absl::Span<const TokenId> tokens) {
  return at::tensor(std::vector<int64_t>(tokens.begin(), tokens.end()), at::kLong);
}

}  // namespace

std::vector<std::vector<TokenId>> GreedyTexts(const LanguageModel& model, const Adapter* adapter,
                                              absl::Span<const std::vector<TokenId>> prompts,
                                              absl::Span<const TokenId> end_tokens, int64_t max_tokens) {
  const at::NoGradGuard no_grad;
  // All but the last token of the shortest at most, so that each prompt has a row that predicts.
  size_t common = prompts[0].size() - 1;
  for (const std::vector<TokenId>& prompt : prompts) {
    common = std::min(common, prompt.size() - 1);
    size_t same = 0;
    while (same < common && prompt[same] == prompts[0][same]) ++same;
    common = same;
  }
  std::unique_ptr<ModelState> shared = model.NewState();
  if (common > 0) {
    const ModelInput input = {
        .tokens = Ids(absl::MakeConstSpan(prompts[0]).first(common)), .state = shared.get(), .adapter = adapter};
    model.Forward({&input, 1});
  }
  std::vector<std::unique_ptr<ModelState>> states;
  std::vector<std::vector<TokenId>> texts(prompts.size());
  std::vector<size_t> running;  // inputs[i] belongs to prompt running[i]
  std::vector<ModelInput> inputs;
  for (size_t i = 0; i < prompts.size(); ++i) {
    states.push_back(shared->Fork());
    running.push_back(i);
    inputs.push_back({.tokens = Ids(absl::MakeConstSpan(prompts[i]).subspan(common)),
                      .state = states.back().get(),
                      .adapter = adapter});
  }
  for (int64_t step = 0; step < max_tokens && !running.empty(); ++step) {
    std::vector<int64_t> last;
    int64_t rows = 0;
    for (const ModelInput& input : inputs) last.push_back((rows += input.tokens.size(0)) - 1);
    const at::Tensor hidden = model.Forward(inputs).index_select(0, at::tensor(last, at::kLong));
    const at::Tensor best = model.Logits(hidden).argmax(1);  // [n]
    std::vector<size_t> still;
    inputs.clear();
    for (size_t i = 0; i < running.size(); ++i) {
      const auto token = static_cast<TokenId>(best.const_data_ptr<int64_t>()[i]);
      if (std::find(end_tokens.begin(), end_tokens.end(), token) != end_tokens.end()) continue;
      ModelState* state = states[running[i]].get();
      texts[running[i]].push_back(token);
      if (state->length() >= model.config().context_length) continue;
      still.push_back(running[i]);
      inputs.push_back({.tokens = Ids({&token, 1}), .state = state, .adapter = adapter});
    }
    running = still;
  }
  return texts;
}

}  // namespace blazon::language
