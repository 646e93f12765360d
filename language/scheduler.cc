#include "language/scheduler.h"

#include <ATen/ops/cat.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "language/beam_sequence.h"
#include "language/prompt_checks.h"
#include "language/sampled_sequence.h"
#include "language/sequence.h"

namespace blazon::language {
namespace {

using Clock = Sequence::Clock;

uint64_t DrawSeed() {
  std::random_device device;
  return ((static_cast<uint64_t>(device()) << 32) | device()) >> 11;  // 53 bits: exact in every JSON reader
}

// Collects a generation for Generate, and hands the text on when the request has a sink of its own.
class CollectingSink : public TextSink {
 public:
  explicit CollectingSink(std::shared_ptr<TextSink> next) : next_(std::move(next)) {}

  bool OnText(std::string_view text) override {
    text_.append(text);
    return next_ == nullptr || next_->OnText(text);
  }

  bool OnSequenceText(int64_t index, std::string_view text) override {
    return next_ == nullptr || next_->OnSequenceText(index, text);
  }

  void OnDone(const absl::StatusOr<GenerationResult>& result) override {
    if (next_ != nullptr) next_->OnDone(result);
    std::lock_guard lock(mutex_);
    result_ = result;
    done_.notify_all();
  }

  absl::StatusOr<std::pair<std::string, GenerationResult>> Wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return result_.has_value(); });
    if (!result_->ok()) return result_->status();
    return std::make_pair(std::move(text_), **std::move(result_));
  }

 private:
  const std::shared_ptr<TextSink> next_;
  std::string text_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::optional<absl::StatusOr<GenerationResult>> result_;
};

}  // namespace

class Scheduler::Impl {
 public:
  Impl(const LanguageModel& model, const Tokenizer& tokenizer, SchedulerOptions options)
      : model_(model), tokenizer_(tokenizer), options_(std::move(options)), last_step_(Clock::now()), thread_([this] {
          Run();
        }) {}

  ~Impl() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  absl::StatusOr<CancelFunction> Submit(GenerationRequest request) {
    if (request.sink == nullptr) return absl::InvalidArgumentError("sink is missing");
    const LanguageModelConfig& config = model_.config();
    absl::Status status = Validate(request.options, config.vocabulary_size, config.context_length);
    if (status.ok()) status = CheckWidth(request.options);
    if (status.ok()) status = CheckPrompt(request, config);
    if (status.ok()) status = CheckPromptScores(request);
    if (!status.ok()) return status;
    const std::shared_ptr<Sequence> sequence = MakeSequence(std::move(request));
    {
      std::lock_guard lock(mutex_);
      if (static_cast<int64_t>(queue_.size()) >= options_.max_queued) {
        return absl::ResourceExhaustedError(
            absl::StrCat("the queue is full: ", queue_.size(), " generations wait; try again later"));
      }
      queue_.push_back(sequence);
      idle_ = false;
    }
    wake_.notify_all();
    return [weak = std::weak_ptr<Sequence>(sequence)] {
      if (const auto cancelled = weak.lock()) cancelled->cancelled = true;
    };
  }

