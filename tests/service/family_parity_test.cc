// Every family of language models against transformers, from folders as save_pretrained writes them: one table, on the
// CPU, on a device that finds what would go wrong on a GPU, and on a GPU where there is one.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/attention_map.h"
#include "language/completion_score.h"
#include "language/models/llama.h"
#include "language/models/lstm.h"
#include "language/models/seq2seq.h"
#include "language/training/lora.h"
#include "service/checkpoint/checkpoint_folder.h"
#include "service/checkpoint/compute_device.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/safetensors.h"
#include "tests/language/far_device.h"
#include "tests/language/hash_model.h"
#include "tests/service/family_cases.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::Dtype;
using language::LanguageModel;
using language::ModelInput;
using language::ModelState;
using language::Placement;
using nlohmann::json;

const char kRemedy[] = "; goldens are made by: python tests/reference/family_goldens.py";
constexpr double kTolerance = 1e-4;
constexpr double kBf16Bound = 0.05;  // of the logits' standard deviation, for the mean difference
constexpr int64_t kTokens = 24;
constexpr int64_t kBeams = 4;
constexpr language::TokenId kEndToken = 7;  // of the searches
constexpr int64_t kLengths[] = {1, 2, 3, 5, 8, 13, 17, 21};

// The same as prompt() in the script.
at::Tensor Tokens(int64_t vocabulary, int64_t start, int64_t length) {
  std::vector<int64_t> tokens;
  for (int64_t i = start; i < start + length; ++i) tokens.push_back((i * 37 + 11) % vocabulary);
  return at::tensor(tokens, at::kLong);
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.cpu().to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

const TensorMap& Goldens() {
  static const TensorMap& goldens = *new TensorMap([] {
    auto tensors = ReadSafetensors(BLAZON_SOURCE_DIR "/tests/goldens/families.safetensors");
    EXPECT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
    return *std::move(tensors);
  }());
  return goldens;
}

class FamilyParityTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "family_parity_test_", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Write(const std::string& name, const json& config, const TensorMap& weights, int shards = 1) {
    WriteCheckpoint(folder_ / name, config, weights, shards);
    return folder_ / name;
  }

  static absl::StatusOr<std::unique_ptr<LanguageModel>> Load(const fs::path& folder,
                                                             const Placement& placement = Dtype::kFp32) {
    auto read = ReadCheckpointFolder(folder);
    if (!read.ok()) return read.status();
    return CreateLanguageModel(read->config, std::move(read->weights), placement);
  }

  // The differences of one family on a device, whose row is printed. A fatal failure leaves them zero.
  struct Row {
    double alone = 0, older = 0, batch = 0, scores = 0, bf16 = 0;
  };
  void Compare(const std::string& name, at::Device device, Row& row);

  fs::path folder_;
};

// The last row of each of a ragged batch of prompts, each read in two pieces over its own cache.
at::Tensor RaggedBatch(const LanguageModel& model) {
  const int64_t vocabulary = model.config().vocabulary_size;
  std::vector<std::unique_ptr<ModelState>> states;
  std::vector<ModelInput> first, second;
  std::vector<int64_t> ends;
  int64_t rows = 0;
  for (const int64_t length : kLengths) {
    const at::Tensor tokens = Tokens(vocabulary, 3 + length, length);
    states.push_back(model.NewState());
    const int64_t half = length / 2;
    if (half > 0) first.push_back({.tokens = tokens.narrow(0, 0, half), .state = states.back().get()});
    second.push_back({.tokens = tokens.narrow(0, half, length - half), .state = states.back().get()});
    rows += length - half;
    ends.push_back(rows - 1);
  }
  model.Forward(first);
  return model.Logits(model.Forward(second).index_select(0, at::tensor(ends, at::kLong).to(model.device())));
}

std::vector<int64_t> Greedy(const LanguageModel& model, const at::Tensor& prompt, int64_t count) {
  const auto state = model.NewState();
  std::vector<int64_t> tokens;
  at::Tensor next = prompt;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor hidden = model.Forward({{.tokens = next, .state = state.get()}});
    next = model.Logits(hidden.narrow(0, hidden.size(0) - 1, 1)).argmax(-1);
    tokens.push_back(next.item<int64_t>());
  }
  return tokens;
}

