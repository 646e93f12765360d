// What every training run can be told (trainer.h). No tensors in here: the command line reads it too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "language/training/optimizer_options.h"

namespace blazon::service {

class ProcessGroup;

struct TrainerOptions {
  std::filesystem::path folder;  // of the run: checkpoints, log.csv, loss.svg
  // Where to begin. "fresh": at the model's own weights; "latest": at the newest whole checkpoint of the folder, or
  // fresh where there is none; else the folder of a checkpoint.
  std::string restore = "latest";
  // "fresh" in a folder that holds a run: false refuses; true lets go of the old checkpoints once a new one is durable.
  bool overwrite = false;

  // Steps of this round. A restored run that was cut off before its round's end goes on to that end when the number is
  // the same, and is then what it would have been; otherwise it takes so many steps more, as a round of its own.
  int64_t steps = 100;
  double learning_rate = 2e-4;  // at the peak
  language::OptimizerOptions optimizer = {};
  language::Schedule schedule = {};
  uint64_t seed = 1;

  int64_t save_every = 0;      // steps; 0: at the end, and when stopped
  int64_t keep = 2;            // checkpoints, beside the one with the lowest held-out loss
  int64_t evaluate_every = 0;  // steps; 0: before the first and after the last
  int64_t sample_every = 0;    // steps; 0: never
  int64_t print_every = 0;     // steps; 0: every 5 seconds, the first and the last

  // When all steps are taken, the tensors become those of the lowest held-out loss, which is then saved whenever it
  // falls.
  bool finish_with_best = false;

  bool dry_run = false;  // everything but the training
  bool overfit = false;  // every step is the first one's data; fails unless the loss falls below 0.1

  std::function<void(const std::string&)> log;  // a line of progress
  std::function<bool()> stop;                   // whether to save and end

  // The processes that train together (data_parallel.h); null: this one alone. A step's data are the same for any
  // number of them. The first one alone writes, measures and reports, and it alone needs `folder`.
  std::shared_ptr<ProcessGroup> group = nullptr;
};

// kInvalidArgument: an option is out of range; the message names it as the command line does.
absl::Status CheckTrainerOptions(const TrainerOptions& options);

}  // namespace blazon::service
