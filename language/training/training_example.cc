#include "language/training/training_example.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

constexpr int64_t kLogitRows = 512;  // of 49,152 tokens: 100 MB of logits

int64_t CommonTokens(absl::Span<const TrainingExample> texts) {
  size_t common = texts[0].tokens.size();
  for (const TrainingExample& text : texts) {
    const auto mismatch = std::mismatch(text.tokens.begin(), text.tokens.end(), texts[0].tokens.begin(),
                                        texts[0].tokens.begin() + static_cast<int64_t>(common));
    common = static_cast<size_t>(mismatch.first - text.tokens.begin());
  }
  return static_cast<int64_t>(common);
}

struct Batch {
  std::vector<ModelInput> inputs;
  at::Tensor rows;     // int64 [n], that a learned token is said from
  at::Tensor targets;  // int64 [n], the learned tokens
  at::Tensor last;     // int64 [texts], of each text's last token
};

Batch Gather(const Adapter* adapter, absl::Span<const TrainingExample* const> examples) {
  Batch batch;
  std::vector<int64_t> rows, targets, last;
  int64_t first = 0;  // row of the example's first token
  for (const TrainingExample* example : examples) {
    const auto count = static_cast<int64_t>(example->tokens.size());
    batch.inputs.push_back({.tokens = at::tensor(std::vector<int64_t>(example->tokens.begin(), example->tokens.end())),
                            .adapter = adapter,
                            .branches = example->branches});
    const int64_t common = example->branches.empty() ? count : example->branches[0].begin;
    size_t branch = 0;
    for (int64_t i = 1; i < count; ++i) {
      int64_t before = i - 1;
      if (branch < example->branches.size() && example->branches[branch].begin == i) {
        before = common - 1;
        ++branch;
      }
      if (!example->learned[static_cast<size_t>(i)]) continue;
      rows.push_back(first + before);
      targets.push_back(example->tokens[static_cast<size_t>(i)]);
    }
    for (const TokenSpan& span : example->branches) last.push_back(first + span.end - 1);
    first += count;
    if (example->branches.empty()) last.push_back(first - 1);
  }
  batch.last = at::tensor(last, at::kLong);
  batch.rows = at::tensor(rows, at::kLong);
  batch.targets = at::tensor(targets, at::kLong);
  return batch;
}

// fp32 scalar. hidden: [n, D]; targets: int64 [n].
at::Tensor SumLoss(const LanguageModel& model, const at::Tensor& hidden, const at::Tensor& targets) {
  return at::cross_entropy_loss(model.Logits(hidden), targets, /*weight=*/{}, at::Reduction::Sum);
}

// fp32 [n]. hidden: [n, D]; targets: int64 [n].
at::Tensor TargetLogprobs(const LanguageModel& model, const at::Tensor& hidden, const at::Tensor& targets,
                          double temperature) {
  const at::Tensor logits = model.Logits(hidden) / temperature;  // [n, V]
  return -at::cross_entropy_loss(logits, targets, /*weight=*/{}, at::Reduction::None);
}

at::Tensor AllLogprobs(const LanguageModel& model, const at::Tensor& hidden, const at::Tensor& targets,
                       double temperature) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> pieces;
  for (int64_t begin = 0; begin < targets.size(0); begin += kLogitRows) {
    const int64_t end = std::min(targets.size(0), begin + kLogitRows);
    pieces.push_back(TargetLogprobs(model, hidden.slice(0, begin, end), targets.slice(0, begin, end), temperature));
  }
  return pieces.empty() ? at::empty({0}, at::kFloat) : at::cat(pieces);
}

}  // namespace

int64_t TrainingExample::learned_count() const {
  return std::count_if(learned.begin() + (learned.empty() ? 0 : 1), learned.end(), [](char each) { return each != 0; });
}

absl::Status CheckCommonTokens(absl::Span<const TrainingExample> texts) {
  const int64_t common = CommonTokens(texts);
  if (common == 0) return absl::InvalidArgumentError("the branches have no first token in common");
  for (const TrainingExample& text : texts) {
    if (texts.size() > 1 && std::ssize(text.tokens) == common)
      return absl::InvalidArgumentError("one branch is the beginning of another");
  }
  return absl::OkStatus();
}

TrainingExample JoinTexts(absl::Span<const TrainingExample> texts) {
  if (texts.size() == 1) return texts[0];
  const int64_t common = CommonTokens(texts);
  TrainingExample joined;
  joined.tokens.assign(texts[0].tokens.begin(), texts[0].tokens.begin() + common);
  joined.learned.assign(static_cast<size_t>(common), 1);
  for (const TrainingExample& text : texts) {
    for (int64_t i = 0; i < common; ++i) joined.learned[static_cast<size_t>(i)] &= text.learned[static_cast<size_t>(i)];
    const int64_t begin = std::ssize(joined.tokens);
    joined.tokens.insert(joined.tokens.end(), text.tokens.begin() + common, text.tokens.end());
    joined.learned.insert(joined.learned.end(), text.learned.begin() + common, text.learned.end());
    joined.branches.push_back({begin, std::ssize(joined.tokens)});
  }
  return joined;
}

