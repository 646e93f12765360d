#include "service/training/language_task.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/training/greedy_texts.h"
#include "service/training/random_source.h"

namespace blazon::service {
namespace {

using language::LossSum;
using language::TokenId;
using language::TrainingExample;
using nlohmann::json;

}  // namespace

std::vector<std::vector<const TrainingExample*>> PackRows(const std::vector<const TrainingExample*>& examples,
                                                          int64_t row_tokens) {
  std::vector<std::vector<const TrainingExample*>> rows;
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

std::vector<std::vector<const TrainingExample*>> PackRows(absl::Span<const TrainingExample> examples,
                                                          int64_t row_tokens) {
  std::vector<const TrainingExample*> pointers;
  for (const TrainingExample& example : examples) pointers.push_back(&example);
  return PackRows(pointers, row_tokens);
}

std::string TuningMemoryAdvice(bool recompute, int64_t row_tokens, bool adapter) {
  return absl::StrCat(recompute ? "" : "give --recompute, or ", "lower --row-tokens (", row_tokens,
                      adapter ? "), --rank, or the number of --targets"
                              : ") or --context, or train an adapter instead of all weights (--lora)");
}

void ShuffledOrder::Shuffle() {
  std::iota(order_.begin(), order_.end(), size_t{0});
  RandomSource random(seed_ * 1000003 + pass_);
  for (size_t i = order_.size(); i > 1; --i)
    std::swap(order_[i - 1], order_[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
}

size_t ShuffledOrder::Next() {
  if (next_ == 0) {
    ++pass_;
    Shuffle();
  }
  const size_t chosen = order_[next_];
  next_ = (next_ + 1) % order_.size();
  return chosen;
}

json ShuffledOrder::Position() const {
  return {{"count", order_.size()}, {"seed", seed_}, {"pass", pass_}, {"next", next_}};
}

absl::Status ShuffledOrder::SetPosition(const json& position) {
  try {
    if (position.at("count").get<size_t>() != order_.size()) {
      return absl::FailedPreconditionError(absl::StrCat("it was made with ", position.at("count").get<size_t>(),
                                                        " records or pieces of text, and now there are ", order_.size(),
                                                        ": the data or their options have changed. Begin a new run"));
    }
    seed_ = position.at("seed").get<uint64_t>();
    pass_ = position.at("pass").get<uint64_t>();
    next_ = position.at("next").get<size_t>();
  } catch (const json::exception&) {
    return absl::DataLossError("it says nothing of the data's position");
  }
  if (next_ >= order_.size()) return absl::DataLossError("its position lies behind the data");
  if (pass_ > 0) Shuffle();
  return absl::OkStatus();
}

HeldOutText LastAnswer(const TrainingExample& text, const std::vector<TokenId>& end_tokens) {
  size_t end = text.tokens.size();
  while (!text.learned[end - 1]) --end;
  size_t begin = end;
  while (begin > 1 && text.learned[begin - 1]) --begin;
  if (std::find(end_tokens.begin(), end_tokens.end(), text.tokens[end - 1]) != end_tokens.end()) --end;
  const auto at = [&](size_t i) { return text.tokens.begin() + static_cast<int64_t>(i); };
  return {{at(0), at(begin)}, {at(begin), at(end)}};
}

absl::StatusOr<std::unique_ptr<LanguageTask>> LanguageTask::Create(const LoadedLanguageModel& loaded,
                                                                   const TrainedModel& trained, ExampleSource& source,
                                                                   const LanguageTaskOptions& options,
                                                                   std::function<void(const std::string&)> log,
                                                                   std::function<bool()> stop) {
  if (options.batch < 1 || options.row_tokens < 1)
    return absl::InvalidArgumentError("--batch and --row-tokens must be at least 1");
  std::unique_ptr<LanguageTask> task(new LanguageTask(loaded, trained, source, options));
  task->log_ = std::move(log);
  task->stop_ = std::move(stop);
  return task;
}

void LanguageTask::SetHeldOut(std::vector<TrainingExample> examples, std::vector<std::vector<HeldOutText>> texts) {
  held_out_ = std::move(examples);
  texts_ = std::move(texts);
}

absl::Status LanguageTask::SetShare(int rank, int size) {
  const auto share = ShareOf("--batch", options_.batch, rank, size);
  if (share.ok()) share_ = *share;
  return share.status();
}

absl::StatusOr<StepLoss> LanguageTask::AddGradients(bool repeat) {
  if (!repeat) {
    last_.clear();
    for (int64_t i = 0; i < options_.batch; ++i) last_.push_back(source_.Next());
  }
  const absl::Span<const TrainingExample> own = absl::MakeConstSpan(last_).subspan(
      static_cast<size_t>(share_.first), static_cast<size_t>(share_.second - share_.first));
  int64_t all = 0;  // learned of the whole step
  for (const TrainingExample& example : last_) all += example.learned_count();
  StepLoss step;
  for (const TrainingExample& example : own) step.tokens += std::ssize(example.tokens);
  LossSum sum;
  for (const auto& row : PackRows(own, options_.row_tokens))
    sum += language::AddExampleGradients(*loaded_.model, trained_.adapter(), row, 1 / static_cast<double>(all));
  step.loss = sum.loss / static_cast<double>(all);
  step.part = static_cast<double>(sum.tokens) / static_cast<double>(all);
  step.flops = StepFlops(own, step.tokens, sum.tokens);
  return step;
}

// Two for each weight that a token meets, of the output matrix only learned tokens; two products of attention, over
// half of the text on average. The backward pass costs twice as much, or where the weights stay as they are as much
// again.
double LanguageTask::StepFlops(absl::Span<const TrainingExample> examples, int64_t tokens, int64_t learned) const {
  const language::LanguageModelConfig& config = loaded_.model->config();
  double body = 0, output = static_cast<double>(config.vocabulary_size) * static_cast<double>(config.width),
         attention = 0;
  for (const language::Parameter& parameter : loaded_.model->parameters()) {
    if (!parameter.linear || parameter.name.starts_with("lm_head.")) continue;
    body += static_cast<double>(parameter.outputs) * static_cast<double>(parameter.inputs);
  }
  for (const TrainingExample& example : examples) {
    const auto length = static_cast<double>(example.tokens.size());
    attention += 2 * 2 * length * length / 2 * static_cast<double>(config.layers) * static_cast<double>(config.width);
  }
  const double forward = 2 * body * static_cast<double>(tokens) + 2 * output * static_cast<double>(learned) + attention;
  return forward * (trained_.adapter() == nullptr ? 3 : 2);
}

bool LanguageTask::bf16() const {
  for (const language::Parameter& parameter : loaded_.model->parameters()) {
    if (parameter.linear && parameter.tensor.defined()) return parameter.tensor.scalar_type() == at::kBFloat16;
  }
  return false;
}

std::string LanguageTask::MemoryAdvice() const {
  return TuningMemoryAdvice(options_.recompute, options_.row_tokens, trained_.adapter() != nullptr);
}

absl::StatusOr<std::optional<double>> LanguageTask::Evaluate(int64_t step) {
  if (held_out_.empty()) return std::nullopt;
  LossSum sum;
  for (const auto& row : PackRows(held_out_, options_.row_tokens)) {
    if (stop_()) return std::nullopt;
    sum += language::ExampleLoss(*loaded_.model, trained_.adapter(), row);
  }
  std::string line = absl::StrFormat("step %d: held-out loss %.4f", step, sum.mean());
  int64_t written = 0, equal = 0;
  for (const std::vector<HeldOutText>& group : texts_) {
    if (written >= options_.evaluate_texts || stop_()) break;
    std::vector<std::vector<TokenId>> prompts;
    for (const HeldOutText& text : group) {
      if (written + std::ssize(prompts) < options_.evaluate_texts) prompts.push_back(text.prompt);
    }
    const auto said = language::GreedyTexts(*loaded_.model, trained_.adapter(), prompts, loaded_.end_tokens,
                                            options_.evaluate_tokens);
    for (size_t i = 0; i < said.size(); ++i, ++written) {
      const std::string text = Plain(said[i]), wanted = Plain(group[i].answer);
      equal += text == wanted ? 1 : 0;
      if (written < options_.print_evaluated)
        log_(absl::StrCat(text == wanted ? "  = " : "  x ", wanted, "  <-  ", text));
    }
  }
  if (written > 0) absl::StrAppend(&line, absl::StrFormat(", %d of %d texts as wanted", equal, written));
  log_(line);
  return sum.mean();
}

absl::StatusOr<std::string> LanguageTask::Sample() {
  std::vector<TokenId> prompt(loaded_.tokenizer->prefix().begin(), loaded_.tokenizer->prefix().end());
  const std::vector<TokenId> text = loaded_.tokenizer->Encode(options_.sample_prompt);
  prompt.insert(prompt.end(), text.begin(), text.end());
  if (prompt.empty() && !loaded_.end_tokens.empty()) prompt = {loaded_.end_tokens[0]};  // what stands between texts
  if (prompt.empty()) return absl::InvalidArgumentError("there is nothing to write on from; give --sample-prompt");
  const auto said =
      language::GreedyTexts(*loaded_.model, trained_.adapter(), {prompt}, loaded_.end_tokens, options_.sample_tokens);
  return absl::StrCat(options_.sample_prompt, loaded_.tokenizer->Decode(said[0], /*skip_special=*/true));
}

std::string LanguageTask::Plain(const std::vector<TokenId>& tokens) const {
  return std::string(absl::StripAsciiWhitespace(loaded_.tokenizer->Decode(tokens, /*skip_special=*/true)));
}

}  // namespace blazon::service
