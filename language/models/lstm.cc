#include "language/models/lstm.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/lstm_cell.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/weight_taker.h"

namespace blazon::language {
namespace {

// The hidden and the cell values of every layer after one token: [2 * L, D].
class LstmState final : public ModelState {
 public:
  int64_t length() const override { return static_cast<int64_t>(steps.size()); }
  int64_t bytes() const override { return steps.empty() ? 0 : length() * static_cast<int64_t>(steps.front().nbytes()); }
  void Truncate(int64_t length) override { steps.resize(static_cast<size_t>(length)); }
  std::unique_ptr<ModelState> Fork() const override { return std::make_unique<LstmState>(*this); }

  std::vector<at::Tensor> steps;  // by token; never written to
};

}  // namespace

absl::StatusOr<std::unique_ptr<LanguageModel>> LstmModel::Create(const LstmConfig& config, StateDict weights,
                                                                 const Placement& placement) {
  for (const auto& [name, size] : {std::pair("hidden_size", config.width),
                                   {"num_hidden_layers", config.layers},
                                   {"vocab_size", config.vocabulary_size},
                                   {"max_position_embeddings", config.context_length}}) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  std::unique_ptr<LstmModel> model(new LstmModel);
  model->config_ = config;
  model->public_config_ = {.width = config.width,
                           .vocabulary_size = config.vocabulary_size,
                           .layers = config.layers,
                           .context_length = config.context_length,
                           .state_values = 2 * config.layers * config.width};
  model->options_ = ComputeOptions(placement);
  const int64_t width = config.width;
  const auto ignorable = [&](std::string_view name) { return config.tie_embeddings && name == "head.weight"; };
  try {
    WeightTaker take(std::move(weights), placement, {.architecture = "LSTM", .prefixes = {}, .ignorable = ignorable});
    model->embedding_ = take.Dense("embedding.weight", {config.vocabulary_size, width});
    for (int64_t i = 0; i < config.layers && take.ok(); ++i) {
      Layer layer;
      layer.weight_ih = take.Dense(absl::StrCat("lstm.weight_ih_l", i), {4 * width, width});
      layer.weight_hh = take.Dense(absl::StrCat("lstm.weight_hh_l", i), {4 * width, width});
      layer.bias_ih = take.Dense(absl::StrCat("lstm.bias_ih_l", i), {4 * width});
      layer.bias_hh = take.Dense(absl::StrCat("lstm.bias_hh_l", i), {4 * width});
      model->lstm_.push_back(std::move(layer));
    }
    model->head_ =
        config.tie_embeddings ? model->embedding_ : take.Dense("head.weight", {config.vocabulary_size, width});
    if (absl::Status status = take.Finish(); !status.ok()) return status;
    model->parameters_ = take.TakeParameters();
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be prepared: ", error.what_without_backtrace()));
  }
  return model;
}

std::unique_ptr<ModelState> LstmModel::NewState() const { return std::make_unique<LstmState>(); }

at::Tensor LstmModel::Embed(const at::Tensor& tokens) const {
  return at::embedding(embedding_, tokens.to(options_.device()));
}

at::Tensor LstmModel::Forward(absl::Span<const ModelInput> inputs) const {
  std::vector<at::Tensor> hidden;  // of all inputs, [1, D] each
  for (const ModelInput& input : inputs) {
    TORCH_CHECK(input.branches.empty() && input.bidirectional.empty(), "an LSTM reads forward only");
    auto* const state = static_cast<LstmState*>(input.state);
    const at::Tensor x = (input.embeddings.defined() ? input.embeddings : Embed(input.tokens)).to(options_);
    const at::Tensor zeros = at::zeros({1, config_.width}, x.options());
    std::vector<at::Tensor> values(static_cast<size_t>(2 * config_.layers), zeros);  // hidden and cell of each layer
    if (state != nullptr && !state->steps.empty()) {
      for (int64_t i = 0; i < 2 * config_.layers; ++i) values[i] = state->steps.back().narrow(0, i, 1);
    }
    for (int64_t t = 0; t < x.size(0); ++t) {
      at::Tensor h = x.narrow(0, t, 1);  // [1, D]
      for (int64_t i = 0; i < config_.layers; ++i) {
        const Layer& layer = lstm_[i];
        std::tie(values[2 * i], values[2 * i + 1]) = at::lstm_cell(
            h, {values[2 * i], values[2 * i + 1]}, layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh);
        h = values[2 * i];
      }
      hidden.push_back(h);
      if (state != nullptr) state->steps.push_back(at::cat(values));
    }
  }
  return at::cat(hidden);  // [N, D]
}

at::Tensor LstmModel::Logits(const at::Tensor& rows) const { return at::linear(rows, head_).to(at::kFloat); }

}  // namespace blazon::language
