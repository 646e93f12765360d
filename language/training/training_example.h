// One record as a language model learns it, and the loss on some of them.
//
// Shapes: N rows of all examples, D width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// A text, or several that share their first tokens: the common ones, then the rest of each (ModelInput::branches).
// What is learned is the same as from the separate texts, where a common token is learned once.
struct TrainingExample {
  std::vector<TokenId> tokens;
  std::vector<char> learned;  // of each token: whether the model shall say it after what stands before it
  std::vector<TokenSpan> branches = {};

  int64_t learned_count() const;
};

// Joins texts into one example that computes their common first tokens once. texts: at least one, without branches.
// A common token is learned only where all texts learn it. Texts that differ from the first token on, or of which one
// is the beginning of another, cannot be joined: kInvalidArgument.
absl::Status CheckCommonTokens(absl::Span<const TrainingExample> texts);
TrainingExample JoinTexts(absl::Span<const TrainingExample> texts);

// A sum over learned tokens of -log p, natural.
struct LossSum {
  double loss = 0;
  int64_t tokens = 0;

  double mean() const { return tokens == 0 ? 0 : loss / static_cast<double>(tokens); }
  LossSum& operator+=(const LossSum& other) {
    loss += other.loss;
    tokens += other.tokens;
    return *this;
  }
};

// The loss of all examples, computed together as one ragged batch. With gradients: `scale` times the loss is
// differentiated, and added to the gradients of what requires them in model and adapter; scale is 1 over the learned
// tokens of the whole step, so that a step does not depend on how it is divided. Logits are made for at most 512 rows
// at a time. Throws c10::Error.
// adapter: null for none. Each example is within the model's context.
LossSum ExampleLoss(const LanguageModel& model, const Adapter* adapter,
                    absl::Span<const TrainingExample* const> examples);
LossSum AddExampleGradients(const LanguageModel& model, const Adapter* adapter,
                            absl::Span<const TrainingExample* const> examples, double scale);

// What the model makes of learned tokens, example by example, in their order.
struct LearnedTokens {
  at::Tensor logprobs;  // fp32 [n], natural, with logits divided by the temperature
  at::Tensor states;    // [n, D], that the tokens are said from
};
// Without gradients. temperature: above 0. adapter and examples as above. Throws c10::Error.
LearnedTokens ReadLearned(const LanguageModel& model, const Adapter* adapter,
                          absl::Span<const TrainingExample* const> examples, double temperature = 1);

// Differentiates a loss of one's own, and adds to the gradients as AddExampleGradients does. `loss` makes a scalar of
// leaves with the values that ReadLearned gives; it may go through tensors of its own. Returns its value. Logits are
// made piece by piece, twice each.
double AddLearnedGradients(const LanguageModel& model, const Adapter* adapter,
                           absl::Span<const TrainingExample* const> examples, double temperature,
                           const std::function<at::Tensor(const LearnedTokens&)>& loss);

// Values of learned tokens, [n], summed by text: [texts], the texts in the order of LastStates. Differentiable.
at::Tensor SumByText(const at::Tensor& values, absl::Span<const TrainingExample* const> examples);

// The states of each text's last token: of each branch of an example in order, or of its one text. [texts, D];
// differentiable when gradients are on.
at::Tensor LastStates(const LanguageModel& model, const Adapter* adapter,
                      absl::Span<const TrainingExample* const> examples);

}  // namespace blazon::language
