// Training of a language model on examples, for the trainer: an adapter, or all weights.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/training/training_example.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/trained_model.h"
#include "service/training/trainer.h"

namespace blazon::service {

// Where examples come from, in an order that its position decides.
class ExampleSource {
 public:
  virtual ~ExampleSource() = default;
  virtual language::TrainingExample Next() = 0;  // something is learned of it
  virtual nlohmann::json Position() const = 0;
  virtual absl::Status SetPosition(const nlohmann::json& position) = 0;
};

// `count` things in an order that is drawn anew for each pass.
class ShuffledOrder {
 public:
  ShuffledOrder(size_t count, uint64_t seed) : order_(count), seed_(seed) {}

  size_t Next();
  uint64_t pass() const { return pass_; }  // of what Next gave last, from 1
  nlohmann::json Position() const;
  // kDataLoss: it is none. kFailedPrecondition: of another number of things, since the data have changed.
  absl::Status SetPosition(const nlohmann::json& position);

 private:
  void Shuffle();

  std::vector<size_t> order_;
  uint64_t seed_, pass_ = 0;
  size_t next_ = 0;
};

// What a training of a language model can do when memory runs out: TrainingTask::MemoryAdvice.
std::string TuningMemoryAdvice(bool recompute, int64_t row_tokens, bool adapter);

// Rows of at most `row_tokens` tokens, each example in the first that has room for it; a longer one has a row of its
// own. They are computed together.
std::vector<std::vector<const language::TrainingExample*>> PackRows(
    const std::vector<const language::TrainingExample*>& examples, int64_t row_tokens);
std::vector<std::vector<const language::TrainingExample*>> PackRows(
    absl::Span<const language::TrainingExample> examples, int64_t row_tokens);

// A text that a trained model shall write: what it is given, and what it shall say. Those of one group share their
// first tokens.
struct HeldOutText {
  std::vector<language::TokenId> prompt, answer;
};

// The last thing that is learned of a text without branches, as such; the end token left out.
HeldOutText LastAnswer(const language::TrainingExample& text, const std::vector<language::TokenId>& end_tokens);

struct LanguageTaskOptions {
  int64_t batch = 16;         // examples in a step
  int64_t row_tokens = 1024;  // tokens computed at once: bounds the memory, changes nothing else
  bool recompute = false;     // whether that was asked for, for the advice when memory runs out

  int64_t evaluate_texts = 0;    // of held-out texts so many are written by the model and compared
  int64_t evaluate_tokens = 64;  // at most, of each
  int64_t print_evaluated = 0;   // of them shown
  std::string sample_prompt = {};
  int64_t sample_tokens = 64;
};

class LanguageTask : public TrainingTask {
 public:
  // loaded, trained, source and what they point to must outlive the task; trained is of loaded.
  static absl::StatusOr<std::unique_ptr<LanguageTask>> Create(const LoadedLanguageModel& loaded,
                                                              const TrainedModel& trained, ExampleSource& source,
                                                              const LanguageTaskOptions& options,
                                                              std::function<void(const std::string&)> log,
                                                              std::function<bool()> stop);

  // Examples that are measured and never learned; and texts by groups.
  void SetHeldOut(std::vector<language::TrainingExample> examples, std::vector<std::vector<HeldOutText>> texts);

  std::vector<language::TrainedTensor> Tensors() override { return trained_.Tensors(); }
  absl::Status SetShare(int rank, int size) override;
  absl::StatusOr<StepLoss> AddGradients(bool repeat) override;
  nlohmann::json Position() const override { return source_.Position(); }
  absl::Status SetPosition(const nlohmann::json& position) override { return source_.SetPosition(position); }
  absl::StatusOr<std::optional<double>> Evaluate(int64_t step) override;
  absl::StatusOr<std::string> Sample() override;
  bool bf16() const override;
  std::string MemoryAdvice() const override;

 private:
  LanguageTask(const LoadedLanguageModel& loaded, const TrainedModel& trained, ExampleSource& source,
               const LanguageTaskOptions& options)
      : loaded_(loaded), trained_(trained), source_(source), options_(options), share_(0, options.batch) {}
  double StepFlops(absl::Span<const language::TrainingExample> examples, int64_t tokens, int64_t learned) const;
  std::string Plain(const std::vector<language::TokenId>& tokens) const;

  const LoadedLanguageModel& loaded_;
  const TrainedModel& trained_;
  ExampleSource& source_;
  const LanguageTaskOptions options_;
  std::function<void(const std::string&)> log_;
  std::function<bool()> stop_;
  std::pair<int64_t, int64_t> share_;            // of a step's examples: first and behind last
  std::vector<language::TrainingExample> last_;  // of the last step, all of it
  std::vector<language::TrainingExample> held_out_;
  std::vector<std::vector<HeldOutText>> texts_;
};

}  // namespace blazon::service
