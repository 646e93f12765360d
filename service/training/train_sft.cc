#include "service/training/train_sft.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/training/adamw.h"
#include "language/training/greedy_texts.h"
#include "language/training/training_example.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/random_source.h"
#include "service/training/sft_data.h"

namespace blazon::service {
namespace {

using language::TokenId;
using language::TrainingExample;
using Clock = std::chrono::steady_clock;
using Examples = std::vector<const TrainingExample*>;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

absl::Status CheckOptions(const TrainSftOptions& options) {
  const std::pair<const char*, double> above_zero[] = {{"--epochs", options.steps > 0 ? 1 : options.epochs},
                                                       {"--batch", static_cast<double>(options.batch)},
                                                       {"--row-tokens", static_cast<double>(options.row_tokens)},
                                                       {"--learning-rate", options.learning_rate}};
  for (const auto& [name, value] : above_zero) {
    if (!(value > 0) || !std::isfinite(value))
      return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be above 0"));
  }
  if (!(options.warm_up >= 0) || options.warm_up >= 1)
    return absl::InvalidArgumentError(absl::StrCat("--warm-up is ", options.warm_up, "; it must be 0 to below 1"));
  if (!(options.weight_decay >= 0) || !(options.clip_norm >= 0))
    return absl::InvalidArgumentError("--weight-decay and --clip must be 0 or more");
  if (options.evaluation.empty() && (options.evaluate_every > 0 || options.evaluate_texts > 0))
    return absl::InvalidArgumentError("--eval-every and --eval-texts need held-out records: --eval FILE");
  return absl::OkStatus();
}

// Rows of at most `row_tokens`, each example into the first that has room for it.
std::vector<Examples> Pack(const Examples& examples, int64_t row_tokens) {
  std::vector<Examples> rows;
  std::vector<int64_t> lengths;
  for (const TrainingExample* example : examples) {
    const int64_t length = std::ssize(example->tokens);
    size_t row = 0;
    while (row < rows.size() && lengths[row] + length > row_tokens) ++row;
    if (row == rows.size()) {
      rows.emplace_back();
      lengths.push_back(0);
    }
    rows[row].push_back(example);
    lengths[row] += length;
  }
  return rows;
}

// Records in an order that is drawn anew for each pass.
class RecordOrder {
 public:
  RecordOrder(size_t count, uint64_t seed) : order_(count), seed_(seed) {}

