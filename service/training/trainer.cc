#include "service/training/trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "language/training/matmul_peak.h"
#include "retrieval/lock_file.h"
#include "service/training/keep_freed_memory.h"
#include "service/training/refused_memory.h"
#include "service/training/training_checkpoints.h"
#include "service/training/training_log.h"

namespace blazon::service {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int64_t kMostSkipped = 3;  // steps in a row that are not finite
constexpr double kOverfitLoss = 0.1;
constexpr char kWeights[] = "weights.", kOptimizer[] = "optimizer.", kGenerator[] = "generator";

std::string GeneratorOf(int rank) { return rank == 0 ? kGenerator : absl::StrCat(kGenerator, ".", rank); }

double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// LibTorch's generator, from which dropout draws.
at::Tensor GeneratorState() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return generator.get_state().clone();
}

void SetGeneratorState(const at::Tensor& state) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  generator.set_state(state.clone());
}

std::vector<at::Tensor> TensorsOf(const language::Optimizer& optimizer) {
  std::vector<at::Tensor> tensors;
  for (const language::TrainedTensor& trained : optimizer.tensors()) tensors.push_back(trained.tensor);
  return tensors;
}

// The tensors whose names begin with `prefix`, without it.
TensorMap Part(const TensorMap& tensors, const std::string& prefix) {
  TensorMap part;
  for (const auto& [name, tensor] : tensors) {
    if (absl::StartsWith(name, prefix)) part[std::string(absl::StripPrefix(name, prefix))] = tensor;
  }
  return part;
}

}  // namespace

absl::Status CheckTrainerOptions(const TrainerOptions& options) {
  const auto wrong = [](const char* name, auto value, const char* bound) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be ", bound));
  };
  if (options.steps < 1) return wrong("--steps", options.steps, "at least 1");
  if (!(options.learning_rate > 0) || !std::isfinite(options.learning_rate))
    return wrong("--learning-rate", options.learning_rate, "above 0");
  if (!(options.schedule.warm_up >= 0) || options.schedule.warm_up >= 1)
    return wrong("--warm-up", options.schedule.warm_up, "0 to below 1");
  if (!(options.schedule.floor >= 0) || options.schedule.floor > 1)
    return wrong("--floor", options.schedule.floor, "0 to 1");
  if (!(options.optimizer.clip_norm >= 0)) return wrong("--clip", options.optimizer.clip_norm, "0 or more");
  if (options.keep < 1) return wrong("--keep", options.keep, "at least 1");
  const std::pair<const char*, int64_t> counts[] = {{"--save-every", options.save_every},
                                                    {"--eval-every", options.evaluate_every},
                                                    {"--sample-every", options.sample_every},
                                                    {"--print-every", options.print_every}};
  for (const auto& [name, count] : counts) {
    if (count < 0) return wrong(name, count, "0 or more");
  }
  return absl::OkStatus();
}

absl::Status Trainer::Run() {
  if (absl::Status status = CheckTrainerOptions(options_); !status.ok()) return status;
  if (parallel_.size() > 1) {
    if (absl::Status status = task_.SetShare(parallel_.rank(), parallel_.size()); !status.ok()) return status;
  }
  if (!parallel_.first()) return Train(nullptr);
  absl::StatusOr<TrainingCheckpoints> checkpoints = TrainingCheckpoints::Open(options_.folder, options_.keep);
  if (!checkpoints.ok()) return checkpoints.status();
  const auto lock = retrieval::LockFile::Acquire(options_.folder / "lock", "blazon train");
  if (!lock.ok()) {
    return absl::Status(lock.status().code(), absl::StrCat("another process trains in ", options_.folder.string(), ": ",
                                                           lock.status().message(), ". Name another run"));
  }
  return Train(&*checkpoints);
}

