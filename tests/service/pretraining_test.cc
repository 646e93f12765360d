// Language models that are trained from nothing: the same losses as PyTorch's, and what was learned is what serves.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/models/gpt2.h"
#include "language/models/llama.h"
#include "language/models/lstm.h"
#include "language/models/openai_gpt.h"
#include "language/ops/recomputed_layers.h"
#include "language/training/adamw.h"
#include "language/training/decoder_network.h"
#include "language/training/greedy_texts.h"
#include "language/training/skip_gram.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/checkpoint/safetensors.h"
#include "service/training/train_gpt.h"
#include "service/training/train_tokenizer.h"
#include "tests/language/formula_weights.h"
#include "tests/language/peak_memory.h"

namespace blazon::service {
namespace {

using language::Blocks;
using language::DecoderNetwork;
using language::NetworkConfig;
using language::NetworkWeight;
using language::TokenId;
using nlohmann::json;

constexpr char kRemedy[] =
    "\nThe goldens are made by: python tests/reference/training_goldens.py (needs torch and transformers)";

// As in tests/reference/training_goldens.py.
constexpr int64_t kSteps = 10, kRows = 4, kLength = 24, kVocabulary = 61, kWidth = 48, kLayers = 3, kHeads = 4;

const json& Golden() {
  static const json& golden =
      *new json(json::parse(std::ifstream(std::string(BLAZON_SOURCE_DIR) + "/tests/goldens/training.json")));
  return golden;
}

// int64 [rows, length]
at::Tensor Tokens(int64_t step, int64_t rows, int64_t length, int64_t salt = 0) {
  std::vector<int64_t> ids;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < length; ++i)
      ids.push_back((7 * row + 3 * step + salt + i * (1 + (row + step) % 3)) % kVocabulary);
  }
  return at::tensor(at::IntArrayRef(ids), at::kLong).view({rows, length});
}

void Start(const std::vector<NetworkWeight>& weights) {
  const at::NoGradGuard no_grad;
  for (const NetworkWeight& weight : weights) {
    const at::Tensor made = language::FormulaWeight("start." + weight.name, weight.tensor.sizes().vec());
    at::Tensor(weight.tensor).copy_(weight.tensor.dim() > 1 ? made * 0.5 : made);
  }
}

language::AdamW Optimiser(const std::vector<NetworkWeight>& weights) {
  language::ParameterGroup matrices{{}, 3e-3, 0.1}, others{{}, 3e-3, 0.0};
  for (const NetworkWeight& weight : weights) (weight.decays ? matrices : others).parameters.push_back(weight.tensor);
  return language::AdamW({matrices, others}, {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .clip_norm = 1.0});
}

std::unique_ptr<DecoderNetwork> Network(Blocks blocks, bool tied, bool bf16 = false, double dropout = 0) {
  NetworkConfig config;
  config.blocks = blocks;
  config.layers = kLayers;
  config.heads = kHeads;
  config.width = kWidth;
  config.context = 32;
  config.vocabulary_size = kVocabulary;
  config.tie_embeddings = tied;
  config.bf16 = bf16;
  config.dropout = dropout;
  auto network = DecoderNetwork::Create(config, 1);
  EXPECT_TRUE(network.ok()) << network.status();
  Start((*network)->weights());
  return *std::move(network);
}

std::vector<double> Losses(const DecoderNetwork& network) {
  language::AdamW optimiser = Optimiser(network.weights());
  std::vector<double> losses;
  for (int64_t step = 1; step <= kSteps; ++step) {
    const at::Tensor rows = Tokens(step, kRows, kLength + 1);
    const at::Tensor loss =
        network.Loss(rows.narrow(1, 0, kLength).contiguous(), rows.narrow(1, 1, kLength), /*training=*/true);
    losses.push_back(loss.item<double>());
    loss.backward();
    optimiser.Step(language::CosineFactor(static_cast<double>(step) / kSteps, 0.2));
  }
  return losses;
}

struct Family {
  const char* golden;
  Blocks blocks;
  bool tied;
};

constexpr Family kFamilies[] = {{"gpt2", Blocks::kGpt2, true},
                                {"gpt2_untied", Blocks::kGpt2, false},
                                {"post_norm", Blocks::kPostNorm, true},
                                {"modern", Blocks::kModern, true},
                                {"lstm", Blocks::kLstm, false}};