std::vector<int64_t> Values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

// What a search found: tokens without the one that ends them, and the scores.
struct Hypotheses {
  std::vector<std::vector<language::TokenId>> tokens;
  std::vector<double> scores;
};

Hypotheses GoldenHypotheses(const at::Tensor& sequences, const at::Tensor& scores) {
  Hypotheses golden;
  for (int64_t i = 0; i < sequences.size(0); ++i) {
    golden.tokens.emplace_back();
    for (const int64_t token : Values(sequences[i])) {
      if (token == kEndToken) break;
      golden.tokens.back().push_back(static_cast<language::TokenId>(token));
    }
    golden.scores.push_back(scores[i].item<double>());
  }
  return golden;
}

// The four best of four beams, as a request finds them.
Hypotheses SearchBeams(const LanguageModel& model, const at::Tensor& prompt, int64_t max_new_tokens) {
  std::vector<std::string> pieces;
  for (int64_t i = 0; i < model.config().vocabulary_size; ++i) pieces.push_back(absl::StrCat(i, " "));
  const language::PieceTokenizer tokenizer(pieces);
  language::Scheduler scheduler(model, tokenizer, {.prefill_chunk = 4, .end_tokens = {kEndToken}});
  const std::vector<int64_t> ids = Values(prompt);
  language::GenerationRequest request = language::Request({ids.begin(), ids.end()}, max_new_tokens);
  request.options.num_beams = request.options.num_sequences = kBeams;
  request.options.allow_repetition = true;  // transformers has no such rule
  const auto generated = scheduler.Generate(std::move(request));
  EXPECT_TRUE(generated.ok()) << generated.status();
  Hypotheses found;
  if (!generated.ok()) return found;
  for (const language::GeneratedSequence& sequence : generated->second.sequences) {
    found.tokens.push_back(sequence.tokens);
    found.scores.push_back(sequence.score);
  }
  return found;
}

double MaxDifference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

// The mean difference of bf16's logits, as a part of their standard deviation.
double Bf16Difference(const LanguageModel& model, const at::Tensor& golden) {
  const at::Tensor tokens = Tokens(model.config().vocabulary_size, 0, kTokens);
  const at::Tensor logits = model.Logits(model.Forward({{.tokens = tokens}})).cpu();
  return (logits - golden).abs().mean().item<double>() / golden.std().item<double>();
}

void FamilyParityTest::Compare(const std::string& name, at::Device device, Row& row) {
  at::NoGradGuard no_grad;
  const json& made = FamilyCases()[name];
  const auto golden = [&](const char* what) { return Goldens().at(absl::StrCat(name, ".", what)); };
  const fs::path folder = Write(name, made["config"], CaseWeights(made));
  const auto model = Load(folder, {Dtype::kFp32, device});
  ASSERT_TRUE(model.ok()) << name << ": " << model.status();
  ASSERT_EQ((*model)->device(), device);
  const at::Tensor tokens = Tokens((*model)->config().vocabulary_size, 0, kTokens);
  const at::Tensor logits = (*model)->Logits((*model)->Forward({{.tokens = tokens}}));
  EXPECT_EQ(logits.device(), device);
  EXPECT_GT(golden("logits").std().item<double>(), 0.2) << "the golden would be trivial";
  const double alone = MaxDifference(logits, golden("logits"));
  EXPECT_LE(alone, kTolerance) << name << kRemedy;

  const auto older = Load(Write(name + ".older", made["legacy_config"], LegacyCaseWeights(made), /*shards=*/3),
                          {Dtype::kFp32, device});
  ASSERT_TRUE(older.ok()) << name << " in the older spelling: " << older.status();
  const double spelled = MaxDifference((*older)->Logits((*older)->Forward({{.tokens = tokens}})), golden("logits"));
  EXPECT_LE(spelled, kTolerance) << name << " in the older spelling";

  const double batch = MaxDifference(RaggedBatch(**model), golden("batch"));
  EXPECT_LE(batch, kTolerance) << name << kRemedy;

  const std::vector<int64_t> greedy = Values(golden("greedy"));
  ASSERT_EQ(greedy.size(), 32u) << kRemedy;
  const bool same_text = Greedy(**model, golden("prompt"), std::ssize(greedy)) == greedy;
  EXPECT_TRUE(same_text) << name << kRemedy;

  const Hypotheses expected = GoldenHypotheses(golden("beam.sequences"), golden("beam.scores"));
  ASSERT_EQ(std::ssize(expected.tokens), kBeams) << kRemedy;
  EXPECT_NE(expected.tokens[0], expected.tokens[1]) << "the golden would be trivial";
  const Hypotheses found = SearchBeams(**model, golden("prompt"), golden("beam.sequences").size(1));
  EXPECT_EQ(found.tokens, expected.tokens) << name << kRemedy;
  const double scores = MaxDifference(found.scores, expected.scores);
  EXPECT_LE(scores, kTolerance) << name << kRemedy;

  const auto halved = Load(folder, {Dtype::kBf16, device});
  ASSERT_TRUE(halved.ok()) << name << ": " << halved.status();
  const double bf16 = Bf16Difference(**halved, golden("logits"));
  EXPECT_LE(bf16, kBf16Bound) << name;
  EXPECT_GT(bf16, 1e-4) << name << " did not compute in bf16";

  std::printf("| %-18s %8.1e %8.1e %10.1e %9s %8s %8.1e %7.4f\n", name.c_str(), alone, spelled, batch,
              same_text ? "equal" : "DIFFERS", found.tokens == expected.tokens ? "equal" : "DIFFERS", scores, bf16);
  row = {alone, spelled, batch, scores, bf16};
}

