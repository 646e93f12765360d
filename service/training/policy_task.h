// Policy optimisation for the trainer: GRPO and PPO (language/training/policy_gradient.h), which differ in how
// advantages are found, and share all else.
//
// A round: the policy writes completions of the next prompts, they are scored, and their log-probabilities by the
// policy and by the reference are noted. Then come the updates. The reference is the model as training finds it.
//   GRPO  a completion's advantage is its reward relative to its group's; the divergence from the reference is a term
//   of
//         the loss.
//   PPO   each token's reward is -kl * (log p - log r), the last one's the completion's reward besides; advantages are
//         generalised estimates with a value head, centred and scaled over the round. The head is kept in checkpoints.
// A checkpoint between two updates of a round holds the round's completions, so that a run goes on bit for bit.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/training/policy_gradient.h"
#include "language/training/sampled_texts.h"
#include "service/checkpoint/reward_model_folder.h"
#include "service/training/language_task.h"
#include "service/training/policy_data.h"
#include "service/training/policy_options.h"
#include "service/training/trained_model.h"
#include "service/training/trainer.h"

namespace blazon::service {

// What judges and what the policy is held to; none of it changes. model: with the weights that training began with.
struct FrozenModels {
  const language::LanguageModel* model = nullptr;
  const language::Adapter* reference = nullptr;  // null: none
  std::optional<RewardModel> reward = {};        // nullopt: the prompts' answers decide
  ScorerOptions scorer = {};
};

class PolicyTask : public TrainingTask {
 public:
  // All must outlive the task; trained is of loaded. options: in range.
  PolicyTask(const LoadedLanguageModel& loaded, const TrainedModel& trained, const FrozenModels& frozen,
             const std::vector<PolicyPrompt>& prompts, const std::vector<PolicyPrompt>& held_out,
             const TrainPolicyOptions& options);

  std::vector<language::TrainedTensor> Tensors() override;
  std::vector<std::string> Figures() const override;
  absl::StatusOr<StepLoss> AddGradients(bool repeat) override;
  nlohmann::json Position() const override;
  absl::Status SetPosition(const nlohmann::json& position) override;
  // Greedy completions of the held-out prompts: the mean of what they score, negative. The score is logged.
  absl::StatusOr<std::optional<double>> Evaluate(int64_t step) override;
  std::string MemoryAdvice() const override {
    return TuningMemoryAdvice(options_.common.recompute, options_.common.row_tokens, trained_.adapter() != nullptr);
  }

 private:
  bool ppo() const { return options_.algorithm == PolicyAlgorithm::kPpo; }
  absl::Status BeginRound();
  // Texts of some prompts, a few at once. Appends.
  absl::Status Write(const std::vector<const PolicyPrompt*>& prompts, const std::vector<std::vector<uint64_t>>& seeds,
                     double temperature, std::vector<std::vector<language::SampledText>>& texts) const;
  absl::StatusOr<std::vector<double>> Score(const std::vector<const PolicyPrompt*>& prompts,
                                            const std::vector<language::SampledText>& texts,
                                            const std::vector<language::TrainingExample>& examples) const;
  void NoteLogprobs();
  void NoteGroupAdvantages(const std::vector<double>& rewards);
  void NoteGeneralisedAdvantages(const std::vector<double>& rewards);
  std::vector<std::vector<const language::Rollout*>> Rows(absl::Span<const language::Rollout* const> rollouts) const;

  const LoadedLanguageModel& loaded_;
  const TrainedModel& trained_;
  const FrozenModels& frozen_;
  const std::vector<PolicyPrompt>& prompts_;
  const std::vector<PolicyPrompt>& held_out_;
  const TrainPolicyOptions& options_;
  ShuffledOrder order_;
  language::ValueHead head_;  // PPO
  double kl_weight_;

  int64_t round_ = 0;   // of the rollouts, from 1
  int64_t update_ = 0;  // of the round, the next
  std::vector<language::Rollout> rollouts_;
  double reward_ = 0, length_ = 0;  // means of the round
};

}  // namespace blazon::service
