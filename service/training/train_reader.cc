#include "service/training/train_reader.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/training/adamw.h"
#include "retrieval/document_loader.h"
#include "service/checkpoint/embedder_loader.h"
#include "service/checkpoint/sentence_reader_file.h"
#include "service/collection_embedder.h"
#include "service/reader.h"
#include "service/training/random_source.h"
#include "service/training/reader_loss.h"
#include "service/training/reading_set.h"
#include "service/training/reading_task.h"

namespace blazon::service {
namespace {

using Log = std::function<void(const std::string&)>;

absl::Status OutOfRange(const char* name, double value, double low, double high) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be ", low, " to ", high));
}

absl::Status Validate(const TrainReaderOptions& options) {
  struct Range {
    const char* name;
    double value, low, high;
  };
  for (const Range& range :
       {Range{"layers", static_cast<double>(options.layers), 1, 24}, Range{"epochs", options.epochs, 0.01, 1000},
        Range{"batch", static_cast<double>(options.batch), 1, 256},
        Range{"candidates", static_cast<double>(options.candidates), 2, 12},
        Range{"learning-rate", options.learning_rate, 0, 1}, Range{"head-rate", options.head_rate, 0, 1},
        Range{"weight-decay", options.weight_decay, 0, 10}, Range{"dropout", options.dropout, 0, 0.9},
        Range{"refusal-weight", options.refusal_weight, 0, 100},
        Range{"max-steps", static_cast<double>(options.max_steps), 0, 1e9}}) {
    if (!(range.value >= range.low && range.value <= range.high))
      return OutOfRange(range.name, range.value, range.low, range.high);
  }
  if (options.data.empty()) return absl::InvalidArgumentError("no reading set was given; give one with --data FILE");
  return absl::OkStatus();
}

// "NAME sha256:DIGEST" of each file.
absl::StatusOr<std::string> DataDigests(const std::vector<std::filesystem::path>& files) {
  std::string digests;
  for (const std::filesystem::path& file : files) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return absl::NotFoundError(absl::StrCat(file.string(), " could not be read"));
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    absl::StrAppend(&digests, digests.empty() ? "" : ", ", file.filename().string(),
                    " sha256:", retrieval::ContentDigest(bytes));
  }
  return digests;
}

// The states of all texts, in fp16.
absl::StatusOr<std::vector<language::TextStates>> AllStates(const language::BertEmbedder& embedder,
                                                            const std::vector<std::string>& texts, int64_t first_layer,
                                                            const Log& log, const char* what) {
  std::vector<language::TextStates> states;
  constexpr size_t kTexts = 512;
  for (size_t begin = 0; begin < texts.size(); begin += kTexts) {
    const absl::Span<const std::string> part = absl::MakeConstSpan(texts).subspan(begin, kTexts);
    absl::StatusOr<std::vector<language::TextStates>> read = embedder.States(part, first_layer);
    if (!read.ok()) return read.status();
    for (language::TextStates& text : *read) {
      for (at::Tensor& layer : text) layer = layer.to(at::kHalf);
      states.push_back(std::move(text));
    }
    log(absl::StrCat(what, " read: ", states.size(), " of ", texts.size()));
  }
  return states;
}

// The tasks with what the encoder made of their texts.
struct ReaderData {
  ReadingTasks set;
  std::vector<language::TextStates> passages, questions;  // questions: one for each task
};

// Scores of the candidates `picked` of these tasks, one after another: [sum, 2].
at::Tensor Scores(const language::SentenceReader& reader, const ReaderData& data, const std::vector<size_t>& tasks,
                  const std::vector<std::vector<size_t>>& picked,
                  const std::function<at::Tensor(const at::Tensor&)>& dropout = {}) {
  std::vector<const language::TextStates*> questions, passages;
  std::vector<std::vector<float>> features;
  for (size_t i = 0; i < tasks.size(); ++i) {
    for (const size_t candidate : picked[i]) {
      const ReadingCandidate& sentence = data.set.tasks[tasks[i]].candidates[candidate];
      questions.push_back(&data.questions[tasks[i]]);
      passages.push_back(&data.passages[sentence.passage]);
      features.push_back(sentence.features);
    }
  }
  return reader.Forward(language::PadPairs(questions, passages, features), dropout);
}

// What is measured on one set of tasks, of a reader or (null) of RankSentences alone.
struct Measure {
  int64_t answered = 0, right = 0, right_document = 0;
  std::vector<double> sure[3];  // by TaskKind: how sure it is that there is an answer