LossSum ExampleLoss(const LanguageModel& model, const Adapter* adapter,
                    absl::Span<const TrainingExample* const> examples) {
  const at::NoGradGuard no_grad;
  const Batch batch = Gather(adapter, examples);
  const int64_t count = batch.rows.size(0);
  LossSum sum{.tokens = count};
  if (count == 0) return sum;
  const at::Tensor hidden = model.Forward(batch.inputs).index_select(0, batch.rows);  // [n, D]
  for (int64_t begin = 0; begin < count; begin += kLogitRows) {
    const int64_t end = std::min(count, begin + kLogitRows);
    sum.loss += SumLoss(model, hidden.slice(0, begin, end), batch.targets.slice(0, begin, end)).item<double>();
  }
  return sum;
}

LossSum AddExampleGradients(const LanguageModel& model, const Adapter* adapter,
                            absl::Span<const TrainingExample* const> examples, double scale) {
  const Batch batch = Gather(adapter, examples);
  const int64_t count = batch.rows.size(0);
  LossSum sum{.tokens = count};
  if (count == 0) return sum;
  const at::Tensor hidden = model.Forward(batch.inputs).index_select(0, batch.rows);  // [n, D]
  // Piece by piece down to the hidden states, then through the model once.
  at::Tensor leaf = hidden.detach().requires_grad_(true);
  for (int64_t begin = 0; begin < count; begin += kLogitRows) {
    const int64_t end = std::min(count, begin + kLogitRows);
    const at::Tensor loss = SumLoss(model, leaf.slice(0, begin, end), batch.targets.slice(0, begin, end));
    sum.loss += loss.item<double>();
    (loss * scale).backward();
  }
  hidden.backward(leaf.grad());
  return sum;
}

LearnedTokens ReadLearned(const LanguageModel& model, const Adapter* adapter,
                          absl::Span<const TrainingExample* const> examples, double temperature) {
  const at::NoGradGuard no_grad;
  const Batch batch = Gather(adapter, examples);
  const at::Tensor hidden = model.Forward(batch.inputs).index_select(0, batch.rows);  // [n, D]
  return {.logprobs = AllLogprobs(model, hidden, batch.targets, temperature), .states = hidden};
}

double AddLearnedGradients(const LanguageModel& model, const Adapter* adapter,
                           absl::Span<const TrainingExample* const> examples, double temperature,
                           const std::function<at::Tensor(const LearnedTokens&)>& loss) {
  const Batch batch = Gather(adapter, examples);
  const at::Tensor hidden = model.Forward(batch.inputs).index_select(0, batch.rows);  // [n, D]
  at::Tensor leaf = hidden.detach().requires_grad_(true);
  at::Tensor logprobs = AllLogprobs(model, leaf, batch.targets, temperature).requires_grad_(true);
  const at::Tensor value = loss({.logprobs = logprobs, .states = leaf});
  value.backward();
  if (const at::Tensor slopes = logprobs.grad(); slopes.defined()) {
    for (int64_t begin = 0; begin < batch.targets.size(0); begin += kLogitRows) {
      const int64_t end = std::min(batch.targets.size(0), begin + kLogitRows);
      const at::Tensor piece =
          TargetLogprobs(model, leaf.slice(0, begin, end), batch.targets.slice(0, begin, end), temperature);
      piece.backward(slopes.slice(0, begin, end));
    }
  }
  if (leaf.grad().defined()) hidden.backward(leaf.grad());
  return value.item<double>();
}

at::Tensor SumByText(const at::Tensor& values, absl::Span<const TrainingExample* const> examples) {
  std::vector<int64_t> text_of;  // each learned token
  int64_t texts = 0;
  for (const TrainingExample* example : examples) {
    const int64_t common = example->branches.empty() ? 0 : example->branches[0].begin;
    TORCH_CHECK(example->branches.empty() || std::none_of(example->learned.begin(), example->learned.begin() + common,
                                                          [](char learned) { return learned != 0; }),
                "a common token is learned, which belongs to several texts");
    size_t branch = 0;
    for (int64_t i = 1; i < std::ssize(example->tokens); ++i) {
      while (branch < example->branches.size() && example->branches[branch].end <= i) ++branch;
      if (example->learned[static_cast<size_t>(i)]) text_of.push_back(texts + static_cast<int64_t>(branch));
    }
    texts += std::max<int64_t>(1, std::ssize(example->branches));
  }
  return at::zeros({texts}, values.options()).index_add(0, at::tensor(text_of, at::kLong), values);
}

at::Tensor LastStates(const LanguageModel& model, const Adapter* adapter,
                      absl::Span<const TrainingExample* const> examples) {
  const Batch batch = Gather(adapter, examples);
  return model.Forward(batch.inputs).index_select(0, batch.last);
}

}  // namespace blazon::language