  size_t Next() {
    if (next_ == 0) {
      std::iota(order_.begin(), order_.end(), size_t{0});
      RandomSource random(seed_ * 1000003 + pass_++);
      for (size_t i = order_.size(); i > 1; --i)
        std::swap(order_[i - 1], order_[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
    }
    const size_t record = order_[next_];
    next_ = (next_ + 1) % order_.size();
    return record;
  }

 private:
  std::vector<size_t> order_;
  uint64_t seed_, pass_ = 0;
  size_t next_ = 0;
};

// A text's prompt and what the model shall say to it: the last run of learned tokens, without the end token.
struct Question {
  std::vector<TokenId> prompt, answer;
};

Question LastQuestion(const TrainingExample& text, const std::vector<TokenId>& end_tokens) {
  size_t end = text.tokens.size();
  while (!text.learned[end - 1]) --end;
  size_t begin = end;
  while (begin > 1 && text.learned[begin - 1]) --begin;
  if (std::find(end_tokens.begin(), end_tokens.end(), text.tokens[end - 1]) != end_tokens.end()) --end;
  return {{text.tokens.begin(), text.tokens.begin() + static_cast<int64_t>(begin)},
          {text.tokens.begin() + static_cast<int64_t>(begin), text.tokens.begin() + static_cast<int64_t>(end)}};
}

class SftRun {
 public:
  SftRun(const TrainSftOptions& options, LoadedLanguageModel loaded) : options_(options), loaded_(std::move(loaded)) {}

  absl::Status Run() {
    const SftDataOptions data_options = {
        .end_token = options_.end_token, .max_tokens = options_.row_tokens, .skip_long = options_.skip_long};
    absl::StatusOr<SftData> data = ReadSftData(options_.data, loaded_, data_options);
    if (!data.ok()) return data.status();
    Describe("train", *data);
    if (!options_.evaluation.empty()) {
      absl::StatusOr<SftData> held_out = ReadSftData(options_.evaluation, loaded_, data_options);
      if (!held_out.ok()) return held_out.status();
      held_out_ = *std::move(held_out);
      Describe("held out", held_out_);
    }
    absl::StatusOr<std::shared_ptr<language::Adapter>> adapter =
        language::NewLoraAdapter("sft", *loaded_.model, options_.lora);
    if (!adapter.ok()) return adapter.status();
    adapter_ = *std::move(adapter);
    try {
      return Train(*data);
    } catch (const c10::Error& error) {
      return absl::ResourceExhaustedError(absl::StrCat("training failed (", error.what_without_backtrace(),
                                                       "); if memory ran out, lower --row-tokens"));
    }
  }

 private:
  void Describe(const char* name, const SftData& data) const {
    options_.log(absl::StrFormat(
        "%s: %d records, %d texts, %d tokens computed (%d if each text stood alone), %d learned%s", name,
        data.records.size(), data.texts, data.tokens, data.separate, data.learned,
        data.skipped > 0 ? absl::StrFormat("; %d records left out, over %d tokens", data.skipped, options_.row_tokens)
                         : ""));
  }

  absl::Status Train(const SftData& data) {
    std::vector<at::Tensor> matrices;
    int64_t values = 0;
    for (const auto& [name, tensor] : language::LoraTensors(*adapter_)) {
      matrices.push_back(tensor);
      values += tensor.numel();
    }
    language::AdamW optimiser({{matrices, options_.learning_rate, options_.weight_decay}},
                              {.beta2 = 0.999, .clip_norm = options_.clip_norm});
    const auto records = static_cast<double>(data.records.size());
    const int64_t steps =
        options_.steps > 0
            ? options_.steps
            : std::max<int64_t>(1, std::llround(options_.epochs * records / static_cast<double>(options_.batch)));
    options_.log(absl::StrFormat("%d steps of %d records; %d values are trained", steps, options_.batch, values));
    if (absl::Status status = Evaluate(0); !status.ok()) return status;

    RecordOrder order(data.records.size(), options_.seed);
    Clock::time_point start = Clock::now(), printed = start;
    double mean = 0, idle = 0;  // seconds that went into evaluation
    int64_t computed = 0;
    for (int64_t step = 1; step <= steps && !options_.stop(); ++step) {
      Examples examples;
      int64_t learned = 0;
      for (int64_t i = 0; i < options_.batch; ++i) {
        examples.push_back(&data.records[order.Next()].joined);
        learned += examples.back()->learned_count();
        computed += std::ssize(examples.back()->tokens);
      }
      language::LossSum sum;
      for (const Examples& row : Pack(examples, options_.row_tokens)) {
        sum += language::AddExampleGradients(*loaded_.model, adapter_.get(), row, 1 / static_cast<double>(learned));
      }
      const double progress = static_cast<double>(step) / static_cast<double>(steps);
      const double norm = optimiser.Step(language::CosineFactor(progress, options_.warm_up));
      if (!std::isfinite(norm) || !std::isfinite(sum.loss))
        return absl::OutOfRangeError("the loss is not a finite number any more; lower --learning-rate");
      mean = step == 1 ? sum.mean() : 0.9 * mean + 0.1 * sum.mean();
      if (step == steps || step == 1 || SecondsSince(printed) >= 5) {
        printed = Clock::now();
        const double seconds = SecondsSince(start) - idle;
        options_.log(absl::StrFormat("step %d of %d, loss %.4f (mean %.4f), gradient %.2f, %.0f tokens/s, %.0f s left",
                                     step, steps, sum.mean(), mean, norm, static_cast<double>(computed) / seconds,
                                     seconds / static_cast<double>(step) * static_cast<double>(steps - step)));
      }
      const Clock::time_point before = Clock::now();
      const bool last = step == steps;
      if (last || (options_.evaluate_every > 0 && step % options_.evaluate_every == 0)) {
        if (absl::Status status = Evaluate(step); !status.ok()) return status;
      }
      if (!last && options_.save_every > 0 && step % options_.save_every == 0) {
        if (absl::Status status = Save(step); !status.ok()) return status;
      }
      idle += SecondsSince(before);
      done_ = step;
    }
    return Save(done_);
  }

  // The loss on all held-out records, and how many of the first texts the model writes as they are.
  absl::Status Evaluate(int64_t step) {
    if (held_out_.records.empty()) return absl::OkStatus();
    Examples examples;
    for (const SftRecord& record : held_out_.records) examples.push_back(&record.joined);
    language::LossSum sum;
    for (const Examples& row : Pack(examples, options_.row_tokens)) {
      if (options_.stop()) return absl::OkStatus();
      sum += language::ExampleLoss(*loaded_.model, adapter_.get(), row);
    }
    std::string line = absl::StrFormat("step %d: held-out loss %.4f", step, sum.mean());
    int64_t written = 0, equal = 0;
    for (const SftRecord& record : held_out_.records) {
      if (written >= options_.evaluate_texts || options_.stop()) break;
      std::vector<Question> questions;
      std::vector<std::vector<TokenId>> prompts;
      for (const TrainingExample& text : record.texts) {
        if (written + std::ssize(questions) >= options_.evaluate_texts) break;
        questions.push_back(LastQuestion(text, loaded_.end_tokens));
        prompts.push_back(questions.back().prompt);
      }
      const auto texts =
          language::GreedyTexts(*loaded_.model, adapter_.get(), prompts, loaded_.end_tokens, options_.evaluate_tokens);
      for (size_t i = 0; i < texts.size(); ++i, ++written) {
        const std::string said = Plain(texts[i]), wanted = Plain(questions[i].answer);
        equal += said == wanted ? 1 : 0;
        if (written < options_.print_evaluated)
          options_.log(absl::StrCat(said == wanted ? "  = " : "  x ", wanted, "  <-  ", said));
      }
    }
    if (written > 0) absl::StrAppend(&line, absl::StrFormat(", %d of %d texts as wanted", equal, written));
    options_.log(line);
    return absl::OkStatus();
  }

  std::string Plain(const std::vector<TokenId>& tokens) const {
    return std::string(absl::StripAsciiWhitespace(loaded_.tokenizer->Decode(tokens, /*skip_special=*/true)));
  }

  absl::Status Save(int64_t step) const {
    return WriteAdapter(options_.output, *adapter_, *loaded_.model, options_.lora, options_.base_name,
                        {{"command", options_.command}, {"step", absl::StrCat(step)}});
  }

  const TrainSftOptions& options_;
  const LoadedLanguageModel loaded_;
  std::shared_ptr<language::Adapter> adapter_;
  SftData held_out_;
  int64_t done_ = 0;  // steps
};

}  // namespace

absl::Status TrainSft(const TrainSftOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  if (options.dtype != "fp32" && options.dtype != "bf16")
    return absl::InvalidArgumentError(absl::StrCat("--dtype is ", options.dtype, "; training takes fp32 or bf16"));
  const language::Dtype dtype = options.dtype == "bf16" ? language::Dtype::kBf16 : language::Dtype::kFp32;
  absl::StatusOr<LoadedLanguageModel> loaded =
      LoadLanguageModel(options.model, {.dtype = dtype, .tokenizer = options.tokenizer});
  if (!loaded.ok()) return loaded.status();
  if (!loaded->warning.empty()) options.log(loaded->warning);
  return SftRun(options, *std::move(loaded)).Run();
}

}  // namespace blazon::service