TEST(PretrainingTest, TheFirstTenLossesArePyTorchs) {
  for (const Family& family : kFamilies) {
    SCOPED_TRACE(std::string(family.golden) + kRemedy);
    const json& made = Golden().at(family.golden);
    const auto wanted = (made.is_object() ? made["losses"] : made).get<std::vector<double>>();
    ASSERT_EQ(wanted.size(), static_cast<size_t>(kSteps));
    const std::vector<double> losses = Losses(*Network(family.blocks, family.tied));
    for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(losses[i], wanted[i], 1e-4) << "step " << i + 1;
  }
}

TEST(PretrainingTest, Bf16LearnsAlike) {
  for (const Blocks blocks : {Blocks::kGpt2, Blocks::kModern}) {
    const std::vector<double> exact = Losses(*Network(blocks, true)), rounded = Losses(*Network(blocks, true, true));
    for (size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(rounded[i], exact[i], 0.05) << "step " << i + 1;
    EXPECT_NE(rounded[0], exact[0]);
  }
}

// A step that weights in bf16 would not feel.
TEST(PretrainingTest, Bf16KeepsSmallSteps) {
  const auto network = Network(Blocks::kModern, true, true);
  std::vector<at::Tensor> before;
  for (const NetworkWeight& weight : network->weights()) before.push_back(weight.tensor.detach().clone());
  language::AdamW optimiser = Optimiser(network->weights());
  const at::Tensor rows = Tokens(1, kRows, kLength + 1);
  network->Loss(rows.narrow(1, 0, kLength).contiguous(), rows.narrow(1, 1, kLength), /*training=*/true).backward();
  optimiser.Step(1e-4);  // of the rates that Optimiser gives
  for (size_t i = 0; i < before.size(); ++i) {
    const at::Tensor& now = network->weights()[i].tensor;
    EXPECT_EQ(now.scalar_type(), at::kFloat);
    const at::Tensor moved = (now.detach() - before[i]).abs();
    EXPECT_GT(moved.mean().item<double>(), 1e-8) << network->weights()[i].name;
    EXPECT_LT(moved.max().item<double>(), 1e-5) << network->weights()[i].name;
  }
}

TEST(PretrainingTest, RecomputedBlocksLearnTheSameBitForBit) {
  for (const Blocks blocks : {Blocks::kGpt2, Blocks::kPostNorm, Blocks::kModern}) {
    for (const double dropout : {0.0, 0.2}) {
      std::vector<double> kept, again;
      const int64_t kept_bytes =
          language::PeakMemory::Of([&] { kept = Losses(*Network(blocks, true, false, dropout)); });
      const int64_t bytes = language::PeakMemory::Of([&] {
        const language::RecomputeGuard recompute(true);
        again = Losses(*Network(blocks, true, false, dropout));
      });
      EXPECT_EQ(again, kept) << static_cast<int>(blocks) << ", dropout " << dropout;
      EXPECT_LT(bytes, kept_bytes) << static_cast<int>(blocks);
    }
  }
}

TEST(PretrainingTest, TheLstmsLogitsArePyTorchs) {
  const at::NoGradGuard no_grad;
  const auto network = Network(Blocks::kLstm, false);
  const at::Tensor hidden = network->Forward(Tokens(1, 1, kLength), /*training=*/false);
  const at::Tensor logits = network->Logits(hidden.narrow(0, kLength - 1, 1)).squeeze(0);
  const auto wanted = Golden()["lstm"]["logits"].get<std::vector<double>>();
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(logits[i].item<double>(), wanted[i], 1e-5) << kRemedy;
}

// The family that serves what a network learned.
std::unique_ptr<language::LanguageModel> Served(const DecoderNetwork& network) {
  language::StateDict weights;
  for (const NetworkWeight& weight : network.weights()) weights[weight.name] = weight.tensor.detach();
  absl::StatusOr<std::unique_ptr<language::LanguageModel>> model;
  const language::Gpt2Config gpt = {
      .width = kWidth, .layers = kLayers, .heads = kHeads, .vocabulary_size = kVocabulary, .context_length = 32};
  switch (network.config().blocks) {
    case Blocks::kGpt2:
      model = language::Gpt2Model::Create(gpt, std::move(weights));
      break;
    case Blocks::kPostNorm:
      model = language::OpenAiGptModel::Create(gpt, std::move(weights));
      break;
    case Blocks::kModern: {
      language::LlamaConfig llama;
      llama.width = kWidth;
      llama.layers = kLayers;
      llama.heads = llama.key_heads = kHeads;
      llama.mlp_width = 128;
      llama.vocabulary_size = kVocabulary;
      llama.context_length = 32;
      llama.tie_embeddings = true;
      auto made = language::LlamaModel::Create(llama, std::move(weights), language::Dtype::kFp32);
      EXPECT_TRUE(made.ok()) << made.status();
      model = *std::move(made);
      break;
    }
    case Blocks::kLstm:
      model = language::LstmModel::Create({.width = kWidth,
                                           .layers = kLayers,
                                           .vocabulary_size = kVocabulary,
                                           .context_length = 32,
                                           .tie_embeddings = false},
                                          std::move(weights));
  }
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// Both ways of computing one model: whole rows at once, and piece by piece with a state, going back in between.
TEST(PretrainingTest, ServingComputesWhatTrainingDoes) {
  const at::NoGradGuard no_grad;
  for (const Family& family : kFamilies) {
    if (family.blocks == Blocks::kGpt2 && !family.tied) continue;
    SCOPED_TRACE(family.golden);
    const auto network = Network(family.blocks, family.tied);
    const auto model = Served(*network);
    const at::Tensor tokens = Tokens(3, 1, kLength);
    const at::Tensor wanted = network->Logits(network->Forward(tokens, /*training=*/false));  // [T, V]
    const auto state = model->NewState();
    const auto read = [&](int64_t begin, int64_t count) {
      const language::ModelInput input{.tokens = tokens[0].narrow(0, begin, count), .state = state.get()};
      return model->Logits(model->Forward({&input, 1}));
    };
    EXPECT_LT((read(0, 10) - wanted.narrow(0, 0, 10)).abs().max().item<double>(), 1e-4);
    EXPECT_LT((read(10, 4) - wanted.narrow(0, 10, 4)).abs().max().item<double>(), 1e-4);
    const auto fork = state->Fork();
    state->Truncate(7);
    EXPECT_EQ(state->length(), 7);
    EXPECT_LT((read(7, 1) - wanted.narrow(0, 7, 1)).abs().max().item<double>(), 1e-4);
    EXPECT_EQ(fork->length(), 14);
    const language::ModelInput input{.tokens = tokens[0].narrow(0, 14, kLength - 14), .state = fork.get()};
    EXPECT_LT(
        (model->Logits(model->Forward({&input, 1})) - wanted.narrow(0, 14, kLength - 14)).abs().max().item<double>(),
        1e-4);
  }
}

class TrainGptTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / absl::StrCat("pretraining_test.", getpid());
    std::filesystem::create_directories(folder_);
    std::ofstream out(folder_ / "text.txt");
    for (int i = 0; i < 300; ++i) out << kRhyme;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  TrainGptOptions Small(const std::string& blocks) const {
    TrainGptOptions options;
    options.data = {folder_ / "text.txt"};
    options.output = folder_ / "model";
    options.blocks = blocks;
    options.network.layers = 2;
    options.network.heads = 2;
    options.network.width = 32;
    options.network.context = 32;
    options.batch = 8;
    options.steps = 150;
    options.learning_rate = blocks == "lstm" ? 2e-2 : 1e-2;
    options.sample_every = 0;
    options.evaluate_every = 0;
    return options;
  }

  static constexpr char kRhyme[] = "one for the cat, two for the dog.\n";
  std::filesystem::path folder_;
};

TEST_F(TrainGptTest, WhatWasLearnedIsWhatServes) {
  struct Case {
    std::string blocks, tokenizer;
    bool post_norm = false, tied = true;
  };
  for (const Case& each : {Case{"gpt2", "character"}, Case{"gpt2", "byte", false, false}, Case{"gpt2", "word", true},
                           Case{"modern", "bpe"}, Case{"lstm", "character"}}) {
    SCOPED_TRACE(each.blocks + " of " + each.tokenizer);
    TrainGptOptions options = Small(each.blocks);
    options.tokenizer = each.tokenizer;
    options.vocabulary_size = 280;
    options.post_norm = each.post_norm;
    options.network.tie_embeddings = each.tied;
    options.overwrite = true;
    if (each.blocks == "lstm") options.network.layers = 1;
    std::string log;
    options.log = [&](const std::string& line) { log += line + "\n"; };
    const absl::Status status = TrainGpt(options);
    ASSERT_TRUE(status.ok()) << status << log;
    auto loaded = LoadLanguageModel(options.output, {.dtype = language::Dtype::kFp32});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->end_tokens.size(), 1u);
    const std::string prompt = "for the dog.\none for";
    const auto texts =
        language::GreedyTexts(*loaded->model, nullptr, {{loaded->tokenizer->Encode(prompt)}}, loaded->end_tokens, 8);
    const std::string text = loaded->tokenizer->Decode(texts.at(0), true);
    EXPECT_TRUE(absl::StrCat(" the cat, two for the dog.\n", kRhyme, kRhyme).starts_with(text))
        << "\"" << text << "\"\n"
        << log;
  }
}

