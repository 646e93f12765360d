#include "service/training/train_seq2seq.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/tokenizer/tokenizer_trainer.h"
#include "language/training/adamw.h"
#include "language/training/seq2seq_network.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/text_file.h"
#include "service/checkpoint/tokenizer_loader.h"
#include "service/checkpoint/tokenizer_writer.h"
#include "service/training/random_source.h"
#include "service/training/train_tokenizer.h"

namespace blazon::service {
namespace {

using language::TokenId;
using PairClock = std::chrono::steady_clock;

constexpr int64_t kIgnored = -100;  // a target of the loss that does not count

double SecondsAfter(PairClock::time_point start) {
  return std::chrono::duration<double>(PairClock::now() - start).count();
}

absl::Status CheckSeq2SeqOptions(const TrainSeq2SeqOptions& options) {
  for (const auto& [name, value, least] : {std::tuple("--batch", options.batch, 1),
                                           {"--steps", options.steps, 1},
                                           {"--eval-every", options.evaluate_every, 0},
                                           {"--eval-pairs", options.evaluate_pairs, 1}}) {
    if (value < least) return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; at least ", least));
  }
  if (!(options.learning_rate > 0) || !(options.weight_decay >= 0) || !(options.minutes >= 0) ||
      !(options.clip_norm >= 0) || !(options.warm_up >= 0 && options.warm_up < 1)) {
    return absl::InvalidArgumentError(
        "--learning-rate must be above 0, --weight-decay, --clip and --minutes at least 0, --warm-up from 0 to below "
        "1");
  }
  if (!(options.validation > 0 && options.validation < 1) ||
      !(options.label_smoothing >= 0 && options.label_smoothing < 1))
    return absl::InvalidArgumentError("--validation must be between 0 and 1, --label-smoothing from 0 to below 1");
  if (!language::ParseTokenizerKind(options.tokenizer).ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tokenizer is \"", options.tokenizer, "\"; it must be byte, character, word or bpe"));
  }
  return absl::OkStatus();
}

// A pair as tokens. target: the start token, the text, the end token.
struct EncodedPair {
  std::vector<TokenId> source, target;
  std::string text;  // of the target
};

class Seq2SeqRun {
 public:
  explicit Seq2SeqRun(const TrainSeq2SeqOptions& options) : options_(options), random_(options.seed) {}

  absl::StatusOr<Seq2SeqScore> Run() {
    try {
      if (absl::Status status = Prepare(); !status.ok()) return status;
      if (absl::Status status = Train(); !status.ok()) return status;
    } catch (const c10::Error&) {
      return absl::ResourceExhaustedError(
          "training failed in a tensor operation; there may be too little memory: lower --batch or --width");
    }
    if (absl::Status status = Save(); !status.ok()) return status;
    return score_;
  }