// One row for each family and shape; tests/run.sh shows the lines that begin with "| ".
TEST_F(FamilyParityTest, Table) {
  std::printf(
      "| Language models against transformers 5.17.0: largest differences in fp32 (at most %.0e); bf16: the mean\n",
      kTolerance);
  std::printf(
      "| difference in standard deviations (at most %.2f); older: in transformers 4's spelling; beam 4: of scores\n",
      kBf16Bound);
  std::printf("| %-18s %8s %8s %10s %9s %8s %8s %7s\n", "family", "logits", "older", "batch of 8", "greedy 32",
              "beam 4", "scores", "bf16");
  Row worst;
  for (const std::string& name : FamilyCaseNames()) {
    Row row;
    Compare(name, at::kCPU, row);
    if (HasFatalFailure()) return;
    for (double Row::*each : {&Row::alone, &Row::older, &Row::batch, &Row::scores, &Row::bf16}) {
      worst.*each = std::max(worst.*each, row.*each);
    }
  }
  std::printf("| %-18s %8.1e %8.1e %10.1e %9s %8s %8.1e %7.4f\n", "worst", worst.alone, worst.older, worst.batch, "",
              "", worst.scores, worst.bf16);
}

// The same rows where no kernel of ours runs, and nothing of the CPU's may be met: what they show is that the path of
// all other devices is whole and right.
class FamilyOnFarDeviceTest : public FamilyParityTest, public testing::WithParamInterface<std::string> {
 protected:
  static void SetUpTestSuite() {
    std::printf("| The same on a device that is not the CPU (tests/language/far_device.h)\n");
  }
};
class FamilyOnCudaTest : public FamilyParityTest, public testing::WithParamInterface<std::string> {
 protected:
  static void SetUpTestSuite() { std::printf("| The same on CUDA\n"); }
};

TEST_P(FamilyOnFarDeviceTest, Row) {
  at::NoGradGuard no_grad;
  Row row;
  Compare(GetParam(), language::FarDevice(), row);
  if (HasFatalFailure()) return;
  // Our kernels and LibTorch's operations agree more closely than either does with the goldens.
  const auto near = Load(folder_ / GetParam()), far = Load(folder_ / GetParam(), {Dtype::kFp32, language::FarDevice()});
  ASSERT_TRUE(near.ok() && far.ok());
  const at::Tensor tokens = Tokens((*near)->config().vocabulary_size, 0, kTokens);
  const auto logits = [&](const LanguageModel& model) { return model.Logits(model.Forward({{.tokens = tokens}})); };
  EXPECT_LE(MaxDifference(logits(**far), logits(**near)), 1e-5);
}

