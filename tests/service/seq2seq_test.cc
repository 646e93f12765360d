// The encoder-decoder model that is trained on pairs: the same losses as PyTorch's nn.Transformer, and what was learned
// is what serves, greedily and with beams.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/training/adamw.h"
#include "language/training/seq2seq_network.h"
#include "service/model_store.h"
#include "service/text_generator.h"
#include "service/training/train_seq2seq.h"
#include "tests/language/formula_weights.h"

namespace blazon::service {
namespace {

using nlohmann::json;

constexpr char kRemedy[] =
    "\nThe goldens are made by: python tests/reference/training_goldens.py (needs torch and transformers)";

// As in tests/reference/training_goldens.py.
constexpr int64_t kSteps = 10, kRows = 4, kVocabulary = 61;

const json& Golden(bool pre_norm) {
  static const json& golden =
      *new json(json::parse(std::ifstream(std::string(BLAZON_SOURCE_DIR) + "/tests/goldens/training.json")));
  return golden.at(pre_norm ? "seq2seq_pre_norm" : "seq2seq_post_norm");
}

// int64 [4, length]
at::Tensor Tokens(int64_t step, int64_t length, int64_t salt) {
  std::vector<int64_t> ids;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t i = 0; i < length; ++i)
      ids.push_back((7 * row + 3 * step + salt + i * (1 + (row + step) % 3)) % kVocabulary);
  }
  return at::tensor(at::IntArrayRef(ids), at::kLong).view({kRows, length});
}

// bool [4, 11]: sources of 11, 7, 9 and 3 tokens.
at::Tensor Present() {
  return at::arange(11, at::kLong).unsqueeze(0) <
         at::tensor({int64_t{11}, int64_t{7}, int64_t{9}, int64_t{3}}).unsqueeze(1);
}

std::unique_ptr<language::Seq2SeqNetwork> Network(bool pre_norm) {
  const language::Seq2SeqConfig config = {.width = 48,
                                          .layers = 3,
                                          .heads = 4,
                                          .mlp_width = 192,
                                          .vocabulary_size = kVocabulary,
                                          .context_length = 32,
                                          .pre_norm = pre_norm};
  auto network = language::Seq2SeqNetwork::Create(config, 0.0, 1);
  EXPECT_TRUE(network.ok()) << network.status();
  const at::NoGradGuard no_grad;
  for (const language::NetworkWeight& weight : (*network)->weights()) {
    const at::Tensor made = language::FormulaWeight("start." + weight.name, weight.tensor.sizes().vec());
    at::Tensor(weight.tensor).copy_(weight.tensor.dim() > 1 ? made * 0.5 : made);
  }
  return *std::move(network);
}

TEST(Seq2SeqTest, LossesAndLogitsArePyTorchs) {
  for (const bool pre_norm : {true, false}) {
    SCOPED_TRACE(absl::StrCat("pre-norm ", pre_norm, kRemedy));
    const auto network = Network(pre_norm);
    language::ParameterGroup matrices{{}, 3e-3, 0.1}, others{{}, 3e-3, 0.0};
    for (const language::NetworkWeight& weight : network->weights())
      (weight.decays ? matrices : others).parameters.push_back(weight.tensor);
    language::AdamW optimiser({matrices, others}, {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .clip_norm = 1.0});
    for (int64_t step = 1; step <= kSteps; ++step) {
      const at::Tensor targets = Tokens(step, 10, 5);
      const at::Tensor logits = network->Forward(Tokens(step, 11, 0) * Present(), Present(),
                                                 targets.narrow(1, 0, 9).contiguous(), /*training=*/true);
      if (step == 1) {
        const json& wanted = Golden(pre_norm)["logits"];
        for (size_t row = 0; row < wanted.size(); ++row) {
          const at::Tensor expected = at::tensor(at::ArrayRef<double>(wanted[row].get<std::vector<double>>()));
          EXPECT_LT((logits[static_cast<int64_t>(9 * row)] - expected).abs().max().item<double>(), 1e-4);
        }
      }
      const at::Tensor loss = at::cross_entropy_loss(logits, targets.narrow(1, 1, 9).reshape({-1}));
      EXPECT_NEAR(loss.item<double>(), Golden(pre_norm)["losses"][step - 1].get<double>(), 1e-4) << "step " << step;
      loss.backward();
      optimiser.Step(language::CosineFactor(static_cast<double>(step) / kSteps, 0.2));
    }
  }
}

// The family that serves, one source after another, the target piece by piece.
TEST(Seq2SeqTest, ServingComputesWhatTrainingDoes) {
  const at::NoGradGuard no_grad;
  for (const bool pre_norm : {true, false}) {
    const auto network = Network(pre_norm);
    language::StateDict weights;
    for (const language::NetworkWeight& weight : network->weights()) weights[weight.name] = weight.tensor.detach();
    const auto model = language::Seq2SeqModel::Create(network->config(), std::move(weights));
    ASSERT_TRUE(model.ok()) << model.status();
    const at::Tensor sources = Tokens(1, 11, 0), targets = Tokens(1, 9, 5);
    const at::Tensor wanted = network->Forward(sources * Present(), Present(), targets, false).view({kRows, 9, -1});
    const int64_t lengths[] = {11, 7, 9, 3};
    std::vector<std::unique_ptr<language::ModelState>> states;
    std::vector<language::TokenSpan> spans;
    std::vector<language::ModelInput> inputs;
    for (const int64_t length : lengths) spans.push_back({0, length});
    for (int64_t row = 0; row < kRows; ++row) {
      states.push_back((*model)->NewState());
      inputs.push_back({.tokens = at::cat({sources[row].narrow(0, 0, lengths[row]), targets[row].narrow(0, 0, 2)}),
                        .state = states.back().get(),
                        .bidirectional = {&spans[row], 1}});
    }
    at::Tensor hidden = (*model)->Forward(inputs);
    int64_t begin = 0;
    for (int64_t row = 0; row < kRows; ++row) {
      begin += lengths[row];
      EXPECT_LT(((*model)->Logits(hidden.narrow(0, begin, 2)) - wanted[row].narrow(0, 0, 2)).abs().max().item<double>(),
                1e-4);
      begin += 2;
    }
    states[1]->Truncate(lengths[1] + 1);
    const auto fork = states[1]->Fork();
    inputs = {{.tokens = targets[1].narrow(0, 1, 8), .state = fork.get()},
              {.tokens = targets[3].narrow(0, 2, 1), .state = states[3].get()}};
    hidden = (*model)->Forward(inputs);
    EXPECT_LT(((*model)->Logits(hidden.narrow(0, 0, 8)) - wanted[1].narrow(0, 1, 8)).abs().max().item<double>(), 1e-4);
    EXPECT_LT(((*model)->Logits(hidden.narrow(0, 8, 1)) - wanted[3].narrow(0, 2, 1)).abs().max().item<double>(), 1e-4);
    EXPECT_EQ(fork->length(), 16);
  }
}