 private:
  absl::Status Prepare() {
    std::error_code error;
    if (!options_.overwrite && std::filesystem::exists(options_.output / "config.json", error)) {
      return absl::AlreadyExistsError(
          absl::StrCat(options_.output.string(), " has a model; name another folder, or give --overwrite"));
    }
    std::vector<TextPair> learned, held_out;
    for (const std::filesystem::path& path : options_.data) {
      absl::StatusOr<std::vector<TextPair>> pairs = ReadTextPairs(path);
      if (!pairs.ok()) return pairs.status();
      std::move(pairs->begin(), pairs->end(), std::back_inserter(learned));
    }
    if (!options_.evaluation.empty()) {
      absl::StatusOr<std::vector<TextPair>> pairs = ReadTextPairs(options_.evaluation);
      if (!pairs.ok()) return pairs.status();
      held_out = *std::move(pairs);
    } else {
      for (size_t i = learned.size(); i > 1; --i)
        std::swap(learned[i - 1], learned[random_.Below(static_cast<int64_t>(i))]);
      const auto count = static_cast<int64_t>(std::ceil(options_.validation * static_cast<double>(learned.size())));
      if (count >= std::ssize(learned))
        return absl::InvalidArgumentError("there are too few pairs to hold some out; give more, or --eval FILE");
      held_out.assign(learned.end() - count, learned.end());
      learned.resize(learned.size() - static_cast<size_t>(count));
    }
    if (std::ssize(held_out) > options_.evaluate_pairs) held_out.resize(static_cast<size_t>(options_.evaluate_pairs));

    TextCorpus corpus;
    for (const TextPair& pair : learned) {
      corpus.texts.push_back(pair.source);
      corpus.texts.push_back(pair.target);
    }
    absl::StatusOr<language::TokenizerConfig> tokenizer =
        LearnTokenizer({.kind = options_.tokenizer, .vocabulary_size = options_.vocabulary_size}, corpus);
    if (!tokenizer.ok()) return tokenizer.status();
    tokenizer_config_ = *tokenizer;
    auto made = language::PipelineTokenizer::Create(*std::move(tokenizer));
    if (!made.ok()) return made.status();
    tokenizer_ = *std::move(made);
    end_ = tokenizer_->FindToken(language::kEndOfText).value();
    for (const auto& [pairs, encoded] : {std::pair(&learned, &learned_), std::pair(&held_out, &held_out_)}) {
      for (TextPair& pair : *pairs) {
        EncodedPair each{tokenizer_->Encode(pair.source), {end_}, std::move(pair.target)};
        const std::vector<TokenId> target = tokenizer_->Encode(each.text);
        each.target.insert(each.target.end(), target.begin(), target.end());
        each.target.push_back(end_);
        const size_t length = each.source.size() + each.target.size();
        if (std::cmp_greater(length, options_.context)) {
          return absl::InvalidArgumentError(absl::StrCat("the pair \"", pair.source, "\" has ", length,
                                                         " tokens; the context has ", options_.context,
                                                         ". Leave it out, or raise --context"));
        }
        encoded->push_back(std::move(each));
      }
    }
    language::Seq2SeqConfig config = {.width = options_.width,
                                      .layers = options_.layers,
                                      .heads = options_.heads,
                                      .mlp_width = options_.mlp_width > 0 ? options_.mlp_width : 4 * options_.width,
                                      .vocabulary_size = tokenizer_->vocabulary_size(),
                                      .context_length = options_.context,
                                      .pre_norm = !options_.post_norm,
                                      .start_token = end_};
    auto network = language::Seq2SeqNetwork::Create(config, options_.dropout, options_.seed);
    if (!network.ok()) return network.status();
    network_ = *std::move(network);
    int64_t values = 0;
    for (const language::NetworkWeight& weight : network_->weights()) values += weight.tensor.numel();
    options_.log(absl::StrFormat("%d pairs to learn, %d held out; a vocabulary of %d; %d weights", learned_.size(),
                                 held_out_.size(), config.vocabulary_size, values));
    return absl::OkStatus();
  }

  struct Batch {
    at::Tensor sources;  // int64 [B, S]
    at::Tensor present;  // bool [B, S]
    at::Tensor inputs;   // int64 [B, T]: the targets but for their last token
    at::Tensor wanted;   // int64 [B, T]: the targets but for their first token, then kIgnored
  };
  static Batch Gather(const std::vector<const EncodedPair*>& pairs) {
    int64_t source = 0, target = 0;
    for (const EncodedPair* pair : pairs) {
      source = std::max(source, std::ssize(pair->source));
      target = std::max(target, std::ssize(pair->target) - 1);
    }
    const int64_t rows = std::ssize(pairs);
    Batch batch{at::zeros({rows, source}, at::kLong), at::zeros({rows, source}, at::kBool),
                at::zeros({rows, target}, at::kLong), at::full({rows, target}, kIgnored, at::kLong)};
    auto sources = batch.sources.accessor<int64_t, 2>(), inputs = batch.inputs.accessor<int64_t, 2>(),
         wanted = batch.wanted.accessor<int64_t, 2>();
    auto present = batch.present.accessor<bool, 2>();
    for (int64_t row = 0; row < rows; ++row) {
      const EncodedPair& pair = *pairs[row];
      for (int64_t i = 0; i < std::ssize(pair.source); ++i) {
        sources[row][i] = pair.source[i];
        present[row][i] = true;
      }
      for (int64_t i = 0; i + 1 < std::ssize(pair.target); ++i) {
        inputs[row][i] = pair.target[i];
        wanted[row][i] = pair.target[i + 1];
      }
    }
    return batch;
  }
  // mean: over the tokens; else their sum.
  at::Tensor Loss(const Batch& batch, bool training, bool mean) const {
    const at::Tensor logits = network_->Forward(batch.sources, batch.present, batch.inputs, training);  // [B*T, V]
    return at::cross_entropy_loss(logits, batch.wanted.view({-1}), {}, mean ? at::Reduction::Mean : at::Reduction::Sum,
                                  kIgnored, training ? options_.label_smoothing : 0.0);
  }