TEST(SkipGramTest, WordsThatKeepTheSameCompanyComeNear) {
  // Words 0 and 1 stand between 4 and 5, words 2 and 3 between 6 and 7.
  std::vector<int64_t> text;
  uint64_t draw = 7;
  for (int i = 0; i < 3000; ++i) {
    draw = draw * 6364136223846793005u + 1442695040888963407u;
    const int64_t word = static_cast<int64_t>(draw >> 62);
    const int64_t company = word < 2 ? 4 : 6;
    text.insert(text.end(), {company, word, company + 1});
  }
  const at::Tensor tokens = at::tensor(text, at::kLong);
  const language::SkipGramOptions options = {
      .vocabulary_size = 9, .width = 12, .window = 1, .subsample = 0, .passes = 3};
  const auto vectors = language::TrainSkipGram(tokens, options);
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  const at::Tensor unit = *vectors / vectors->norm(2, {1}, true);
  const at::Tensor alike = at::mm(unit, unit.t());
  EXPECT_GT(alike[0][1].item<double>(), 0.8);
  EXPECT_GT(alike[2][3].item<double>(), 0.8);
  EXPECT_LT(alike[0][2].item<double>(), 0.3);
  EXPECT_LT(alike[1][3].item<double>(), 0.3);
  EXPECT_LT((*vectors)[8].abs().max().item<double>(), 0.5 / 12) << "it never comes, and stays as it was drawn";
  EXPECT_TRUE(vectors->equal(*language::TrainSkipGram(tokens, options)));
  EXPECT_EQ(language::TrainSkipGram(tokens.narrow(0, 0, 1), options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(TrainGptTest, InputsAreOneHotOrLearnedBefore) {
  for (const char* blocks : {"gpt2", "lstm"}) {
    SCOPED_TRACE(blocks);
    TrainGptOptions options = Small(blocks);
    options.tokenizer = "word";
    options.steps = 20;
    options.overwrite = true;
    std::string log;
    options.log = [&](const std::string& line) { log += line + "\n"; };
    const std::string name = options.blocks == "gpt2" ? "transformer.wte.weight" : "embedding.weight";
    const auto table = [&] {
      const absl::Status status = TrainGpt(options);
      EXPECT_TRUE(status.ok()) << status << log;
      const auto tensors = ReadSafetensors(options.output / "model.safetensors");
      EXPECT_TRUE(tensors.ok()) << tensors.status();
      EXPECT_TRUE(LoadLanguageModel(options.output).ok());
      return tensors->at(name);  // [V, D]
    };
    options.inputs = "one-hot";
    const at::Tensor one_hot = table();
    EXPECT_TRUE(one_hot.equal(at::eye(one_hot.size(0), one_hot.size(1)))) << "one-hot inputs are not trained";
    options.inputs = "skip-gram";
    options.freeze_inputs = true;
    const at::Tensor frozen = table();
    options.steps = 21;
    EXPECT_TRUE(frozen.equal(table())) << "frozen inputs are not trained";
    options.freeze_inputs = false;
    EXPECT_FALSE(frozen.equal(table()));
    EXPECT_NE(log.find("inputs are skip-gram vectors, 5 passes"), std::string::npos) << log;
    EXPECT_NE(log.find("overlap: "), std::string::npos) << log;
    EXPECT_NE(log.find("(MFU "), std::string::npos) << log;
  }
}

TEST_F(TrainGptTest, ShowsTextsAndKeepsTheBestWeights) {
  TrainGptOptions options = Small("gpt2");
  options.steps = 40;
  options.evaluate_every = 10;
  options.sample_every = 20;
  options.sample_tokens = 12;
  options.sample_prompt = "one";
  std::vector<std::string> log;
  options.log = [&](const std::string& line) { log.push_back(line); };
  ASSERT_TRUE(TrainGpt(options).ok());
  int samples = 0, evaluations = 0;
  for (const std::string& line : log) {
    samples += line.starts_with("| one") ? 1 : 0;
    evaluations += line.find("held-out loss") != std::string::npos && line.starts_with("step") ? 1 : 0;
  }
  EXPECT_EQ(samples, 2);
  EXPECT_EQ(evaluations, 4);
  EXPECT_TRUE(log.back().starts_with("saved the weights of step")) << log.back();
  EXPECT_EQ(TrainGpt(options).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(TrainGptTest, TheSameSeedGivesTheSameWeights) {
  TrainGptOptions options = Small("gpt2");
  options.steps = 5;
  options.network.dropout = 0.1;
  const auto bytes = [&] {
    EXPECT_TRUE(TrainGpt(options).ok());
    std::ifstream file(options.output / "model.safetensors", std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  };
  options.overwrite = true;
  const std::string first = bytes();
  EXPECT_EQ(first, bytes());
  options.seed = 2;
  EXPECT_NE(first, bytes());
}

TEST_F(TrainGptTest, TrainsOnWithATokenizerThatIsThere) {
  ASSERT_TRUE(
      TrainTokenizer({.data = {folder_ / "text.txt"}, .output = folder_ / "tokenizer", .vocabulary_size = 270}).ok());
  EXPECT_EQ(TrainTokenizer({.data = {folder_ / "text.txt"}, .output = folder_ / "tokenizer"}).code(),
            absl::StatusCode::kAlreadyExists);
  TrainGptOptions options = Small("gpt2");
  options.steps = 2;
  options.tokenizer = folder_ / "tokenizer";
  ASSERT_TRUE(TrainGpt(options).ok());
  const auto loaded = LoadLanguageModel(options.output);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->tokenizer->vocabulary_size(), 270);
}

TEST_F(TrainGptTest, RefusesWhatCannotBeTrained) {
  const auto refused = [&](TrainGptOptions options, const std::string& message) {
    const absl::Status status = TrainGpt(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(status.message().find(message), std::string::npos) << status;
  };
  TrainGptOptions options = Small("gpt2");
  std::ofstream(folder_ / "line.txt") << "one line\n";
  std::ofstream(folder_ / "empty.txt") << "";
  options.data = {folder_ / "line.txt"};
  refused(options, "Give more text, or lower --context");
  options.data = {folder_ / "empty.txt"};
  refused(options, "there is no text");
  options = Small("rnn");
  refused(options, "--blocks is \"rnn\"");
  options = Small("gpt2");
  options.network.heads = 5;
  refused(options, "width 32 is not a multiple of heads 5");
  options = Small("modern");
  options.post_norm = true;
  refused(options, "--post-norm is for --blocks gpt2");
  options = Small("gpt2");
  options.tokenizer = "unigram";
  refused(options, "--tokenizer is \"unigram\"");
  options = Small("gpt2");
  options.validation = 0;
  refused(options, "--validation is 0");
  options = Small("lstm");
  options.recompute = true;
  refused(options, "--recompute is for transformers");
}

TEST_F(TrainGptTest, CountsWhatIsNotUtf8) {
  std::ofstream(folder_ / "bad.txt") << "caf\xE9 and \xFF\xFE text\r\n";
  const auto corpus = ReadTextCorpus({folder_ / "bad.txt"});
  ASSERT_TRUE(corpus.ok());
  EXPECT_EQ(corpus->repaired, 3);
  EXPECT_EQ(corpus->texts[0], "caf\uFFFD and \uFFFD\uFFFD text\n");
}

}  // namespace
}  // namespace blazon::service