// A formula's weights for these names and shapes.
language::StateDict FormulaWeights(const std::vector<std::pair<std::string, std::vector<int64_t>>>& shapes) {
  language::StateDict weights;
  for (const auto& [name, shape] : shapes) weights[name] = language::FormulaWeight(name, shape);
  return weights;
}

// The families of our own have no goldens here: the two devices must agree.
TEST_F(FamilyParityTest, AnLstmComputesTheSameOnAFarDevice) {
  at::NoGradGuard no_grad;
  const language::LstmConfig config = {
      .width = 24, .layers = 2, .vocabulary_size = 61, .context_length = 40, .tie_embeddings = false};
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {{"embedding.weight", {61, 24}},
                                                                      {"head.weight", {61, 24}}};
  for (int i = 0; i < 2; ++i) {
    for (const char* name : {"ih", "hh"}) {
      shapes.push_back({absl::StrCat("lstm.weight_", name, "_l", i), {96, 24}});
      shapes.push_back({absl::StrCat("lstm.bias_", name, "_l", i), {96}});
    }
  }
  const auto logits = [&](at::Device device) {
    const auto model = language::LstmModel::Create(config, FormulaWeights(shapes), {Dtype::kFp32, device});
    EXPECT_TRUE(model.ok()) << model.status();
    const auto state = (*model)->NewState();
    (*model)->Forward({{.tokens = Tokens(61, 0, 5), .state = state.get()}});
    return (*model)->Logits((*model)->Forward({{.tokens = Tokens(61, 5, 2), .state = state.get()}}));
  };
  EXPECT_LE(MaxDifference(logits(language::FarDevice()), logits(at::kCPU)), 1e-5);
}

TEST_F(FamilyParityTest, AnEncoderDecoderComputesTheSameOnAFarDevice) {
  at::NoGradGuard no_grad;
  const language::Seq2SeqConfig config = {
      .width = 24, .layers = 1, .heads = 2, .mlp_width = 32, .vocabulary_size = 61, .context_length = 40};
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {{"embedding.weight", {61, 24}}};
  for (const std::string side : {"encoder", "decoder"}) {
    const std::string prefix = side + ".layers.0.";
    for (const std::string name : {"self_attn", "multihead_attn"}) {
      if (side == "encoder" && name == "multihead_attn") continue;
      shapes.push_back({prefix + name + ".in_proj_weight", {72, 24}});
      shapes.push_back({prefix + name + ".in_proj_bias", {72}});
      shapes.push_back({prefix + name + ".out_proj.weight", {24, 24}});
      shapes.push_back({prefix + name + ".out_proj.bias", {24}});
    }
    shapes.insert(shapes.end(), {{prefix + "linear1.weight", {32, 24}},
                                 {prefix + "linear1.bias", {32}},
                                 {prefix + "linear2.weight", {24, 32}},
                                 {prefix + "linear2.bias", {24}}});
    for (const std::string name : {"norm1", "norm2", "norm3"}) {
      if (side == "encoder" && name == "norm3") continue;
      shapes.push_back({prefix + name + ".weight", {24}});
      shapes.push_back({prefix + name + ".bias", {24}});
    }
    shapes.push_back({side + ".norm.weight", {24}});
    shapes.push_back({side + ".norm.bias", {24}});
  }
  const auto logits = [&](at::Device device) {
    const auto model = language::Seq2SeqModel::Create(config, FormulaWeights(shapes), {Dtype::kFp32, device});
    EXPECT_TRUE(model.ok()) << model.status();
    const auto state = (*model)->NewState();
    const std::vector<language::TokenSpan> source = {{0, 6}};
    (*model)->Forward({{.tokens = Tokens(61, 0, 7), .state = state.get(), .bidirectional = source}});
    return (*model)->Logits((*model)->Forward({{.tokens = Tokens(61, 7, 2), .state = state.get()}}));
  };
  EXPECT_LE(MaxDifference(logits(language::FarDevice()), logits(at::kCPU)), 1e-5);
}