  std::chrono::milliseconds heartbeat_age() const {
    std::lock_guard lock(mutex_);
    if (idle_) return std::chrono::milliseconds(0);
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last_step_);
  }
  int64_t running() const {
    std::lock_guard lock(mutex_);
    return running_count_;
  }
  int64_t queued() const {
    std::lock_guard lock(mutex_);
    return static_cast<int64_t>(queue_.size());
  }

 private:
  using Batch = std::vector<std::shared_ptr<Sequence>>;

  // What one step did for a sequence.
  struct Stepped {
    std::shared_ptr<Sequence> sequence;
    int64_t rows = 0;  // of the batch, all its inputs together
    // Which of these rows choose a token: none while the prompt is not read to its end.
    int64_t choosing_rows = 0;
    at::Tensor logits = {};                   // [choosing_rows, V]; undefined when there are none
    std::vector<TokenLogprob> prompt_scores;  // of the prompt tokens that these rows predict
  };

  absl::Status CheckWidth(const GenerationOptions& options) const {
    if (options.width() <= options_.max_sequences) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(options.num_beams > 1 ? "num_beams" : "num_sequences", " is ",
                                                   options.width(), "; at most ", options_.max_sequences,
                                                   " sequences run at once here"));
  }

  std::shared_ptr<Sequence> MakeSequence(GenerationRequest request) const {
    const uint64_t seed = request.options.seed.value_or(DrawSeed());
    if (request.options.num_beams > 1)
      return std::make_shared<BeamSequence>(std::move(request), seed, model_, tokenizer_, options_.end_tokens);
    return std::make_shared<SampledSequence>(std::move(request), seed, model_, tokenizer_, options_.end_tokens);
  }

  void Run() {
    c10::InferenceMode inference;
    while (Admit()) {
      EndInterrupted();
      Step(running_);
      std::lock_guard lock(mutex_);
      last_step_ = Clock::now();
    }
    for (const auto& sequence : running_) sequence->Finish(FinishReason::kCancelled);
  }

  // Waits until there is work, then lets queued sequences join. False: the scheduler is being destroyed.
  bool Admit() {
    std::unique_lock lock(mutex_);
    if (running_.empty() && queue_.empty()) {
      idle_ = true;
      running_count_ = 0;
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      last_step_ = Clock::now();
    }
    int64_t room = options_.max_sequences;
    for (const auto& sequence : running_) room -= sequence->width();
    while (!queue_.empty() &&
           (stopping_ || queue_.front()->width() <= room)) {  // in order: a wide one is not overtaken
      room -= queue_.front()->width();
      running_.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    // Those that were cancelled or timed out while they waited need no place in the batch: EndInterrupted ends them.
    const Clock::time_point now = Clock::now();
    const auto waiting = std::stable_partition(queue_.begin(), queue_.end(),
                                               [&](const auto& sequence) { return !sequence->Interrupted(now); });
    running_.insert(running_.end(), waiting, queue_.end());
    queue_.erase(waiting, queue_.end());
    running_count_ = static_cast<int64_t>(running_.size());
    return !stopping_;
  }

  void EndInterrupted() {
    const Clock::time_point now = Clock::now();
    for (const auto& sequence : Batch(running_)) {
      if (const std::optional<FinishReason> reason = sequence->Interrupted(now)) Leave(sequence, *reason);
    }
  }

  // One forward pass for the sequences of `batch`, which is running_ or a copy of some of it.
  void Step(const Batch& batch) {
    if (batch.empty()) return;
    std::vector<Stepped> stepped;
    try {
      stepped = Forward(batch);
    } catch (const std::exception&) {
      // The states still hold what they held, so each sequence can be tried alone: only those at fault fail.
      if (batch.size() > 1) {
        for (const auto& sequence : Batch(batch)) Step({sequence});
      } else {
        Leave(batch[0], absl::InternalError("the language model failed in this step; is there enough memory?"));
      }
      return;
    }
    for (const Stepped& one : stepped) {
      if (!one.logits.defined()) continue;
      const auto finished = one.sequence->Accept(one.logits);
      if (!finished.ok())
        Leave(one.sequence, finished.status());
      else if (finished->has_value())
        Leave(one.sequence, **finished);
    }
  }

  std::vector<Stepped> Forward(const Batch& batch) {
    std::vector<Stepped> stepped;
    std::vector<ModelInput> inputs;
    int64_t prompt_budget = options_.prefill_chunk;
    for (const auto& sequence : batch) {
      const int64_t left = sequence->prompt_tokens_left();
      const bool unspent = prompt_budget == options_.prefill_chunk;
      const int64_t chunk = left > 0 ? sequence->PromptChunk(prompt_budget, /*whole=*/unspent) : 0;
      if (left > 0 && chunk == 0) continue;  // its turn comes in a later step
      Stepped& one = stepped.emplace_back(Stepped{.sequence = sequence, .prompt_scores = {}});
      for (ModelInput& input : sequence->Next(chunk)) {
        one.rows += input.tokens.defined() ? input.tokens.size(0) : input.embeddings.size(0);
        inputs.push_back(std::move(input));
      }
      one.choosing_rows = left == 0 ? one.rows : one.rows >= left ? 1 : 0;
      if (left > 0) prompt_budget = std::max<int64_t>(0, prompt_budget - one.rows);
    }
    const at::Tensor hidden = model_.Forward(inputs);  // [N, D]
    std::vector<at::Tensor> choosing;
    int64_t row = 0;
    for (Stepped& one : stepped) {
      if (one.sequence->scores_prompt() && one.sequence->prompt_tokens_left() > 0)
        one.prompt_scores = one.sequence->ScorePrompt(model_.Logits(hidden.narrow(0, row, one.rows)));
      row += one.rows;
      if (one.choosing_rows > 0) choosing.push_back(hidden.narrow(0, row - one.choosing_rows, one.choosing_rows));
    }
    if (!choosing.empty()) {
      // To the CPU once a step: what follows, samplers and searches, is the CPU's.
      const at::Tensor all = model_.Logits(at::cat(choosing)).cpu().contiguous();  // [n, V]
      int64_t next = 0;
      for (Stepped& one : stepped) {
        if (one.choosing_rows > 0) one.logits = all.narrow(0, next, one.choosing_rows);
        next += one.choosing_rows;
      }
    }
    // Nothing can fail any more.
    for (Stepped& one : stepped) one.sequence->Read(one.rows, std::move(one.prompt_scores));
    return stepped;
  }

  void Leave(std::shared_ptr<Sequence> sequence, const absl::StatusOr<FinishReason>& end) {
    std::erase(running_, sequence);
    {
      std::lock_guard lock(mutex_);
      running_count_ = static_cast<int64_t>(running_.size());
    }
    if (end.ok())
      sequence->Finish(*end);
    else
      sequence->Fail(end.status());
  }

  const LanguageModel& model_;
  const Tokenizer& tokenizer_;
  const SchedulerOptions options_;

  Batch running_;  // the scheduler's thread alone

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Sequence>> queue_;
  int64_t running_count_ = 0;
  bool stopping_ = false;
  bool idle_ = true;
  Clock::time_point last_step_;

  std::thread thread_;  // last: it uses all of the above
};

Scheduler::Scheduler(const LanguageModel& model, const Tokenizer& tokenizer, SchedulerOptions options)
    : impl_(std::make_unique<Impl>(model, tokenizer, std::move(options))) {}
Scheduler::~Scheduler() = default;

absl::StatusOr<Scheduler::CancelFunction> Scheduler::Submit(GenerationRequest request) {
  return impl_->Submit(std::move(request));
}

absl::StatusOr<std::pair<std::string, GenerationResult>> Scheduler::Generate(GenerationRequest request) {
  auto sink = std::make_shared<CollectingSink>(std::move(request.sink));
  request.sink = sink;
  if (auto cancel = Submit(std::move(request)); !cancel.ok()) return cancel.status();
  return sink->Wait();
}

std::chrono::milliseconds Scheduler::heartbeat_age() const { return impl_->heartbeat_age(); }
int64_t Scheduler::running() const { return impl_->running(); }
int64_t Scheduler::queued() const { return impl_->queued(); }

}  // namespace blazon::language
