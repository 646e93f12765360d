// The trainer: the loop that every kind of training shares. What is trained, and on what, is a TrainingTask.
//
// A step: the task adds the gradients of its next data, they are clipped, the optimiser moves the tensors, a row goes
// to log.csv. A step whose loss or gradient is not finite changes nothing and is counted; three in a row end the run.
// Checkpoints hold the tensors, the optimiser's state, the generator's state and the data's position; a run that goes
// on from one is bit for bit what it would have been, on the same machine with the same number of threads and
// processes.
//
// Several processes (TrainerOptions::group) share each step's data, sum their gradients, and take the same step; they
// agree on when to stop. A run may go on with another number of them: the data are the same, dropout draws others.
//
// To add a kind of training: derive from TrainingTask (language_task.h is one), make a Trainer, Run it, write the
// result.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/training/optimizer.h"
#include "service/training/data_parallel.h"
#include "service/training/trainer_options.h"

namespace blazon::service {

// One step's data.
struct StepLoss {
  double loss = 0;                   // mean
  int64_t tokens = 0;                // computed, or whatever the task counts
  std::vector<double> figures = {};  // as TrainingTask::Figures names them
  // Floating-point operations that the model asks for, forward and backward; 0: not known. For the progress line's
  // share of what the machine can do (MFU; Chowdhery et al. 2022, arXiv 2204.02311, appendix B).
  double flops = 0;
  // This process's part of all that the step learns from; those of all processes add up to 1.
  double part = 1;
};

class TrainingTask {
 public:
  virtual ~TrainingTask() = default;

  // What is trained: the same names, shapes and order each time; they require gradients.
  virtual std::vector<language::TrainedTensor> Tensors() = 0;

  // From now on only the share of process `rank` of `size` of each step's data is computed: loss and gradients are its
  // part of the whole step's, so that their sums over all processes are those of one. All else stays, the position too.
  // kInvalidArgument: the data cannot be shared evenly. kUnimplemented: this kind of training has one process.
  virtual absl::Status SetShare(int rank, int size) {
    return absl::UnimplementedError("this kind of training runs in one process; leave out --processes");
  }

  // What else a step measures: names for the log's columns. The same each time.
  virtual std::vector<std::string> Figures() const { return {}; }

  // Takes the next data and adds the gradients of their mean loss, however many passes that takes. All that is drawn at
  // random comes from LibTorch's CPU generator, or from the position. repeat: the data of the last call again.
  virtual absl::StatusOr<StepLoss> AddGradients(bool repeat) = 0;

  // Which data come next.
  virtual nlohmann::json Position() const = 0;
  virtual absl::Status SetPosition(const nlohmann::json& position) = 0;

  // The loss on held-out data, after a line or more on it to `log`; nullopt: there are none. Draws nothing.
  virtual absl::StatusOr<std::optional<double>> Evaluate(int64_t step) { return std::nullopt; }
  // Whether matrices are multiplied in bf16.
  virtual bool bf16() const { return false; }
  // What to do when memory runs out, as the command line has it: "lower --row-tokens (1024) or ...".
  virtual std::string MemoryAdvice() const { return "lower --batch"; }
  // Something to read from what is trained; "" for nothing. Draws nothing.
  virtual absl::StatusOr<std::string> Sample() { return ""; }
};

class Trainer {
 public:
  // The task must outlive the trainer.
  Trainer(TrainerOptions options, TrainingTask& task)
      : options_(std::move(options)), parallel_(options_.group), task_(task) {}

  // Trains. When it returns OK, the tensors are those of the last step, or of the step after which it was stopped, and
  // a checkpoint of them is durable; after a dry run they are as they were.
  // kInvalidArgument: an option, or a checkpoint of other tensors. kAlreadyExists: "fresh" in a folder with a run.
  // kUnavailable: another process trains in the folder, or one of the group is lost. kOutOfRange: three steps without a
  // finite loss. kInternal: the group's weights are no longer equal.
  // kFailedPrecondition: --overfit did not. Errors of writing name the file; the last checkpoint stays.
  absl::Status Run();

  int64_t step() const { return step_; }  // taken in all rounds

 private:
  // checkpoints: null but in the first process of the group.
  absl::Status Train(class TrainingCheckpoints* checkpoints);
  absl::Status Restore(class TrainingCheckpoints* checkpoints, language::Optimizer& optimizer);
  absl::StatusOr<std::optional<struct TrainingCheckpoint>> Find(class TrainingCheckpoints& checkpoints);
  absl::Status Load(const struct TrainingCheckpoint& checkpoint, language::Optimizer& optimizer);
  absl::Status Save(const class TrainingCheckpoints* checkpoints, const language::Optimizer& optimizer);
  absl::Status SumStep(StepLoss& step, const language::Optimizer& optimizer);
  absl::Status OutOfMemory(const std::string& refused) const;
  absl::Status Loop(class TrainingCheckpoints* checkpoints, language::Optimizer& optimizer);

  const TrainerOptions options_;
  DataParallel parallel_;
  TrainingTask& task_;
  int64_t step_ = 0;
  int64_t round_begin_ = 0, round_steps_ = 0;
  int64_t tokens_ = 0;
  int64_t skipped_ = 0;  // steps that were not finite
  double mean_ = 0;      // of the loss, exponential
  std::optional<double> best_loss_;
  std::optional<int64_t> best_step_;
};

}  // namespace blazon::service