absl::Status Trainer::Train(TrainingCheckpoints* checkpoints) {
  KeepFreedMemory();
  try {
    language::Optimizer optimizer(task_.Tensors(), options_.optimizer);
    int64_t values = 0, bytes = 0;
    for (const language::TrainedTensor& trained : optimizer.tensors()) {
      values += trained.tensor.numel();
      bytes += 16 * trained.tensor.numel();  // itself, its gradient, two moments
      if (trained.rounded.defined()) bytes += static_cast<int64_t>(trained.rounded.nbytes());
    }
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    generator.set_current_seed(SeedOfProcess(options_.seed, parallel_.rank()));
    round_steps_ = options_.steps;
    if (absl::Status status = Restore(checkpoints, optimizer); !status.ok()) return status;
    const int64_t end = round_begin_ + round_steps_;
    options_.log(absl::StrFormat("%d values in %d tensors are trained; steps %d to %d", values,
                                 optimizer.tensors().size(), step_ + 1, end));
    if (options_.dry_run) {
      options_.log(absl::StrFormat(
          "dry run: nothing is trained. The tensors, their gradients and the optimiser take %d MB", bytes >> 20));
      return absl::OkStatus();
    }
    return Loop(checkpoints, optimizer);
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace(), refused = RefusedMemory(what);
    if (!refused.empty()) return OutOfMemory(refused);
    return absl::InternalError(
        absl::StrCat("training failed after step ", step_, ": ", what.substr(0, 200), ". The last checkpoint is good"));
  } catch (const std::bad_alloc&) {
    return OutOfMemory("some more");
  }
}

absl::Status Trainer::OutOfMemory(const std::string& refused) const {
  return absl::ResourceExhaustedError(
      absl::StrCat("memory ran out after step ", step_, ", as ", refused, " was asked for; ", task_.MemoryAdvice()));
}

absl::StatusOr<std::optional<TrainingCheckpoint>> Trainer::Find(TrainingCheckpoints& checkpoints) {
  if (options_.restore == "fresh") {
    if (const std::vector<int64_t> steps = checkpoints.Steps(); !steps.empty() && !options_.overwrite) {
      return absl::AlreadyExistsError(
          absl::StrCat(options_.folder.string(), " holds a run of ", steps.back(),
                       " steps. Go on with it (--restore latest), begin it anew (--overwrite), or name another run"));
    }
    return std::nullopt;
  }
  std::optional<TrainingCheckpoint> checkpoint;
  if (options_.restore == "latest") {
    std::vector<std::string> notes;
    checkpoint = checkpoints.Latest(notes);
    for (const std::string& note : notes) options_.log(note);
    if (!checkpoint && !notes.empty())
      return absl::DataLossError(absl::StrCat("no checkpoint in ", options_.folder.string(),
                                              " is whole; begin anew with --restore fresh --overwrite"));
    return checkpoint;
  }
  absl::StatusOr<TrainingCheckpoint> read = TrainingCheckpoints::Read(options_.restore);
  if (!read.ok()) return read.status();
  return *std::move(read);
}

absl::Status Trainer::Restore(TrainingCheckpoints* checkpoints, language::Optimizer& optimizer) {
  std::optional<TrainingCheckpoint> checkpoint;
  if (checkpoints != nullptr) {
    absl::StatusOr<std::optional<TrainingCheckpoint>> found = Find(*checkpoints);
    if (!found.ok()) return found.status();
    checkpoint = *std::move(found);
  }
  // The others' machines need not have the folder.
  std::string values = checkpoint ? checkpoint->values.dump() : "";
  if (absl::Status status =
          parallel_.CheckEqual("--steps, --seed and --threads",
                               absl::StrCat(options_.steps, ", ", options_.seed, " and ", at::get_num_threads()));
      !status.ok())
    return status;
  if (absl::Status status = parallel_.Share(values); !status.ok()) return status;
  if (values.empty()) return parallel_.CheckEqual(TensorsOf(optimizer));
  if (!checkpoint) checkpoint = TrainingCheckpoint{.folder = {}, .tensors = {}, .values = json::parse(values)};
  if (absl::Status status = parallel_.Share(checkpoint->tensors); !status.ok()) return status;
  if (absl::Status status = Load(*checkpoint, optimizer); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(checkpoint->folder.string(), ": ", status.message()));
  }
  options_.log(absl::StrCat("goes on from ", checkpoint->folder.string()));
  if (const int made_by = checkpoint->values.value("processes", 1); made_by != parallel_.size()) {
    options_.log(absl::StrCat("it was made by ", made_by, " processes, and now there are ", parallel_.size(),
                              ": the data are the same; what dropout draws is not, and sums are rounded otherwise"));
  }
  return absl::OkStatus();
}