class TrainSeq2SeqTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / absl::StrCat("seq2seq_test.", getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // What the file says, refused.
  void Refuses(const std::string& name, const std::string& text, const std::string& message) {
    std::ofstream(folder_ / name) << text;
    const auto pairs = ReadTextPairs(folder_ / name);
    EXPECT_EQ(pairs.status().code(), absl::StatusCode::kInvalidArgument) << pairs.status();
    EXPECT_NE(pairs.status().message().find(message), std::string::npos) << pairs.status();
  }

  std::filesystem::path folder_;
};

// Numbers of up to two digits in words. All pairs are learned; 20 are asked again.
TEST_F(TrainSeq2SeqTest, LearnsPairsAndServesThem) {
  const std::vector<std::string> ones = {"zero", "one", "two",   "three", "four",
                                         "five", "six", "seven", "eight", "nine"};
  std::ofstream all(folder_ / "all.tsv"), some(folder_ / "some.jsonl");
  std::vector<std::string> words;
  for (int i = 0; i < 100; ++i) {
    words.push_back(ones[i / 10] + " " + ones[i % 10]);
    all << i / 10 << i % 10 << "\t" << words.back() << "\n";
    if (i % 5 == 0) some << json{{"source", absl::StrCat(i / 10, i % 10)}, {"target", words.back()}}.dump() << "\n";
  }
  all.close();
  some.close();
  TrainSeq2SeqOptions options;
  options.data = {folder_ / "all.tsv"};
  options.evaluation = folder_ / "some.jsonl";
  options.output = folder_ / "model";
  options.layers = 1;
  options.heads = 2;
  options.width = 48;
  options.context = 40;
  options.dropout = 0;
  options.batch = 32;
  options.steps = 600;
  options.learning_rate = 5e-3;
  options.evaluate_every = 100;
  std::string log;
  options.log = [&](const std::string& line) { log += line + "\n"; };
  const auto score = TrainSeq2Seq(options);
  ASSERT_TRUE(score.ok()) << score.status() << log;
  EXPECT_EQ(score->pairs, 20);
  EXPECT_EQ(score->exact, 20) << log;
  EXPECT_EQ(TrainSeq2Seq(options).status().code(), absl::StatusCode::kAlreadyExists);

  ModelStoreOptions store;
  store.language_model = options.output;
  store.dtype = "fp32";
  const auto models = ModelStore::Open(store);
  ASSERT_TRUE(models.ok()) << models.status();
  TextGenerator generator(**models);
  for (const int64_t beams : {1, 3}) {
    for (const int number : {0, 5, 40, 95}) {
      GenerateRequest request;
      request.prompt = absl::StrCat(number / 10, number % 10);
      request.options.num_beams = beams;
      request.options.max_new_tokens = 30;
      const auto text = generator.Generate(request);
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_EQ(text->text, words[number]) << beams << " beams";
    }
  }
  ScoreRequest asked;
  asked.prompt = "05";
  asked.completion = "zero five";
  const auto right = generator.Score(asked);
  ASSERT_TRUE(right.ok()) << right.status();
  asked.completion = "zero nine";
  const auto wrong = generator.Score(asked);
  ASSERT_TRUE(wrong.ok()) << wrong.status();
  EXPECT_GT(right->total_logprob, -0.5);
  EXPECT_LT(wrong->total_logprob, -1.0);
}

TEST_F(TrainSeq2SeqTest, RefusesWhatIsNoPair) {
  Refuses("a.tsv", "one\t1\ntwo\n", "line 2 is not SOURCE, one tab, TARGET");
  Refuses("b.tsv", "one\t\n", "line 1 has an empty source or target");
  Refuses("c.jsonl", "{\"source\": \"a\", \"target\": \"b\", \"note\": 1}\n", "unknown field \"note\"");
  Refuses("d.jsonl", "[]\n", "line 1 is no JSON object");
  Refuses("e.tsv", "\n\n", "has no pairs");
  Refuses("f.tsv", "caf\xE9\tx\n", "line 1 is not UTF-8");
  std::ofstream(folder_ / "long.tsv") << std::string(300, 'a') << "\tb\nc\td\ne\tf\n";
  TrainSeq2SeqOptions options;
  options.data = {folder_ / "long.tsv"};
  options.output = folder_ / "model";
  const auto score = TrainSeq2Seq(options);
  EXPECT_EQ(score.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(score.status().message().find("raise --context"), std::string::npos) << score.status();
}

}  // namespace
}  // namespace blazon::service