  absl::Status Train() {
    language::ParameterGroup matrices{{}, options_.learning_rate, options_.weight_decay},
        others{{}, options_.learning_rate, 0.0};
    for (const language::NetworkWeight& weight : network_->weights())
      (weight.decays ? matrices : others).parameters.push_back(weight.tensor);
    language::AdamW optimiser({matrices, others}, {.beta2 = 0.98, .clip_norm = options_.clip_norm});
    const PairClock::time_point start = PairClock::now();
    PairClock::time_point printed = start;
    double mean = 0, progress = 0;
    int64_t step = 0;
    std::vector<const EncodedPair*> order;
    while (progress < 1 && !options_.stop()) {
      ++step;
      std::vector<const EncodedPair*> pairs;
      while (std::ssize(pairs) < options_.batch) {
        if (order.empty()) {
          for (const EncodedPair& pair : learned_) order.push_back(&pair);
          for (size_t i = order.size(); i > 1; --i)
            std::swap(order[i - 1], order[random_.Below(static_cast<int64_t>(i))]);
        }
        pairs.push_back(order.back());
        order.pop_back();
      }
      const at::Tensor loss = Loss(Gather(pairs), /*training=*/true, /*mean=*/true);
      loss.backward();
      progress = static_cast<double>(step) / static_cast<double>(options_.steps);
      if (options_.minutes > 0) progress = std::max(progress, SecondsAfter(start) / (60 * options_.minutes));
      const double value = loss.item<double>();
      const double norm = optimiser.Step(language::CosineFactor(progress, options_.warm_up));
      if (!std::isfinite(value) || !std::isfinite(norm))
        return absl::OutOfRangeError("the loss is not a finite number any more; lower --learning-rate");
      mean = step == 1 ? value : 0.95 * mean + 0.05 * value;
      const bool last = progress >= 1;
      if (last || step == 1 || SecondsAfter(printed) >= 5) {
        printed = PairClock::now();
        options_.log(absl::StrFormat("step %d, loss %.4f (mean %.4f), gradient %.2f, %.0f pairs/s, %.0f s left", step,
                                     value, mean, norm,
                                     static_cast<double>(step * options_.batch) / SecondsAfter(start),
                                     SecondsAfter(start) / std::min(progress, 1.0) * (1 - std::min(progress, 1.0))));
      }
      if (last || (options_.evaluate_every > 0 && step % options_.evaluate_every == 0)) {
        Evaluate(step);
        if (static_cast<double>(score_.exact) >= options_.stop_at_exact * static_cast<double>(score_.pairs))
          return absl::OkStatus();
      }
    }
    if (step > 0 && progress < 1) Evaluate(step);
    return absl::OkStatus();
  }

  void Evaluate(int64_t step) {
    const at::NoGradGuard no_grad;
    score_ = {.pairs = std::ssize(held_out_)};
    step_ = step;
    double sum = 0;
    int64_t tokens = 0;
    std::string shown;
    for (int64_t first = 0; first < score_.pairs; first += options_.batch) {
      std::vector<const EncodedPair*> pairs;
      for (int64_t i = first; i < std::min(score_.pairs, first + options_.batch); ++i) pairs.push_back(&held_out_[i]);
      const Batch batch = Gather(pairs);
      sum += Loss(batch, /*training=*/false, /*mean=*/false).item<double>();
      for (const EncodedPair* pair : pairs) tokens += std::ssize(pair->target) - 1;
      const std::vector<std::string> texts = Greedy(batch);
      for (size_t i = 0; i < pairs.size(); ++i) {
        const bool equal = texts[i] == pairs[i]->text;
        score_.exact += equal ? 1 : 0;
        if (first + static_cast<int64_t>(i) < options_.print_evaluated)
          absl::StrAppend(&shown, equal ? "\n  = " : "\n  x ", pairs[i]->text, "  <-  ", texts[i]);
      }
    }
    score_.loss = sum / static_cast<double>(tokens);
    options_.log(absl::StrFormat("step %d: held-out loss %.4f, %d of %d targets exactly (%.1f %%)%s", step, score_.loss,
                                 score_.exact, score_.pairs,
                                 100.0 * static_cast<double>(score_.exact) / static_cast<double>(score_.pairs), shown));
  }