// What a request may ask for beside its next tokens.
TEST_F(FamilyParityTest, AdaptersBranchesAndScoresAreTheSameOnAFarDevice) {
  at::NoGradGuard no_grad;
  const std::string name = "llama.grouped";
  const json& made = FamilyCases()[name];
  const fs::path folder = Write(name, made["config"], CaseWeights(made));
  struct Results {
    at::Tensor adapted;
    std::vector<double> scores;
  };
  const auto results = [&](at::Device device) {
    const auto model = Load(folder, {Dtype::kFp32, device});
    EXPECT_TRUE(model.ok()) << model.status();
    language::Adapter adapter;
    for (const language::Parameter& parameter : (*model)->parameters()) {
      EXPECT_EQ(parameter.tensor.device(), device) << parameter.name;
      if (!parameter.linear || parameter.name.find("layers.1.") == std::string::npos) continue;
      const std::string module = parameter.name.substr(0, parameter.name.size() - std::string(".weight").size());
      adapter.modules[module] = {.a = language::FormulaWeight(module + ".a", {3, parameter.inputs}),
                                 .b = language::FormulaWeight(module + ".b", {parameter.outputs, 3}),
                                 .scale = 0.5};
    }
    EXPECT_FALSE(adapter.modules.empty());
    language::MoveAdapter(adapter, device);
    const int64_t vocabulary = (*model)->config().vocabulary_size;
    const std::vector<language::TokenSpan> seen = {{1, 4}}, branches = {{6, 8}, {8, 11}};
    Results found;
    found.adapted = (*model)->Logits((*model)->Forward(
        {{.tokens = Tokens(vocabulary, 0, 5)},
         {.tokens = Tokens(vocabulary, 3, 11), .adapter = &adapter, .bidirectional = seen, .branches = branches}}));
    EXPECT_EQ(found.adapted.device(), device);
    const language::PieceTokenizer tokenizer(std::vector<std::string>(static_cast<size_t>(vocabulary), "x"));
    language::GenerationRequest read;
    read.prompt = {std::vector<language::TokenId>{3, 1, 4}};
    const std::vector<language::TokenId> completion = {1, 5, 9};
    for (const auto& score : language::ScoreCompletion(**model, tokenizer, read, completion)) {
      found.scores.push_back(score.logprob);
    }
    language::Scheduler scheduler(**model, tokenizer, {});
    language::GenerationRequest request = language::Request({3, 1, 4, 1, 5}, 3);
    request.options.prompt_logprobs = 0;
    const auto generated = scheduler.Generate(std::move(request));
    EXPECT_TRUE(generated.ok()) << generated.status();
    for (const auto& score : generated->second.prompt_logprobs) found.scores.push_back(score.logprob);
    return found;
  };
  const Results far = results(language::FarDevice()), near = results(at::kCPU);
  EXPECT_LE(MaxDifference(far.adapted, near.adapted), 1e-5);
  ASSERT_EQ(near.scores.size(), 7u);
  EXPECT_LE(MaxDifference(far.scores, near.scores), 1e-5);
}

// Kernels for quantised weights are the CPU's; elsewhere the same numbers are dense.
TEST_F(FamilyParityTest, QuantisedWeightsAreDenseOnAFarDevice) {
  at::NoGradGuard no_grad;
  const language::LlamaConfig config = {.width = 64,
                                        .layers = 1,
                                        .heads = 4,
                                        .key_heads = 2,
                                        .mlp_width = 96,
                                        .vocabulary_size = 61,
                                        .context_length = 32,
                                        .tie_embeddings = true};
  language::StateDict weights = language::FormulaLlama(config);
  for (auto& [name, weight] : weights) {
    const at::Tensor dense = std::get<at::Tensor>(weight);
    if (dense.dim() != 2) continue;
    // Q8_0: an fp16 scale (0x2000 is 2^-7), then 32 signed bytes.
    const int64_t blocks = dense.size(1) / 32;
    const at::Tensor quants = (dense.view({dense.size(0), blocks, 32}) * 128).round().clamp(-127, 127).to(at::kChar);
    const at::Tensor scale = at::tensor({int64_t{0x00}, int64_t{0x20}}, at::kLong).to(at::kByte);
    weight = language::QuantizedTensor{
        language::QuantFormat::kQ8_0, dense.size(0), dense.size(1),
        at::cat({scale.expand({dense.size(0), blocks, 2}), quants.view(at::kByte)}, 2).reshape({dense.size(0), -1})};
  }
  const auto near = language::LlamaModel::Create(config, weights, Dtype::kAuto);
  const auto far = language::LlamaModel::Create(config, weights, {Dtype::kAuto, language::FarDevice()});
  ASSERT_TRUE(near.ok() && far.ok()) << near.status() << far.status();
  EXPECT_FALSE((*near)->parameters()[0].tensor.defined());
  EXPECT_EQ((*far)->parameters()[0].tensor.scalar_type(), at::kFloat);
  const auto logits = [&](const LanguageModel& model) {
    return model.Logits(model.Forward({{.tokens = Tokens(61, 0, kTokens)}}));
  };
  const at::Tensor expected = logits(**near);
  EXPECT_LE(MaxDifference(logits(**far), expected), 1e-5 * expected.abs().max().item<double>());
}