  // Of the tasks of a kind, the share below what `false_refusals` of the answered ones are below.
  double Refused(TaskKind kind, double false_refusals) const {
    std::vector<double> own = sure[0];
    if (own.empty() || sure[static_cast<int>(kind)].empty()) return 0;
    std::sort(own.begin(), own.end());
    const double threshold = own[static_cast<size_t>(false_refusals * static_cast<double>(own.size() - 1))];
    int64_t below = 0;
    for (const double value : sure[static_cast<int>(kind)]) below += value < threshold;
    return static_cast<double>(below) / static_cast<double>(sure[static_cast<int>(kind)].size());
  }
  double Threshold(double false_refusals) const {
    std::vector<double> own = sure[0];
    if (own.empty()) return 0;
    std::sort(own.begin(), own.end());
    return own[static_cast<size_t>(false_refusals * static_cast<double>(own.size() - 1))];
  }
};

Measure Evaluate(const language::SentenceReader* reader, const ReaderData& data) {
  const at::NoGradGuard no_grad;
  Measure measure;
  for (size_t i = 0; i < data.set.tasks.size(); ++i) {
    const ReadingTask& task = data.set.tasks[i];
    if (!task.held_out) continue;
    size_t best = 0;
    double sure = task.candidates[0].confidence;
    if (reader != nullptr) {
      std::vector<size_t> all;
      for (size_t j = 0; j < task.candidates.size(); ++j) all.push_back(j);
      const at::Tensor scores = Scores(*reader, data, {i}, {all});
      best = static_cast<size_t>(scores.select(1, 0).argmax().item<int64_t>());
      sure = scores[static_cast<int64_t>(best)][1].sigmoid().item<double>();
    }
    measure.sure[static_cast<int>(task.kind)].push_back(sure);
    if (task.kind != TaskKind::kAnswered) continue;
    ++measure.answered;
    measure.right += task.candidates[best].right;
    measure.right_document += task.candidates[best].right_document;
  }
  return measure;
}

void Report(const std::string& what, const Measure& measure, const Log& log) {
  const double answered = std::max<double>(1, static_cast<double>(measure.answered));
  log(absl::StrFormat("%s: of %d held-out questions, sentence right %.1f %%, document right %.1f %%", what,
                      measure.answered, 100 * static_cast<double>(measure.right) / answered,
                      100 * static_cast<double>(measure.right_document) / answered));
  for (const double share : {0.05, 0.1, 0.15}) {
    log(absl::StrFormat(
        "%s: refusing %.0f %% of them (below %.3f) refuses %.1f %% of %d on-topic and %.1f %% of %d "
        "off-topic questions without an answer",
        what, 100 * share, measure.Threshold(share), 100 * measure.Refused(TaskKind::kOnTopic, share),
        measure.sure[1].size(), 100 * measure.Refused(TaskKind::kOffTopic, share), measure.sure[2].size()));
  }
}

// Mean and scale of the training candidates' features, [F] each.
std::pair<at::Tensor, at::Tensor> FeatureScale(const ReadingTasks& set) {
  std::vector<float> flat;
  for (const ReadingTask& task : set.tasks) {
    if (task.held_out) continue;
    for (const ReadingCandidate& candidate : task.candidates)
      flat.insert(flat.end(), candidate.features.begin(), candidate.features.end());
  }
  const at::Tensor all = at::tensor(flat).view({-1, kReaderFeatures});
  return {all.mean(0), all.std(0).clamp_min(1e-3)};
}

// Draws batches: all answered questions in a new order each epoch, with as many that have no answer, half of them on
// topic.
class TaskSource {
 public:
  TaskSource(const ReadingTasks& set, uint64_t seed) : random_(seed) {
    for (size_t i = 0; i < set.tasks.size(); ++i) {
      const ReadingTask& task = set.tasks[i];
      if (task.held_out) continue;
      const bool right = std::any_of(task.candidates.begin(), task.candidates.end(),
                                     [](const ReadingCandidate& candidate) { return candidate.right; });
      if (task.kind == TaskKind::kAnswered) {
        if (right) answered_.push_back(i);
      } else {
        others_[task.kind == TaskKind::kOnTopic ? 0 : 1].push_back(i);
      }
    }
  }

