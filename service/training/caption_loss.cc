#include "service/training/caption_loss.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <utility>

#include "language/training/lora.h"

namespace blazon::service {

at::Tensor CaptionLoss(const language::LanguageModel& model, const vision::Projector& connector,
                       const language::Adapter& adapter, absl::Span<const CaptionSample> samples,
                       language::TokenId end) {
  std::vector<at::Tensor> cells;
  for (const CaptionSample& sample : samples) cells.push_back(sample.cells);
  const at::Tensor tokens = connector.Forward(at::stack(cells));  // [B, T, D]
  std::vector<language::ModelInput> inputs;
  std::vector<int64_t> rows, targets;
  std::vector<std::vector<language::TokenSpan>> branches(samples.size());
  int64_t row = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const CaptionSample& sample = samples[i];
    std::vector<int64_t> text(sample.before.begin(), sample.before.end());
    const auto image = tokens.size(1);
    // What all texts begin with; each keeps at least one token of its own, whose row tells its first word.
    int64_t common = sample.more.empty() ? 0 : std::ssize(sample.after) - 1;
    for (const CaptionSample::Text& other : sample.more) {
      const auto differs = std::mismatch(sample.after.begin(), sample.after.begin() + common, other.after.begin(),
                                         other.after.end() - 1);
      common = differs.first - sample.after.begin();
    }
    text.insert(text.end(), sample.after.begin(), sample.after.begin() + common);
    const auto add = [&](const std::vector<language::TokenId>& after, const std::vector<language::TokenId>& caption) {
      const int64_t first = std::ssize(text) + image, spoken = std::ssize(caption);
      text.insert(text.end(), after.begin() + common, after.end());
      text.insert(text.end(), caption.begin(), caption.end());
      const int64_t past = std::ssize(text) + image;
      for (int64_t j = 0; j <= spoken; ++j) {
        rows.push_back(row + past - spoken - 1 + j);
        targets.push_back(j < spoken ? caption[static_cast<size_t>(j)] : end);
      }
      if (!sample.more.empty()) branches[i].push_back({first, past});
    };
    add(sample.after, sample.caption);
    for (const CaptionSample::Text& other : sample.more) add(other.after, other.caption);
    const at::Tensor embedded = model.Embed(at::tensor(text, at::kLong)).to(at::kFloat);
    const auto lead = std::ssize(sample.before);
    language::ModelInput input;
    input.embeddings = at::cat({embedded.slice(0, 0, lead), tokens[static_cast<int64_t>(i)], embedded.slice(0, lead)});
    input.adapter = &adapter;
    input.branches = branches[i];
    row += input.embeddings.size(0);
    inputs.push_back(std::move(input));
  }
  const at::Tensor hidden = model.Forward(inputs).index_select(0, at::tensor(rows, at::kLong));
  return at::cross_entropy_loss(model.Logits(hidden), at::tensor(targets, at::kLong));
}

language::AdamW CaptionOptimizer(const vision::Projector& connector, double connector_rate,
                                 const language::Adapter& adapter, double adapter_rate, double weight_decay) {
  language::ParameterGroup of_connector{{}, connector_rate, weight_decay}, of_adapter{{}, adapter_rate, weight_decay};
  for (const auto& [name, tensor] : connector.tensors()) of_connector.parameters.push_back(tensor);
  for (const auto& [name, tensor] : language::LoraTensors(adapter)) of_adapter.parameters.push_back(tensor);
  for (language::ParameterGroup* group : {&of_connector, &of_adapter}) {
    for (at::Tensor& tensor : group->parameters) tensor.requires_grad_(true);
  }
  return language::AdamW({std::move(of_connector), std::move(of_adapter)});
}

}  // namespace blazon::service