absl::Status Trainer::Load(const TrainingCheckpoint& checkpoint, language::Optimizer& optimizer) {
  const TensorMap weights = Part(checkpoint.tensors, kWeights);
  if (weights.size() != optimizer.tensors().size()) {
    return absl::InvalidArgumentError(absl::StrCat("it has ", weights.size(), " tensors, and ",
                                                   optimizer.tensors().size(),
                                                   " are trained; it was made for another model or adapter"));
  }
  for (const language::TrainedTensor& trained : optimizer.tensors()) {
    const auto found = weights.find(trained.name);
    if (found == weights.end() || found->second.sizes() != trained.tensor.sizes()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", trained.name, " is missing or has another shape; it was made for another model or adapter"));
    }
  }
  if (!checkpoint.tensors.contains(kGenerator)) return absl::DataLossError("it has no generator's state");
  try {
    const json& values = checkpoint.values;
    step_ = values.at("step").get<int64_t>();
    tokens_ = values.at("tokens").get<int64_t>();
    skipped_ = values.at("skipped").get<int64_t>();
    mean_ = values.at("mean").get<double>();
    if (values.contains("best_step")) {
      best_step_ = values.at("best_step").get<int64_t>();
      best_loss_ = values.at("best_loss").get<double>();
    }
    const int64_t begin = values.at("round_begin").get<int64_t>(), steps = values.at("round_steps").get<int64_t>();
    const bool cut_off = step_ < begin + steps && steps == options_.steps;
    round_begin_ = cut_off ? begin : step_;
    if (absl::Status status =
            optimizer.SetState(Part(checkpoint.tensors, kOptimizer), values.at("optimizer_steps").get<int64_t>());
        !status.ok())
      return status;
    if (absl::Status status = task_.SetPosition(values.at("position")); !status.ok()) return status;
  } catch (const json::exception& error) {
    return absl::DataLossError(absl::StrCat("its values are not those of a checkpoint: ", error.what()));
  }
  for (const language::TrainedTensor& trained : optimizer.tensors())
    language::SetValues(trained, weights.at(trained.name));
  if (const auto own = checkpoint.tensors.find(GeneratorOf(parallel_.rank())); own != checkpoint.tensors.end()) {
    SetGeneratorState(own->second);
  } else {  // one process more than made it
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    generator.set_current_seed(SeedOfProcess(options_.seed + static_cast<uint64_t>(step_), parallel_.rank()));
  }
  return absl::OkStatus();
}

absl::Status Trainer::Save(const TrainingCheckpoints* checkpoints, const language::Optimizer& optimizer) {
  TensorMap tensors;
  for (const language::TrainedTensor& trained : optimizer.tensors()) {
    if (!trained.tensor.isfinite().all().item<bool>())
      return absl::OutOfRangeError(absl::StrCat("tensor ", trained.name,
                                                " holds a value that is not finite; lower "
                                                "--learning-rate. The last checkpoint is good"));
    tensors[absl::StrCat(kWeights, trained.name)] = trained.tensor.detach();
  }
  for (const auto& [name, tensor] : optimizer.State()) tensors[absl::StrCat(kOptimizer, name)] = tensor;
  if (absl::Status status = parallel_.CheckEqual(TensorsOf(optimizer)); !status.ok()) return status;
  const absl::StatusOr<std::vector<at::Tensor>> generators = parallel_.Gather(GeneratorState());
  if (!generators.ok()) return generators.status();
  if (checkpoints == nullptr) return absl::OkStatus();
  for (int rank = 0; rank < parallel_.size(); ++rank)
    tensors[GeneratorOf(rank)] = (*generators)[static_cast<size_t>(rank)];
  json values = {{"step", step_},
                 {"round_begin", round_begin_},
                 {"round_steps", round_steps_},
                 {"optimizer_steps", optimizer.steps()},
                 {"tokens", tokens_},
                 {"skipped", skipped_},
                 {"mean", mean_},
                 {"position", task_.Position()}};
  if (best_step_) {
    values["best_step"] = *best_step_;
    values["best_loss"] = *best_loss_;
  }
  if (parallel_.size() > 1) values["processes"] = parallel_.size();
  return checkpoints->Save(step_, tensors, values, best_step_);
}