  // Questions in a pass over all answered ones.
  int64_t epoch() const { return static_cast<int64_t>(answered_.size() + Half(0) + Half(1)); }
  size_t answered() const { return answered_.size(); }
  size_t others(size_t kind) const { return others_[kind].size(); }

  size_t Next() {
    if (left_.empty()) {
      left_ = answered_;
      for (const size_t kind : {0, 1}) {
        Shuffle(others_[kind]);
        left_.insert(left_.end(), others_[kind].begin(), others_[kind].begin() + static_cast<int64_t>(Half(kind)));
      }
      Shuffle(left_);
    }
    const size_t task = left_.back();
    left_.pop_back();
    return task;
  }

  // The candidates of a task for one step: the right one first, then others, mostly those that look best.
  std::vector<size_t> Pick(const ReadingTask& task, int64_t count) {
    std::vector<size_t> picked, wrong;
    for (size_t i = 0; i < task.candidates.size(); ++i) {
      if (!task.candidates[i].right)
        wrong.push_back(i);
      else if (picked.empty())
        picked.push_back(i);
    }
    // Without an answer half as many do: the worst of them decides.
    const size_t wanted = task.kind == TaskKind::kAnswered ? static_cast<size_t>(count - 1)
                                                           : static_cast<size_t>(std::max<int64_t>(2, count / 2));
    wrong.resize(std::min(wrong.size(), wanted + 3));
    Shuffle(wrong);
    wrong.resize(std::min(wrong.size(), wanted));
    picked.insert(picked.end(), wrong.begin(), wrong.end());
    return picked;
  }

 private:
  // How many of a kind without an answer go into a pass: half as many as have one.
  size_t Half(size_t kind) const { return std::min((answered_.size() + 1) / 2, others_[kind].size()); }

  void Shuffle(std::vector<size_t>& values) {
    for (size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[static_cast<size_t>(random_.Below(static_cast<int64_t>(i)))]);
  }

  RandomSource random_;
  std::vector<size_t> answered_, left_;
  std::vector<size_t> others_[2];  // on topic, off topic
};

}  // namespace

