#include "service/training/dpo_task.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <utility>

#include "absl/strings/str_format.h"
#include "language/training/preference_loss.h"

namespace blazon::service {
namespace {

using language::TrainingExample;

// Sums over pairs.
struct PairSums {
  double loss = 0, accuracy = 0, margin = 0, chosen = 0, rejected = 0;

  void Add(const language::DpoTerms& terms) {
    const at::Tensor margins = terms.chosen_reward - terms.rejected_reward;
    loss += terms.losses.detach().sum().item<double>();
    accuracy += margins.gt(0).sum().item<double>();
    margin += margins.sum().item<double>();
    chosen += terms.chosen_reward.sum().item<double>();
    rejected += terms.rejected_reward.sum().item<double>();
  }
};

// The terms of the pairs of a row. logprobs: of the row's learned tokens, [n]; reference: [P, 2].
language::DpoTerms RowTerms(const at::Tensor& logprobs, absl::Span<const TrainingExample* const> row,
                            const at::Tensor& reference, const DpoTaskOptions& options) {
  const at::Tensor policy = language::SumByText(logprobs, row).view({-1, 2});  // [P, 2]
  return language::DpoLoss(policy.select(1, 0), policy.select(1, 1), reference.select(1, 0), reference.select(1, 1),
                           options.beta, options.label_smoothing);
}

// Rows of pairs, and where in `pairs` each stands.
std::vector<std::pair<std::vector<const TrainingExample*>, at::Tensor>> RowsOfPairs(
    const std::vector<TrainingExample>& pairs, const std::vector<size_t>& chosen, int64_t row_tokens) {
  std::vector<const TrainingExample*> pointers;
  for (const size_t i : chosen) pointers.push_back(&pairs[i]);
  std::vector<std::pair<std::vector<const TrainingExample*>, at::Tensor>> rows;
  for (auto& row : PackRows(pointers, row_tokens)) {
    std::vector<int64_t> places;
    for (const TrainingExample* pair : row) places.push_back(pair - pairs.data());
    rows.emplace_back(std::move(row), at::tensor(places, at::kLong));
  }
  return rows;
}

std::vector<size_t> AllOf(const std::vector<TrainingExample>& pairs) {
  std::vector<size_t> all(pairs.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

}  // namespace

absl::StatusOr<at::Tensor> PairLogprobs(const language::LanguageModel& model, const language::Adapter* adapter,
                                        const std::vector<TrainingExample>& pairs, int64_t row_tokens,
                                        const std::function<bool()>& stop) {
  const at::NoGradGuard no_grad;
  at::Tensor sums = at::zeros({std::ssize(pairs), 2}, at::kFloat);
  for (const auto& [row, places] : RowsOfPairs(pairs, AllOf(pairs), row_tokens)) {
    if (stop()) return absl::CancelledError("stopped while the reference was computed; nothing was trained");
    const at::Tensor logprobs = language::ReadLearned(model, adapter, row).logprobs;
    sums.index_copy_(0, places, language::SumByText(logprobs, row).view({-1, 2}));
  }
  return sums;
}

DpoTask::DpoTask(const TrainedModel& trained, const std::vector<TrainingExample>& pairs,
                 const std::vector<TrainingExample>& held_out, Reference reference, const DpoTaskOptions& options)
    : trained_(trained),
      pairs_(pairs),
      held_out_(held_out),
      reference_(std::move(reference)),
      options_(options),
      order_(pairs.size(), options.seed),
      share_(0, options.batch) {}

absl::Status DpoTask::SetShare(int rank, int size) {
  const auto share = ShareOf("--batch", options_.batch, rank, size);
  if (share.ok()) share_ = *share;
  return share.status();
}

absl::StatusOr<StepLoss> DpoTask::AddGradients(bool repeat) {
  if (!repeat) {
    last_.clear();
    for (int64_t i = 0; i < options_.batch; ++i) last_.push_back(order_.Next());
  }
  const auto count = static_cast<double>(last_.size());
  const std::vector<size_t> own(last_.begin() + share_.first, last_.begin() + share_.second);
  StepLoss step{.part = static_cast<double>(own.size()) / count};
  PairSums sums;
  for (const auto& [row, places] : RowsOfPairs(pairs_, own, options_.row_tokens)) {
    for (const TrainingExample* pair : row) step.tokens += std::ssize(pair->tokens);
    const at::Tensor reference = reference_.pairs.index_select(0, places);
    language::AddLearnedGradients(
        trained_.model(), trained_.adapter(), row, /*temperature=*/1, [&](const language::LearnedTokens& learned) {
          const language::DpoTerms terms = RowTerms(learned.logprobs, row, reference, options_);
          sums.Add(terms);
          return terms.losses.sum() / count;
        });
  }
  step.loss = sums.loss / count;
  step.figures = {sums.accuracy / count, sums.margin / count, sums.chosen / count, sums.rejected / count};
  return step;
}

absl::StatusOr<std::optional<double>> DpoTask::Evaluate(int64_t step) {
  if (held_out_.empty()) return std::nullopt;
  const at::NoGradGuard no_grad;
  PairSums sums;
  for (const auto& [row, places] : RowsOfPairs(held_out_, AllOf(held_out_), options_.row_tokens)) {
    if (options_.stop()) return std::nullopt;
    const at::Tensor logprobs = language::ReadLearned(trained_.model(), trained_.adapter(), row).logprobs;
    sums.Add(RowTerms(logprobs, row, reference_.held_out.index_select(0, places), options_));
  }
  const auto count = static_cast<double>(held_out_.size());
  options_.log(absl::StrFormat("step %d: held-out loss %.4f, accuracy %.4f, margin %.4f", step, sums.loss / count,
                               sums.accuracy / count, sums.margin / count));
  return sums.loss / count;
}

std::string DpoTask::MemoryAdvice() const {
  return TuningMemoryAdvice(options_.recompute, options_.row_tokens, trained_.adapter() != nullptr);
}

}  // namespace blazon::service