  // What the network writes for the sources, the most likely token each time.
  std::vector<std::string> Greedy(const Batch& batch) const {
    const int64_t rows = batch.sources.size(0), longest = 2 * batch.inputs.size(1) + 8;
    at::Tensor targets = at::full({rows, 1}, end_, at::kLong);
    at::Tensor ended = at::zeros({rows}, at::kBool);
    const int64_t room = std::min(longest, options_.context);
    while (targets.size(1) < room && !ended.all().item<bool>()) {
      const at::Tensor logits = network_->Forward(batch.sources, batch.present, targets, /*training=*/false)
                                    .view({rows, targets.size(1), -1})
                                    .select(1, -1);  // [B, V]
      const at::Tensor next = logits.argmax(-1);
      targets = at::cat({targets, next.unsqueeze(1)}, 1);
      ended = ended | (next == end_);
    }
    std::vector<std::string> texts;
    const auto ids = targets.accessor<int64_t, 2>();
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<TokenId> tokens;
      for (int64_t i = 1; i < targets.size(1) && ids[row][i] != end_; ++i)
        tokens.push_back(static_cast<TokenId>(ids[row][i]));
      texts.push_back(tokenizer_->Decode(tokens, /*skip_special=*/false));
    }
    return texts;
  }

  absl::Status Save() const {
    if (step_ == 0) return absl::CancelledError("stopped before the first step; no model was written");
    std::error_code error;
    std::filesystem::create_directories(options_.output, error);
    if (error) return absl::UnavailableError(absl::StrCat(options_.output.string(), ": ", error.message()));
    if (absl::Status status = SaveTokenizer(tokenizer_config_, options_.output); !status.ok()) return status;
    const language::Seq2SeqConfig& config = network_->config();
    const nlohmann::json made = {{"model_type", "blazon_seq2seq"},
                                 {"d_model", config.width},
                                 {"num_layers", config.layers},
                                 {"num_heads", config.heads},
                                 {"d_ff", config.mlp_width},
                                 {"vocab_size", config.vocabulary_size},
                                 {"max_position_embeddings", config.context_length},
                                 {"pre_norm", config.pre_norm},
                                 {"decoder_start_token_id", config.start_token},
                                 {"eos_token_id", end_}};
    if (absl::Status status = WriteTextFile(options_.output / "config.json", made.dump(2) + "\n"); !status.ok())
      return status;
    TensorMap weights;
    for (const language::NetworkWeight& weight : network_->weights()) weights[weight.name] = weight.tensor.detach();
    return WriteSafetensors(options_.output / "model.safetensors", weights,
                            {{"format", "pt"}, {"command", options_.command}, {"step", absl::StrCat(step_)}});
  }

  const TrainSeq2SeqOptions& options_;
  RandomSource random_;
  language::TokenizerConfig tokenizer_config_;
  std::unique_ptr<language::Tokenizer> tokenizer_;
  TokenId end_ = 0;
  std::vector<EncodedPair> learned_, held_out_;
  std::unique_ptr<language::Seq2SeqNetwork> network_;
  Seq2SeqScore score_;
  int64_t step_ = 0;  // of score_
};

}  // namespace

absl::StatusOr<Seq2SeqScore> TrainSeq2Seq(const TrainSeq2SeqOptions& options) {
  if (absl::Status status = CheckSeq2SeqOptions(options); !status.ok()) return status;
  return Seq2SeqRun(options).Run();
}

}  // namespace blazon::service