absl::Status TrainReader(const TrainReaderOptions& options) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  const Log log = options.log ? options.log : [](const std::string& line) { std::cerr << line << std::endl; };
  const std::function<bool()> stop = options.stop ? options.stop : [] { return false; };

  absl::StatusOr<std::string> digests = DataDigests(options.data);
  if (!digests.ok()) return digests.status();
  absl::StatusOr<std::vector<ReadingDocument>> documents = ReadReadingSet(options.data);
  if (!documents.ok()) return documents.status();
  absl::StatusOr<std::unique_ptr<language::TextEmbedder>> loaded =
      LoadTextEmbedder(options.embedder, at::kCPU, language::EmbedderPrecision::kFp32);
  if (!loaded.ok()) return loaded.status();
  const auto* embedder = dynamic_cast<const language::BertEmbedder*>(loaded->get());
  if (embedder == nullptr) return absl::InvalidArgumentError("the reader stands on a BERT embedder");
  if (options.layers > embedder->config().layers) {
    return OutOfRange("layers", static_cast<double>(options.layers), 1, static_cast<double>(embedder->config().layers));
  }
  const int64_t first_layer = embedder->config().layers - options.layers;

  ReaderData data;
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / absl::StrCat("blazon_reading.", getpid());
  absl::StatusOr<ReadingTasks> made =
      MakeReadingTasks(*documents, CollectionEmbedder(*embedder), folder, {}, log, stop);
  if (!made.ok()) return made.status();
  data.set = *std::move(made);
  TaskSource source(data.set, options.seed);
  if (source.answered() == 0) {
    return absl::InvalidArgumentError(
        "the data has no answered question to train on: all its documents are held out, or search finds none of the "
        "answers");
  }
  log(absl::StrCat(documents->size(), " documents; to train on: ", source.answered(), " questions with an answer, ",
                   source.others(0), " on topic and ", source.others(1), " off topic without"));
  absl::StatusOr<std::vector<language::TextStates>> passages =
      AllStates(*embedder, data.set.passages, first_layer, log, "sentences");
  if (!passages.ok()) return passages.status();
  data.passages = *std::move(passages);
  std::vector<std::string> questions;
  for (const ReadingTask& task : data.set.tasks) questions.push_back(task.question);
  absl::StatusOr<std::vector<language::TextStates>> asked =
      AllStates(*embedder, questions, first_layer, log, "questions");
  if (!asked.ok()) return asked.status();
  data.questions = *std::move(asked);
  for (language::TextStates& question : data.questions) question.resize(1);  // the layer that the reader starts from
  Report("before", Evaluate(nullptr, data), log);

  // At the start: order as RankSentences does, confidence about as it measures it.
  const auto [mean, scale] = FeatureScale(data.set);
  const at::Tensor weights = at::tensor({1.0F, 1.0F, 0.0F, 0.0F, 1.0F, 0.3F, 0.0F, 0.6F, 0.6F, 0.0F}).view({2, 5});
  absl::StatusOr<std::unique_ptr<language::SentenceReader>> created = language::SentenceReader::Create(
      embedder->config(),
      language::SentenceReader::Start(*embedder, options.layers, mean, scale, weights, options.seed + 1));
  if (!created.ok()) return created.status();
  const language::SentenceReader& reader = **created;
  language::ParameterGroup copied{{}, options.learning_rate, options.weight_decay};
  language::ParameterGroup fresh{{}, options.head_rate, options.weight_decay};
  for (const auto& [name, tensor] : reader.tensors()) {
    if (name == "feature_mean" || name == "feature_scale") continue;
    at::Tensor parameter = tensor;
    parameter.requires_grad_(true);
    (absl::StartsWith(name, "encoder.") ? copied : fresh).parameters.push_back(parameter);
  }
  language::AdamW optimiser({copied, fresh});
  at::Generator generator = at::detail::createCPUGenerator(options.seed + 2);
  std::function<at::Tensor(const at::Tensor&)> dropout;
  if (options.dropout > 0)
    dropout = [&](const at::Tensor& x) {
      return x.mul(at::rand(x.sizes(), generator, at::kFloat).ge(options.dropout)).mul(1 / (1 - options.dropout));
    };

  const int64_t all_steps = std::max<int64_t>(
      1, std::llround(options.epochs * static_cast<double>(source.epoch()) / static_cast<double>(options.batch)));
  const int64_t steps = options.max_steps > 0 ? std::min(all_steps, options.max_steps) : all_steps;
  double running = 0;
  const auto start = std::chrono::steady_clock::now();
  auto last = start;
  for (int64_t step = 1; step <= steps && !stop(); ++step) {
    std::vector<size_t> tasks;
    std::vector<std::vector<size_t>> picked;
    for (int64_t i = 0; i < options.batch; ++i) {
      tasks.push_back(source.Next());
      picked.push_back(source.Pick(data.set.tasks[tasks.back()], options.candidates));
    }
    const at::Tensor scores = Scores(reader, data, tasks, picked, dropout);
    std::vector<at::Tensor> losses;
    int64_t row = 0;
    for (size_t i = 0; i < tasks.size(); ++i) {
      const int64_t count = static_cast<int64_t>(picked[i].size());
      losses.push_back(ReaderLoss(scores.narrow(0, row, count), data.set.tasks[tasks[i]].kind == TaskKind::kAnswered,
                                  options.refusal_weight));
      row += count;
    }
    const at::Tensor loss = at::stack(losses).mean();
    loss.backward();
    const double progress = static_cast<double>(step) / static_cast<double>(all_steps);
    if (!std::isfinite(optimiser.Step(language::CosineFactor(progress, 0.06))))
      return absl::OutOfRangeError("the loss is not a finite number; lower the learning rates");
    const double value = loss.item<double>();
    running = step == 1 ? value : 0.97 * running + 0.03 * value;
    const auto now = std::chrono::steady_clock::now();
    if (step <= 3 || step == steps || now - last > std::chrono::seconds(10)) {
      last = now;
      const double elapsed = std::chrono::duration<double>(now - start).count();
      log(absl::StrFormat("step %d of %d, loss %.4f, %.1f questions/s, %.0f s left", step, steps, running,
                          static_cast<double>(step * options.batch) / elapsed,
                          elapsed / static_cast<double>(step) * static_cast<double>(steps - step)));
    }
  }
  const Measure measure = Evaluate(&reader, data);
  Report("after", measure, log);
  std::map<std::string, std::string> notes;
  notes["command"] = options.command;
  notes["seed"] = absl::StrCat(options.seed);
  notes["data"] = *digests;
  return WriteSentenceReader(options.output, reader, *embedder, notes);
}

}  // namespace blazon::service
