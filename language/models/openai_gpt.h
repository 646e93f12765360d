// The first GPT (Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training"): GPT-2's block
// with its norms behind the sums, and none at the end. transformers calls it "openai-gpt".
//
// Shapes and names as in models/gpt2.h.
#pragma once

#include <memory>
#include <vector>

#include "language/models/gpt2.h"

namespace blazon::language {

class OpenAiGptModel final : public LanguageModel {
 public:
  // config: of norm_epsilon and the sizes; the scaling of scores is always 1 / sqrt(C). weights: Hugging Face names,
  // with or without the prefix "transformer."; the masks attn.bias are ignored.
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<LanguageModel>> Create(const Gpt2Config& config, StateDict weights,
                                                               const Placement& placement = Dtype::kFp32);

  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;
  at::Tensor Forward(absl::Span<const ModelInput> inputs) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  OpenAiGptModel() = default;

  Gpt2Config config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device

  Linear tokens_embed_;         // [V, D]
  at::Tensor positions_embed_;  // [P, D]
  std::vector<Gpt2Layer> h_;
  Linear lm_head_;  // [V, D]; shares tokens_embed when tied
};

}  // namespace blazon::language
