// Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290), for the trainer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/training/training_example.h"
#include "service/training/language_task.h"
#include "service/training/trained_model.h"
#include "service/training/trainer.h"

namespace blazon::service {

struct DpoTaskOptions {
  double beta = 0.1;
  double label_smoothing = 0.0;
  int64_t batch = 16;         // pairs in a step
  int64_t row_tokens = 1024;  // as of LanguageTaskOptions
  bool recompute = false;     // as of LanguageTaskOptions
  uint64_t seed = 1;          // of the order
  std::function<void(const std::string&)> log;
  std::function<bool()> stop;
};

class DpoTask : public TrainingTask {
 public:
  // Log-probabilities by the reference of each pair's chosen and rejected completion, [P, 2].
  struct Reference {
    at::Tensor pairs, held_out;
  };
  // pairs and held_out (perhaps empty) as PreferenceData has them; all must outlive the task.
  DpoTask(const TrainedModel& trained, const std::vector<language::TrainingExample>& pairs,
          const std::vector<language::TrainingExample>& held_out, Reference reference, const DpoTaskOptions& options);

  std::vector<language::TrainedTensor> Tensors() override { return trained_.Tensors(); }
  std::vector<std::string> Figures() const override { return {"accuracy", "margin", "chosen", "rejected"}; }
  absl::Status SetShare(int rank, int size) override;
  absl::StatusOr<StepLoss> AddGradients(bool repeat) override;
  nlohmann::json Position() const override { return order_.Position(); }
  absl::Status SetPosition(const nlohmann::json& position) override { return order_.SetPosition(position); }
  absl::StatusOr<std::optional<double>> Evaluate(int64_t step) override;
  std::string MemoryAdvice() const override;

 private:
  const TrainedModel& trained_;
  const std::vector<language::TrainingExample>& pairs_;
  const std::vector<language::TrainingExample>& held_out_;
  const Reference reference_;
  const DpoTaskOptions options_;
  ShuffledOrder order_;
  std::pair<int64_t, int64_t> share_;  // of a step's pairs: first and behind last
  std::vector<size_t> last_;           // pairs of the last step, all of it
};

// By the model with `adapter` (null: none), as it is now: [P, 2]. kCancelled: `stop` became true.
absl::StatusOr<at::Tensor> PairLogprobs(const language::LanguageModel& model, const language::Adapter* adapter,
                                        const std::vector<language::TrainingExample>& pairs, int64_t row_tokens,
                                        const std::function<bool()>& stop);

}  // namespace blazon::service