TEST_P(FamilyOnCudaTest, Row) {
  if (!at::hasCUDA()) {
    std::printf("| %-18s skipped on CUDA\n", GetParam().c_str());
    GTEST_SKIP() << OpenComputeDevice("cuda").status().message();
  }
  const auto device = OpenComputeDevice("cuda");
  ASSERT_TRUE(device.ok()) << device.status();
  Row row;
  Compare(GetParam(), *device, row);
}

constexpr auto kRowName = [](const testing::TestParamInfo<std::string>& row) {
  std::string name = row.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
};
INSTANTIATE_TEST_SUITE_P(FarDevice, FamilyOnFarDeviceTest, testing::ValuesIn(FamilyCaseNames()), kRowName);
INSTANTIATE_TEST_SUITE_P(Cuda, FamilyOnCudaTest, testing::ValuesIn(FamilyCaseNames()), kRowName);

// The weights of attention, of each family's own rules: windows, caps, ALiBi, grouped heads.
TEST_F(FamilyParityTest, AttentionWeightsAreTransformers) {
  const auto goldens = ReadSafetensors(BLAZON_SOURCE_DIR "/tests/goldens/attentions.safetensors");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  const char remedy[] = "; goldens are made by: python tests/reference/attention_goldens.py";
  double worst = 0;
  for (const auto& [name, made] : FamilyCases().items()) {
    const auto model = Load(Write(name, made["config"], CaseWeights(made)));
    ASSERT_TRUE(model.ok()) << name << ": " << model.status();
    const at::Tensor mean = goldens->at(name + ".mean");  // [layers, T, T]
    const at::Tensor tokens = Tokens((*model)->config().vocabulary_size, 0, mean.size(1));
    EXPECT_GT(mean.narrow(2, 1, mean.size(2) - 1).max().item<double>(), 0.3) << "the golden would be trivial";
    const auto map = [&](int64_t layer, int64_t head) {
      auto mapped = language::MapAttention(**model, tokens, {}, nullptr, layer, head);
      EXPECT_TRUE(mapped.ok()) << name << ": " << mapped.status();
      return *std::move(mapped);
    };
    for (int64_t layer = 0; layer < mean.size(0); ++layer)
      worst = std::max(worst, MaxDifference(map(layer, language::kAllHeads).weights, mean[layer]));
    const language::AttentionMap all = map(language::kAllLayers, language::kAllHeads);
    EXPECT_EQ(all.layers, mean.size(0));
    worst = std::max(worst, MaxDifference(all.weights, mean.mean(0)));
    worst = std::max(worst, MaxDifference(map(all.layers - 1, all.heads - 1).weights, goldens->at(name + ".head")));
    EXPECT_LE(worst, kTolerance) << name << remedy;

    for (const auto& [layer, head] : {std::pair<int64_t, int64_t>{all.layers, 0}, {0, all.heads}, {-2, 0}, {0, -2}}) {
      EXPECT_EQ(language::MapAttention(**model, tokens, {}, nullptr, layer, head).status().code(),
                absl::StatusCode::kOutOfRange);
    }
  }
  std::printf("| %-18s %8.1e\n", "attention weights", worst);
}

}  // namespace
}  // namespace blazon::service
