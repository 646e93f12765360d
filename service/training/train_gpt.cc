#include "service/training/train_gpt.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "language/ops/recomputed_layers.h"
#include "language/sampler.h"
#include "language/tokenizer/tokenizer_trainer.h"
#include "language/training/adamw.h"
#include "language/training/decoder_network.h"
#include "language/training/llama_network.h"
#include "language/training/matmul_peak.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/text_file.h"
#include "service/checkpoint/tokenizer_loader.h"
#include "service/checkpoint/tokenizer_writer.h"
#include "service/training/data_parallel.h"
#include "service/training/event_file.h"
#include "service/training/held_memory.h"
#include "service/training/ngram_overlap.h"
#include "service/training/random_source.h"
#include "service/training/refused_memory.h"
#include "service/training/text_corpus.h"
#include "service/training/token_inputs.h"
#include "service/training/train_tokenizer.h"

namespace blazon::service {
namespace {

using language::Blocks;
using language::TokenId;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLstmContext = 8192;  // an LSTM has no limit of its own; this one bounds what serving keeps

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

absl::StatusOr<Blocks> ParseBlocks(const TrainGptOptions& options) {
  if (options.post_norm && options.blocks != "gpt2")
    return absl::InvalidArgumentError("--post-norm is for --blocks gpt2");
  if (options.blocks == "gpt2") return options.post_norm ? Blocks::kPostNorm : Blocks::kGpt2;
  if (options.blocks == "modern") return Blocks::kModern;
  if (options.blocks == "lstm") return Blocks::kLstm;
  return absl::InvalidArgumentError(
      absl::StrCat("--blocks is \"", options.blocks, "\"; it must be gpt2, modern or lstm"));
}

absl::Status CheckOptions(const TrainGptOptions& options) {
  for (const auto& [name, value, least] : {std::tuple("--batch", options.batch, 1),
                                           {"--steps", options.steps, 1},
                                           {"--eval-every", options.evaluate_every, 0},
                                           {"--eval-windows", options.evaluate_windows, 0},
                                           {"--sample-every", options.sample_every, 0},
                                           {"--sample-tokens", options.sample_tokens, 1}}) {
    if (value < least) return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; at least ", least));
  }
  if (!(options.learning_rate > 0) || !(options.weight_decay >= 0) || !(options.minutes >= 0) ||
      !(options.clip_norm >= 0) || !(options.warm_up >= 0 && options.warm_up < 1)) {
    return absl::InvalidArgumentError(
        "--learning-rate must be above 0, --weight-decay, --clip and --minutes at least 0, --warm-up from 0 to below "
        "1");
  }
  if (options.inputs != "learned" && options.inputs != "one-hot" && options.inputs != "skip-gram") {
    return absl::InvalidArgumentError(
        absl::StrCat("--inputs is \"", options.inputs, "\"; it must be learned, one-hot or skip-gram"));
  }
  if (options.freeze_inputs && options.inputs != "skip-gram")
    return absl::InvalidArgumentError("--freeze-inputs is for --inputs skip-gram; one-hot inputs never change");
  if (options.skip_gram_passes < 1) return absl::InvalidArgumentError("--skip-gram-passes must be at least 1");
  if (!(options.validation > 0 && options.validation < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--validation is ", options.validation, "; it must be between 0 and 1"));
  }
  if (options.dtype != "auto" && options.dtype != "fp32" && options.dtype != "bf16")
    return absl::InvalidArgumentError(absl::StrCat("--dtype is ", options.dtype, "; training takes fp32 or bf16"));
  if (options.dtype == "bf16" && options.blocks == "lstm")
    return absl::InvalidArgumentError("--dtype bf16 is not for --blocks lstm, which computes in fp32");
  if (options.recompute && options.blocks == "lstm")
    return absl::InvalidArgumentError("--recompute is for transformers; leave it out with --blocks lstm");
  return absl::OkStatus();
}

// The config.json that a trained network is loaded with.
json ConfigOf(const language::NetworkConfig& network, std::optional<TokenId> end) {
  json config = {{"vocab_size", network.vocabulary_size},
                 {"tie_word_embeddings", network.tie_embeddings},
                 {"torch_dtype", "float32"},
                 {"bos_token_id", end ? json(*end) : json(nullptr)},
                 {"eos_token_id", end ? json(*end) : json(nullptr)}};
  switch (network.blocks) {
    case Blocks::kGpt2:
    case Blocks::kPostNorm:
      config.update({{"n_embd", network.width},
                     {"n_layer", network.layers},
                     {"n_head", network.heads},
                     {"n_positions", network.context},
                     {"layer_norm_epsilon", 1e-5},
                     {"resid_pdrop", network.dropout},
                     {"embd_pdrop", network.dropout},
                     {"attn_pdrop", network.dropout}});
      if (network.blocks == Blocks::kGpt2) {
        config.update({{"model_type", "gpt2"},
                       {"architectures", {"GPT2LMHeadModel"}},
                       {"activation_function", "gelu_new"},
                       {"n_inner", network.mlp_width > 0 ? json(network.mlp_width) : json(nullptr)}});
      } else {
        config.update({{"model_type", "openai-gpt"}, {"architectures", {"OpenAIGPTLMHeadModel"}}, {"afn", "gelu"}});
      }
      break;
    case Blocks::kModern:
      config.update({{"model_type", "llama"},
                     {"architectures", {"LlamaForCausalLM"}},
                     {"hidden_act", "silu"},
                     {"hidden_size", network.width},
                     {"num_hidden_layers", network.layers},
                     {"num_attention_heads", network.heads},
                     {"num_key_value_heads", network.heads},
                     {"intermediate_size", language::LlamaMlpWidth(network)},
                     {"max_position_embeddings", network.context},
                     {"rms_norm_eps", 1e-5},
                     {"rope_theta", 10000.0}});
      break;
    case Blocks::kLstm:
      config.update({{"model_type", "blazon_lstm"},
                     {"hidden_size", network.width},
                     {"num_hidden_layers", network.layers},
                     {"max_position_embeddings", kLstmContext}});
  }
  return config;
}

class GptRun {
 public:
  explicit GptRun(const TrainGptOptions& options)
      : options_(options), random_(options.seed), texts_(options.seed), parallel_(options.group) {}

  absl::Status Run() {
    try {
      if (absl::Status status = Prepare(); !status.ok()) return status;
      if (absl::Status status = Train(); !status.ok()) return status;
    } catch (const c10::Error& error) {
      const std::string what = error.what_without_backtrace(), refused = RefusedMemory(what);
      if (refused.empty()) return absl::InternalError(absl::StrCat("training failed: ", what.substr(0, 200)));
      return absl::ResourceExhaustedError(
          absl::StrCat("memory ran out, as ", refused, " was asked for; ",
                       options_.recompute ? "" : "give --recompute, or ", "lower --batch (", options_.batch,
                       "), --context (", options_.network.context, ") or --width (", options_.network.width, ")"));
    }
    return parallel_.first() ? Save() : absl::OkStatus();
  }

 private:
  // Texts, tokenizer, tokens, network.
  absl::Status Prepare() {
    const auto share = ShareOf("--batch", options_.batch, parallel_.rank(), parallel_.size());
    if (!share.ok()) return share.status();
    share_ = *share;
    if (options_.threads > 0) at::set_num_threads(options_.threads);
    std::error_code error;
    if (parallel_.first() && !options_.overwrite && std::filesystem::exists(options_.output / "config.json", error)) {
      return absl::AlreadyExistsError(
          absl::StrCat(options_.output.string(), " has a model; name another folder, or give --overwrite"));
    }
    absl::StatusOr<TextCorpus> corpus = ReadTextCorpus(options_.data);
    if (!corpus.ok()) return corpus.status();
    options_.log(DescribeCorpus(*corpus));
    if (parallel_.first()) {
      std::filesystem::create_directories(options_.output, error);
      if (error) return absl::UnavailableError(absl::StrCat(options_.output.string(), ": ", error.message()));
    }
    if (absl::Status status = MakeTokenizer(*corpus); !status.ok()) return status;
    if (absl::Status status = Encode(*corpus); !status.ok()) return status;

    const absl::StatusOr<Blocks> blocks = ParseBlocks(options_);
    if (!blocks.ok()) return blocks.status();
    language::NetworkConfig config = options_.network;
    config.blocks = *blocks;
    config.vocabulary_size = tokenizer_->vocabulary_size();
    config.bf16 = options_.dtype == "bf16";
    const bool fixed_inputs = options_.inputs == "one-hot" || options_.freeze_inputs;
    if (fixed_inputs) config.tie_embeddings = false;
    auto network = language::DecoderNetwork::Create(config, options_.seed);
    if (!network.ok()) return network.status();
    network_ = *std::move(network);
    absl::Status status = SetTokenInputs({.kind = options_.inputs,
                                          .passes = options_.skip_gram_passes,
                                          .seed = options_.seed,
                                          .log = options_.log,
                                          .stop = options_.stop},
                                         training_, *tokenizer_, inputs());
    if (!status.ok()) return status;
    if (fixed_inputs) inputs().requires_grad_(false);
    if (!parallel_.first()) at::manual_seed(SeedOfProcess(options_.seed, parallel_.rank()));  // for dropout
    int64_t values = 0;
    for (const language::NetworkWeight& weight : network_->weights()) values += weight.tensor.numel();
    options_.log(absl::StrFormat("%d tokens to learn, %d held out; a vocabulary of %d; %d weights", training_.size(0),
                                 held_out_.size(0), config.vocabulary_size, values));
    return absl::OkStatus();
  }

  // The table of inputs, [V, D]: the network's first weight.
  at::Tensor inputs() const { return network_->weights().front().tensor; }

  absl::Status MakeTokenizer(const TextCorpus& corpus) {
    std::error_code error;
    const bool folder = std::filesystem::is_directory(options_.tokenizer, error);
    std::filesystem::path output = options_.output;
    const absl::Cleanup remove = [&] {
      if (output != options_.output) std::filesystem::remove_all(output, error);
    };
    if (folder && parallel_.first()) {
      for (const char* name : {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt"}) {
        const std::filesystem::path from = std::filesystem::path(options_.tokenizer) / name;
        if (!std::filesystem::exists(from, error)) continue;
        std::filesystem::copy_file(from, options_.output / name, std::filesystem::copy_options::overwrite_existing,
                                   error);
        if (error) return absl::UnavailableError(absl::StrCat(from.string(), ": ", error.message()));
      }
    } else if (!folder) {
      if (!language::ParseTokenizerKind(options_.tokenizer).ok()) {
        return absl::InvalidArgumentError(absl::StrCat("--tokenizer is \"", options_.tokenizer,
                                                       "\"; it must be byte, character, word, bpe or a folder"));
      }
      const absl::StatusOr<language::TokenizerConfig> config =
          LearnTokenizer({.kind = options_.tokenizer, .vocabulary_size = options_.vocabulary_size}, corpus);
      if (!config.ok()) return config.status();
      if (!parallel_.first()) {
        std::string made = (std::filesystem::temp_directory_path(error) / "blazon-gpt-XXXXXX").string();
        if (error || mkdtemp(made.data()) == nullptr)
          return absl::UnavailableError(absl::StrCat("no folder could be made as ", made, "; set TMPDIR"));
        output = made;
      }
      if (absl::Status status = SaveTokenizer(*config, output); !status.ok()) return status;
    }
    auto tokenizer = LoadTokenizer(folder ? std::filesystem::path(options_.tokenizer) : output);
    if (!tokenizer.ok()) return tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    for (const char* spelling : {"<|endoftext|>", "</s>", "<eos>"}) {
      if (!end_) end_ = tokenizer_->FindToken(spelling);
    }
    return absl::OkStatus();
  }

  // All texts one after another, an end of text between two; the end of it all is held out.
  absl::Status Encode(const TextCorpus& corpus) {
    std::vector<int64_t> all;
    for (const std::string& text : corpus.texts) {
      if (!all.empty() && end_) all.push_back(*end_);
      const std::vector<TokenId> ids = tokenizer_->Encode(text);
      all.insert(all.end(), ids.begin(), ids.end());
    }
    const auto held_out = static_cast<int64_t>(std::ceil(options_.validation * static_cast<double>(all.size())));
    const int64_t learned = std::ssize(all) - held_out, window = options_.network.context + 1;
    if (learned < window || held_out < window) {
      return absl::InvalidArgumentError(absl::StrCat("the texts have ", all.size(), " tokens, of which ", held_out,
                                                     " are held out; to learn and to hold out ", window,
                                                     " each are needed at least. Give more text, or lower --context"));
    }
    for (int64_t i = learned; i < std::ssize(all); ++i) {
      const auto id = static_cast<TokenId>(all[i]);
      if (!tokenizer_->IsSpecial(id)) held_out_bytes_ += static_cast<int64_t>(tokenizer_->TokenBytes(id).size());
    }
    const at::Tensor ids = at::tensor(at::IntArrayRef(all), at::kLong);
    training_ = ids.narrow(0, 0, learned);
    held_out_ = ids.narrow(0, learned, held_out);
    const auto text = [&](int64_t begin, int64_t end) {
      const std::vector<TokenId> part(all.begin() + begin, all.begin() + end);
      return tokenizer_->Decode(part, /*skip_special=*/true);
    };
    NgramOverlap runs;
    runs.AddHeldOut(text(learned, std::ssize(all)));
    runs.AddTraining(text(0, learned));
    overlap_ = DescribeOverlap(runs.Report());
    options_.log(overlap_);
    return absl::OkStatus();
  }

  // int64 [B, T + 1]: rows of `tokens` that begin there.
  at::Tensor Rows(const at::Tensor& tokens, const std::vector<int64_t>& begins) const {
    std::vector<at::Tensor> rows;
    for (const int64_t begin : begins) rows.push_back(tokens.narrow(0, begin, network_->config().context + 1));
    return at::stack(rows);
  }
  at::Tensor Loss(const at::Tensor& rows, bool training) const {
    const int64_t length = rows.size(1) - 1;
    return network_->Loss(rows.narrow(1, 0, length).contiguous(), rows.narrow(1, 1, length), training);
  }

  std::vector<at::Tensor> Weights() const {
    std::vector<at::Tensor> weights;
    for (const language::NetworkWeight& weight : network_->weights()) weights.push_back(weight.tensor);
    return weights;
  }

  // The loss and the gradients of a whole step, of which this process computes its share.
  absl::StatusOr<double> AddGradients() {
    std::vector<int64_t> begins;
    for (int64_t i = 0; i < options_.batch; ++i)
      begins.push_back(random_.Below(training_.size(0) - network_->config().context));
    const std::vector<int64_t> own(begins.begin() + share_.first, begins.begin() + share_.second);
    at::Tensor loss = Loss(Rows(training_, own), /*training=*/true);
    if (parallel_.size() > 1) loss = loss / parallel_.size();
    loss.backward();
    std::vector<double> numbers = {loss.item<double>()};
    if (absl::Status status = parallel_.SumGradients(Weights(), numbers); !status.ok()) return status;
    return numbers[0];
  }

  absl::Status Train() {
    std::vector<at::Tensor> equal = Weights();
    equal.insert(equal.end(), {training_, held_out_});
    if (absl::Status status = parallel_.CheckEqual(equal); !status.ok()) return status;
    absl::Status agreed = parallel_.CheckEqual(
        "--batch, --steps, --seed and --threads",
        absl::StrCat(options_.batch, ", ", options_.steps, ", ", options_.seed, " and ", at::get_num_threads()));
    if (!agreed.ok()) return agreed;
    language::ParameterGroup matrices{{}, options_.learning_rate, options_.weight_decay},
        others{{}, options_.learning_rate, 0.0};
    for (const language::NetworkWeight& weight : network_->weights()) {
      if (weight.tensor.requires_grad()) (weight.decays ? matrices : others).parameters.push_back(weight.tensor);
    }
    std::optional<EventFile> events;
    const double flops = StepFlops();
    double peak = 0;
    if (parallel_.first()) {
      absl::StatusOr<EventFile> created = EventFile::Create(options_.output, 1);
      if (!created.ok()) return created.status();
      events = *std::move(created);
      const bool bf16 = network_->config().bf16;
      peak = language::MatmulPeak(bf16);
      options_.log(absl::StrFormat("this %s multiplies matrices at %.0f GFLOP/s in %s; MFU is the share used of it",
                                   parallel_.size() > 1 ? "process" : "machine", peak / 1e9, bf16 ? "bf16" : "fp32"));
      peak *= parallel_.size();
    }
    language::AdamW optimiser({matrices, others}, {.beta2 = 0.99, .clip_norm = options_.clip_norm});
    const Clock::time_point start = Clock::now();
    Clock::time_point printed = start;
    const language::RecomputeGuard recompute(options_.recompute);
    double mean = 0, idle = 0, progress = 0;
    int64_t step = 0;
    while (progress < 1) {
      const absl::StatusOr<bool> stop = parallel_.Any(options_.stop());
      if (!stop.ok()) return stop.status();
      if (*stop) break;
      ++step;
      const absl::StatusOr<double> loss = AddGradients();
      if (!loss.ok()) return loss.status();
      progress = static_cast<double>(step) / static_cast<double>(options_.steps);
      if (options_.minutes > 0) progress = std::max(progress, SecondsSince(start) / (60 * options_.minutes));
      if (absl::Status status = parallel_.Share(progress); !status.ok()) return status;  // the first one's clock
      const double value = *loss;
      const double norm = optimiser.Step(language::CosineFactor(progress, options_.warm_up));
      if (!std::isfinite(value) || !std::isfinite(norm))
        return absl::OutOfRangeError("the loss is not a finite number any more; lower --learning-rate");
      mean = step == 1 ? value : 0.95 * mean + 0.05 * value;
      const bool last = progress >= 1;
      if (last || step == 1 || SecondsSince(printed) >= 5) {
        printed = Clock::now();
        const double seconds = SecondsSince(start) - idle;
        const auto tokens = static_cast<double>(step * options_.batch * network_->config().context);
        options_.log(absl::StrFormat(
            "step %d, loss %.4f (mean %.4f), gradient %.2f, %.0f tokens/s (MFU %.0f %%), "
            "%.0f s left",
            step, value, mean, norm, tokens / seconds, 100 * flops * static_cast<double>(step) / seconds / peak,
            SecondsSince(start) / std::min(progress, 1.0) * (1 - std::min(progress, 1.0))));
      }
      const Clock::time_point before = Clock::now();
      std::vector<std::pair<std::string_view, double>> numbers = {{"loss", value}, {"gradient_norm", norm}};
      const bool measures = !last && options_.evaluate_every > 0 && step % options_.evaluate_every == 0;
      if (measures) {
        if (absl::Status status = parallel_.CheckEqual(Weights()); !status.ok()) return status;
      }
      if (measures && parallel_.first()) numbers.emplace_back("held_out_loss", Evaluate(step));
      if (!parallel_.first()) continue;
      if (absl::Status status = events->Add(step, numbers); !status.ok()) return status;
      if (!last && options_.sample_every > 0 && step % options_.sample_every == 0) {
        if (absl::Status status = Sample(); !status.ok()) return status;
      }
      idle += SecondsSince(before);
    }
    if (step == 0) return absl::OkStatus();
    if (absl::Status status = parallel_.CheckEqual(Weights()); !status.ok()) return status;
    if (!parallel_.first()) return absl::OkStatus();
    const double held_out = Evaluate(step);
    if (absl::Status status = events->Add(step, {{"held_out_loss", held_out}}); !status.ok()) return status;
    return options_.sample_every > 0 ? Sample() : absl::OkStatus();
  }

  // Floating-point operations of a step, both passes: two for each weight of a matrix that a token meets, and the two
  // products of attention over half of the row on average; three times, as the backward pass costs twice the forward
  // one.
  double StepFlops() const {
    const language::NetworkConfig& config = network_->config();
    double weights = config.tie_embeddings ? static_cast<double>(inputs().numel()) : 0;
    for (const language::NetworkWeight& weight : network_->weights()) {
      const bool table = weight.tensor.is_same(inputs()) || weight.name.ends_with("wpe.weight") ||
                         weight.name.ends_with("positions_embed.weight");
      if (weight.tensor.dim() > 1 && !table) weights += static_cast<double>(weight.tensor.numel());
    }
    const double attention = config.blocks == Blocks::kLstm
                                 ? 0
                                 : 2.0 * 2.0 * static_cast<double>(config.context) / 2 *
                                       static_cast<double>(config.layers) * static_cast<double>(config.width);
    return 3 * (2 * weights + attention) * static_cast<double>(options_.batch * config.context);
  }

  // The loss on windows of the held-out tokens; keeps the weights where it is the lowest.
  double Evaluate(int64_t step) {
    const at::NoGradGuard no_grad;
    const int64_t context = network_->config().context, whole = (held_out_.size(0) - 1) / context;
    const int64_t windows = options_.evaluate_windows > 0 ? std::min(whole, options_.evaluate_windows) : whole;
    double sum = 0;
    for (int64_t first = 0; first < windows; first += options_.batch) {
      std::vector<int64_t> begins;
      for (int64_t i = first; i < std::min(windows, first + options_.batch); ++i)
        begins.push_back(i * whole / windows * context);
      sum += Loss(Rows(held_out_, begins), /*training=*/false).item<double>() * static_cast<double>(begins.size());
    }
    const double loss = sum / static_cast<double>(windows);
    const double bits = loss / std::numbers::ln2 * static_cast<double>(held_out_.size(0)) /
                        static_cast<double>(std::max<int64_t>(held_out_bytes_, 1));
    const bool best = !best_loss_ || loss < *best_loss_;
    options_.log(absl::StrFormat("step %d: held-out loss %.4f (perplexity %.2f, %.3f bits a byte)%s", step, loss,
                                 std::exp(loss), bits, best ? "" : ", not the lowest"));
    if (!best) return loss;
    best_loss_ = loss;
    best_step_ = step;
    for (const language::NetworkWeight& weight : network_->weights())
      best_.insert_or_assign(weight.name, weight.tensor.detach().clone());
    return loss;
  }

  // A text by the family that will serve the weights.
  absl::Status Sample() {
    const c10::InferenceMode guard;
    language::StateDict weights;
    for (const language::NetworkWeight& weight : network_->weights()) weights[weight.name] = weight.tensor.detach();
    auto model = CreateLanguageModel(ConfigOf(network_->config(), end_), std::move(weights), language::Dtype::kFp32);
    if (!model.ok()) return model.status();
    std::vector<TokenId> tokens = tokenizer_->Encode(options_.sample_prompt);
    if (tokens.empty() && end_) tokens.push_back(*end_);
    if (tokens.empty()) return absl::InvalidArgumentError("--sample-prompt is empty");
    const int64_t length = std::min(options_.sample_tokens + std::ssize(tokens), (*model)->config().context_length);
    language::GenerationOptions sampling;
    sampling.temperature = options_.sample_temperature;
    language::Sampler sampler(sampling, texts_.Seed(), tokens);
    const std::unique_ptr<language::ModelState> state = (*model)->NewState();
    std::string text;
    for (std::vector<TokenId> next = tokens; std::ssize(tokens) < length;) {
      const std::vector<int64_t> ids(next.begin(), next.end());
      const language::ModelInput input{.tokens = at::tensor(at::IntArrayRef(ids), at::kLong), .state = state.get()};
      const at::Tensor hidden = (*model)->Forward({&input, 1});  // [T, D]
      const auto chosen = sampler.Sample((*model)->Logits(hidden.slice(0, hidden.size(0) - 1)).squeeze(0).contiguous());
      if (!chosen.ok()) return chosen.status();
      if (chosen->id == end_) break;
      tokens.push_back(chosen->id);
      next = {chosen->id};
    }
    options_.log(absl::StrCat("| ", absl::StrReplaceAll(tokenizer_->Decode(tokens, true), {{"\n", "\n| "}})));
    return absl::OkStatus();
  }

  absl::Status Save() const {
    if (best_.empty()) return absl::CancelledError("stopped before the first step; no model was written");
    const json config = ConfigOf(network_->config(), end_);
    if (absl::Status status = WriteTextFile(options_.output / "config.json", config.dump(2) + "\n"); !status.ok())
      return status;
    options_.log(DescribeHeldMemory());
    options_.log(absl::StrFormat("saved the weights of step %d, held-out loss %.4f", best_step_, *best_loss_));
    return WriteSafetensors(
        options_.output / "model.safetensors", best_,
        {{"format", "pt"}, {"command", options_.command}, {"step", absl::StrCat(best_step_)}, {"overlap", overlap_}});
  }

  const TrainGptOptions& options_;
  RandomSource random_;
  RandomSource texts_;  // of its own, so that showing texts changes nothing
  DataParallel parallel_;
  std::pair<int64_t, int64_t> share_;  // of a step's rows: first and behind last
  std::unique_ptr<language::Tokenizer> tokenizer_;
  std::optional<TokenId> end_;
  at::Tensor training_, held_out_;  // int64 [tokens]
  int64_t held_out_bytes_ = 0;
  std::string overlap_;  // of held-out and other text
  std::unique_ptr<language::DecoderNetwork> network_;
  TensorMap best_;
  std::optional<double> best_loss_;
  int64_t best_step_ = 0;
};

}  // namespace

absl::Status TrainGpt(const TrainGptOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  if (const auto blocks = ParseBlocks(options); !blocks.ok()) return blocks.status();
  if (options.post_norm && options.network.mlp_width > 0 && options.network.mlp_width != 4 * options.network.width)
    return absl::InvalidArgumentError("--mlp-width is 4 * width with --post-norm, as the first GPT's");
  return GptRun(options).Run();
}

}  // namespace blazon::service