// The whole step's gradients and numbers, from the processes' parts.
absl::Status Trainer::SumStep(StepLoss& step, const language::Optimizer& optimizer) {
  std::vector<double> numbers = {step.loss, static_cast<double>(step.tokens), step.flops, step.part};
  numbers.insert(numbers.end(), step.figures.begin(), step.figures.end());
  if (absl::Status status = parallel_.SumGradients(TensorsOf(optimizer), numbers); !status.ok()) return status;
  if (std::abs(numbers[3] - 1) > 1e-6) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the processes' parts of step %d add up to %.6f, and not to 1: they read other data, or have "
                        "another --batch. Start all with the same command and files",
                        step_ + 1, numbers[3]));
  }
  step.loss = numbers[0];
  step.tokens = static_cast<int64_t>(numbers[1]);
  step.flops = numbers[2];
  step.figures.assign(numbers.begin() + 4, numbers.end());
  return absl::OkStatus();
}

absl::Status Trainer::Loop(TrainingCheckpoints* checkpoints, language::Optimizer& optimizer) {
  std::optional<TrainingLog> log;
  if (checkpoints != nullptr) {
    absl::StatusOr<TrainingLog> opened = TrainingLog::Open(options_.folder, step_, task_.Figures());
    if (!opened.ok()) return opened.status();
    log = *std::move(opened);
  }
  const int64_t end = round_begin_ + round_steps_, begun = step_, tokens_begun = tokens_;
  const bool fresh = step_ == 0;
  bool others_stay = log && fresh && !checkpoints->Steps().empty();  // an older run's, which this one stands instead of
  const auto save = [&]() -> absl::Status {
    if (absl::Status status = Save(checkpoints, optimizer); !status.ok()) return status;
    if (others_stay) checkpoints->RemoveOthers(step_);
    others_stay = false;
    return log ? log->Draw() : absl::OkStatus();
  };
  if (fresh && log) {
    if (const absl::StatusOr<std::optional<double>> held_out = task_.Evaluate(0); !held_out.ok())
      return held_out.status();
  }
  const Clock::time_point start = Clock::now();
  Clock::time_point printed = start;
  double beside = 0;  // seconds that went into other things than steps
  double flops = 0;   // of the steps that this process took
  double peak = 0;    // flops a second that the machine can do; 0: not measured
  int64_t in_a_row = 0, saved = -1;
  double loss = INFINITY;
  while (step_ < end) {
    const absl::StatusOr<bool> stop = parallel_.Any(options_.stop());
    if (!stop.ok()) return stop.status();
    if (*stop) break;
    absl::StatusOr<StepLoss> learned = task_.AddGradients(options_.overfit && step_ > begun);
    if (!learned.ok()) return learned.status();
    if (absl::Status status = SumStep(*learned, optimizer); !status.ok()) return status;
    loss = learned->loss;
    const double rate = options_.learning_rate * RateFactor(options_.schedule, step_ + 1 - round_begin_, round_steps_);
    if (!std::isfinite(loss)) {  // its gradients must not count
      for (const language::TrainedTensor& trained : optimizer.tensors()) {
        if (trained.tensor.grad().defined()) trained.tensor.grad().fill_(NAN);
      }
    }
    const double norm = optimizer.Step(rate);
    ++step_;
    tokens_ += learned->tokens;
    flops += learned->flops;
    if (std::isfinite(norm)) {
      in_a_row = 0;
      mean_ = mean_ == 0 ? loss : 0.98 * mean_ + 0.02 * loss;
    } else {
      ++skipped_;
      options_.log(absl::StrFormat("step %d: the loss or its gradient is not finite; the step is left out", step_));
      if (++in_a_row == kMostSkipped) {
        return absl::OutOfRangeError(absl::StrCat(kMostSkipped, " steps in a row without a finite loss, the last one ",
                                                  step_, "; lower --learning-rate and give --restore latest"));
      }
    }
    const Clock::time_point step_done = Clock::now();
    const double seconds = Since(start) - beside;
    if (flops > 0 && peak == 0 && log) {
      peak = language::MatmulPeak(task_.bf16());
      options_.log(absl::StrFormat("this %s multiplies matrices at %.0f GFLOP/s in %s; MFU is the share used of it",
                                   parallel_.size() > 1 ? "process" : "machine", peak / 1e9,
                                   task_.bf16() ? "bf16" : "fp32"));
      peak *= parallel_.size();
    }
    TrainingRow row{.step = step_,
                    .loss = loss,
                    .rate = rate,
                    .gradient = norm,
                    .tokens = tokens_,
                    .figures = learned->figures,
                    .seconds = seconds};
    const bool last = step_ == end;
    if (last || (options_.evaluate_every > 0 && step_ % options_.evaluate_every == 0)) {
      double measured = NAN;
      if (log) {
        const absl::StatusOr<std::optional<double>> held_out = task_.Evaluate(step_);
        if (!held_out.ok()) return held_out.status();
        measured = held_out->value_or(NAN);
      }
      if (absl::Status status = parallel_.Share(measured); !status.ok()) return status;
      if (!std::isnan(measured)) row.held_out = measured;
      if (row.held_out && (!best_loss_ || *row.held_out < *best_loss_)) {
        best_loss_ = row.held_out;
        best_step_ = step_;
      }
    }
    if (log) {
      if (absl::Status status = log->Add(row); !status.ok()) return status;
    }
    const bool due = options_.print_every > 0 ? step_ % options_.print_every == 0 : Since(printed) >= 5;
    if (last || due || step_ == begun + 1) {
      printed = Clock::now();
      std::string figures;
      for (size_t i = 0; i < row.figures.size(); ++i)
        absl::StrAppend(&figures, absl::StrFormat(", %s %.4f", task_.Figures()[i], row.figures[i]));
      options_.log(absl::StrFormat(
          "step %d of %d, loss %.4f (mean %.4f)%s, gradient %.2f, rate %.2e, %.0f tokens/s%s, %.0f s left", step_, end,
          loss, mean_, figures, norm, rate, static_cast<double>(tokens_ - tokens_begun) / seconds,
          peak > 0 ? absl::StrFormat(" (MFU %.0f %%)", 100 * flops / seconds / peak) : "",
          seconds / static_cast<double>(step_ - begun) * static_cast<double>(end - step_)));
    }
    if (log && options_.sample_every > 0 && step_ % options_.sample_every == 0) {
      const absl::StatusOr<std::string> sample = task_.Sample();
      if (!sample.ok()) return sample.status();
      if (!sample->empty()) options_.log(absl::StrCat("--- step ", step_, "\n", *sample, "\n---"));
    }
    // The best one is kept, so it has to be saved when it is.
    const bool saves = options_.save_every > 0 || options_.finish_with_best;
    if ((options_.save_every > 0 && step_ % options_.save_every == 0) || (saves && best_step_ == step_)) {
      if (absl::Status status = save(); !status.ok()) return status;
      saved = step_;
    }
    beside += Since(step_done);
  }
  if (step_ < end) options_.log(absl::StrCat("stopped after step ", step_, " of ", end));
  if (saved != step_) {
    if (absl::Status status = save(); !status.ok()) return status;
  }
  if (log && options_.finish_with_best && step_ == end && best_step_ && best_step_ != step_) {
    absl::StatusOr<TrainingCheckpoint> best = TrainingCheckpoints::Read(checkpoints->Folder(*best_step_));
    if (!best.ok()) return best.status();
    for (const language::TrainedTensor& trained : optimizer.tensors())
      language::SetValues(trained, best->tensors.at(absl::StrCat(kWeights, trained.name)));
    options_.log(absl::StrFormat("the result is that of step %d, held-out loss %.4f", *best_step_, *best_loss_));
  }
  if (skipped_ > 0) options_.log(absl::StrCat(skipped_, " steps were left out, their loss was not finite"));
  if (options_.overfit && step_ == end && !(loss < kOverfitLoss)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("one step's data could not be learned by heart: the loss is %.3f after %d steps, and not below "
                        "%.1f. Try more --steps or another --learning-rate",
                        loss, end - begun, kOverfitLoss));
  }
  return absl::OkStatus();
}

}  // namespace blazon::service
