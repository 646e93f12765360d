// Every family of language models against transformers, from folders as save_pretrained writes them: one table.
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
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/checkpoint_folder.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/safetensors.h"
#include "tests/language/hash_model.h"
#include "tests/service/family_cases.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::Dtype;
using language::LanguageModel;
using language::ModelInput;
using language::ModelState;
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
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
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

  static absl::StatusOr<std::unique_ptr<LanguageModel>> Load(const fs::path& folder, Dtype dtype = Dtype::kFp32) {
    auto read = ReadCheckpointFolder(folder);
    if (!read.ok()) return read.status();
    return CreateLanguageModel(read->config, std::move(read->weights), dtype);
  }

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
  return model.Logits(model.Forward(second).index_select(0, at::tensor(ends, at::kLong)));
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
  const at::Tensor logits = model.Logits(model.Forward({{.tokens = tokens}}));
  return (logits - golden).abs().mean().item<double>() / golden.std().item<double>();
}

// One row for each family and shape; tests/run.sh shows the lines that begin with "| ".
TEST_F(FamilyParityTest, Table) {
  at::NoGradGuard no_grad;
  std::printf(
      "| Language models against transformers 5.17.0: largest differences in fp32 (at most %.0e); bf16: the mean\n",
      kTolerance);
  std::printf(
      "| difference in standard deviations (at most %.2f); older: in transformers 4's spelling; beam 4: of scores\n",
      kBf16Bound);
  std::printf("| %-18s %8s %8s %10s %9s %8s %8s %7s\n", "family", "logits", "older", "batch of 8", "greedy 32",
              "beam 4", "scores", "bf16");
  double worst[5] = {};
  for (const auto& [name, made] : FamilyCases().items()) {
    const auto golden = [&](const char* what) { return Goldens().at(absl::StrCat(name, ".", what)); };
    const fs::path folder = Write(name, made["config"], CaseWeights(made));
    const auto model = Load(folder);
    ASSERT_TRUE(model.ok()) << name << ": " << model.status();
    const at::Tensor tokens = Tokens((*model)->config().vocabulary_size, 0, kTokens);
    const at::Tensor logits = (*model)->Logits((*model)->Forward({{.tokens = tokens}}));
    EXPECT_GT(golden("logits").std().item<double>(), 0.2) << "the golden would be trivial";
    const double alone = MaxDifference(logits, golden("logits"));
    EXPECT_LE(alone, kTolerance) << name << kRemedy;

    const auto older = Load(Write(name + ".older", made["legacy_config"], LegacyCaseWeights(made), /*shards=*/3));
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

    const auto halved = Load(folder, Dtype::kBf16);
    ASSERT_TRUE(halved.ok()) << name << ": " << halved.status();
    const double bf16 = Bf16Difference(**halved, golden("logits"));
    EXPECT_LE(bf16, kBf16Bound) << name;
    EXPECT_GT(bf16, 1e-4) << name << " did not compute in bf16";

    std::printf("| %-18s %8.1e %8.1e %10.1e %9s %8s %8.1e %7.4f\n", name.c_str(), alone, spelled, batch,
                same_text ? "equal" : "DIFFERS", found.tokens == expected.tokens ? "equal" : "DIFFERS", scores, bf16);
    const double row[] = {alone, spelled, batch, scores, bf16};
    for (size_t i = 0; i < std::size(row); ++i) worst[i] = std::max(worst[i], row[i]);
  }
  std::printf("| %-18s %8.1e %8.1e %10.1e %9s %8s %8.1e %7.4f\n", "worst", worst[0], worst[1], worst[2], "", "",
              worst[3], worst[4]);
}

}  // namespace
}  // namespace blazon::service
