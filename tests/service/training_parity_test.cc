// Training against PyTorch, transformers, PEFT and TRL: losses step by step, adapters, and what is learned of a record.
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "language/training/adamw.h"
#include "language/training/lora.h"
#include "language/training/optimizer.h"
#include "language/training/training_example.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/caption_loss.h"
#include "service/training/sft_data.h"
#include "tests/service/family_cases.h"

namespace blazon::service {
namespace {

using language::TokenId;
using language::TrainingExample;
using nlohmann::json;

const char kRemedy[] = "; goldens are made by: python tests/reference/finetuning_goldens.py";
constexpr double kTolerance = 1e-4;

const json& Golden() {
  static const json& golden = *new json(json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/finetuning.json")));
  return golden;
}

std::unique_ptr<language::LanguageModel> Model(const std::string& name) {
  const json& made = FamilyCases()[name];
  language::StateDict weights;
  for (const auto& [tensor, values] : CaseWeights(made)) weights[tensor] = values;
  auto model = CreateLanguageModel(made["config"], std::move(weights), language::Dtype::kFp32);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// The same as prompt() in family_goldens.py.
std::vector<TokenId> Prompt(int64_t vocabulary, int64_t start, int64_t length) {
  std::vector<TokenId> tokens;
  for (int64_t i = start; i < start + length; ++i) tokens.push_back(static_cast<TokenId>((i * 37 + 11) % vocabulary));
  return tokens;
}

TEST(TrainingParityTest, LossesFollowPyTorch) {
  const json& golden = Golden();
  const auto batch = golden["batch"].get<int64_t>(), length = golden["length"].get<int64_t>();
  for (const auto& [name, losses] : golden["losses"].items()) {
    const auto model = Model(name);
    std::vector<language::TrainedTensor> tensors;
    for (const language::Parameter& parameter : model->parameters()) {
      at::Tensor tensor = parameter.tensor;
      tensor.requires_grad_(true);
      tensors.push_back({.name = parameter.name,
                         .tensor = tensor,
                         .weight_decay = tensor.dim() > 1 ? golden["decay"].get<double>() : 0.0});
    }
    language::Optimizer optimizer(tensors, {.clip_norm = golden["clip"].get<double>()});
    double worst = 0;
    for (int64_t step = 0; step < golden["steps"].get<int64_t>(); ++step) {
      std::vector<TrainingExample> examples;
      for (int64_t i = 0; i < batch; ++i) {
        std::vector<TokenId> tokens = Prompt(model->config().vocabulary_size - 1, 5 * step + 17 * i, length);
        for (TokenId& token : tokens) ++token;  // 0 pads, and PyTorch does not train its embedding
        examples.push_back({.tokens = std::move(tokens), .learned = std::vector<char>(static_cast<size_t>(length), 1)});
      }
      std::vector<const TrainingExample*> pointers;
      for (const TrainingExample& example : examples) pointers.push_back(&example);
      const double scale = 1 / static_cast<double>(batch * (length - 1));
      const language::LossSum sum = language::AddExampleGradients(*model, nullptr, pointers, scale);
      optimizer.Step(golden["rate"].get<double>());
      worst = std::max(worst, std::abs(sum.mean() - losses[static_cast<size_t>(step)].get<double>()));
    }
    EXPECT_LE(worst, kTolerance) << name << kRemedy;
    std::printf("| first 10 losses of %s against PyTorch: largest difference %.1e\n", name.c_str(), worst);
  }
}

// A captioner of a small model: connector and adapter with the weights of the goldens.
struct SmallCaptioner {
  std::unique_ptr<language::LanguageModel> model;
  vision::Projector connector;
  std::shared_ptr<language::Adapter> adapter;
  int64_t cells = 0, channels = 0;

  static absl::StatusOr<SmallCaptioner> Make() {
    const json& golden = Golden()["captioner"];
    const auto cells = golden["cells"].get<int64_t>(), channels = golden["channels"].get<int64_t>(),
               hidden = golden["hidden"].get<int64_t>(), rank = golden["rank"].get<int64_t>();
    auto model = Model("llama.grouped");
    const int64_t width = model->config().width;
    TensorMap tensors;
    for (const auto& [name, shape] : std::map<std::string, std::vector<int64_t>>{{"norm.weight", {channels}},
                                                                                 {"norm.bias", {channels}},
                                                                                 {"fc1.weight", {hidden, channels}},
                                                                                 {"fc1.bias", {hidden}},
                                                                                 {"fc2.weight", {width, hidden}},
                                                                                 {"fc2.bias", {width}},
                                                                                 {"position", {cells, width}}}) {
      const at::Tensor made = language::FormulaWeight("connector." + name, shape);
      tensors[name] = name.ends_with("bias") ? made - 1.0 : made;
    }
    auto connector = vision::Projector::FromTensors(tensors);
    if (!connector.ok()) return connector.status();
    auto adapter = language::NewLoraAdapter(
        "captioner", *model,
        {.rank = rank, .alpha = 2.0 * static_cast<double>(rank), .targets = {"q_proj", "k_proj", "v_proj", "o_proj"}});
    if (!adapter.ok()) return adapter.status();
    for (auto& [module, weights] : (*adapter)->modules) {
      const at::NoGradGuard no_grad;
      const std::string name = "base_model.model." + module;
      weights.a.copy_(language::FormulaWeight(name + ".lora_A.weight", weights.a.sizes().vec()));
      weights.b.copy_(language::FormulaWeight(name + ".lora_B.weight", weights.b.sizes().vec()) * 0.1);
    }
    return SmallCaptioner{std::move(model), *std::move(connector), *std::move(adapter), cells, channels};
  }
};

// The captioner's third stage: connector and adapter together, by the loss on captions.
TEST(TrainingParityTest, CaptionerLossesFollowPyTorch) {
  const json& golden = Golden()["captioner"];
  const auto batch = golden["batch"].get<int64_t>(), steps = golden["steps"].get<int64_t>();
  const auto small = SmallCaptioner::Make();
  ASSERT_TRUE(small.ok()) << small.status();
  const auto& [model, connector, adapter, cells, channels] = *small;
  const int64_t vocabulary = model->config().vocabulary_size;
  language::AdamW optimizer = CaptionOptimizer(connector, golden["connector_rate"].get<double>(), *adapter,
                                               golden["adapter_rate"].get<double>(), golden["decay"].get<double>());
  double worst = 0;
  for (int64_t step = 1; step <= steps; ++step) {
    std::vector<CaptionSample> samples;
    for (int64_t i = 0; i < batch; ++i) {
      samples.push_back({.cells = language::FormulaWeight(absl::StrCat("cells.", step, ".", i), {cells, channels}),
                         .before = Prompt(vocabulary, 1, 2),
                         .after = Prompt(vocabulary, 3 + i, 4 + i),
                         .caption = Prompt(vocabulary, 5 * i + step % 3, 3 + 2 * i)});
    }
    const at::Tensor loss = CaptionLoss(*model, connector, *adapter, samples, golden["end"].get<TokenId>());
    loss.backward();
    optimizer.Step(language::CosineFactor(static_cast<double>(step) / static_cast<double>(steps)));
    worst =
        std::max(worst, std::abs(loss.item<double>() - golden["losses"][static_cast<size_t>(step - 1)].get<double>()));
  }
  EXPECT_LE(worst, kTolerance) << kRemedy;
  std::printf("| first 10 losses of a captioner against PyTorch: largest difference %.1e\n", worst);
}

// Several texts about one picture: their common tokens computed once, the loss and its gradients those of separate
// samples.
TEST(TrainingParityTest, CaptionLossOverBranchesIsThatOfSeparateSamples) {
  const auto small = SmallCaptioner::Make();
  ASSERT_TRUE(small.ok()) << small.status();
  const auto& [model, connector, adapter, cells, channels] = *small;
  const int64_t vocabulary = model->config().vocabulary_size;
  const auto end = Golden()["captioner"]["end"].get<TokenId>();
  const auto then = [](std::vector<TokenId> tokens, const std::vector<TokenId>& more) {
    tokens.insert(tokens.end(), more.begin(), more.end());
    return tokens;
  };
  // A reading that all begin with, and questions; then a picture with one text, and one whose texts share nothing.
  const std::vector<TokenId> reading = Prompt(vocabulary, 3, 6);
  std::vector<CaptionSample> together, apart;
  for (int64_t i = 0; i < 3; ++i) {
    CaptionSample sample{.cells = language::FormulaWeight(absl::StrCat("cells.", i), {cells, channels}),
                         .before = Prompt(vocabulary, 1, 2),
                         .after = then(reading, {end}),
                         .caption = Prompt(vocabulary, 5 * i, 4 + i)};
    if (i != 1) {
      sample.more = {{then(i == 0 ? reading : Prompt(vocabulary, 20, 3), then(Prompt(vocabulary, 9, 4), {end})),
                      Prompt(vocabulary, 2, 1)},
                     {then(i == 0 ? reading : Prompt(vocabulary, 30, 2), then(Prompt(vocabulary, 12, 2), {end})),
                      Prompt(vocabulary, 7, 3)}};
    }
    together.push_back(sample);
    const std::vector<CaptionSample::Text> others = std::exchange(sample.more, {});
    apart.push_back(sample);
    for (const CaptionSample::Text& other : others) {
      sample.after = other.after;
      sample.caption = other.caption;
      apart.push_back(sample);
    }
  }
  ASSERT_EQ(apart.size(), 7U);
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : connector.tensors()) tensors.push_back(tensor);
  for (const auto& [name, weights] : adapter->modules) {
    tensors.push_back(weights.a);
    tensors.push_back(weights.b);
  }
  for (at::Tensor& tensor : tensors) tensor.requires_grad_(true);
  const auto learn = [&](const std::vector<CaptionSample>& samples) {
    for (at::Tensor& tensor : tensors) tensor.mutable_grad() = at::Tensor();
    const at::Tensor loss = CaptionLoss(*small->model, small->connector, *small->adapter, samples, end);
    loss.backward();
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& tensor : tensors) gradients.push_back(tensor.grad().clone());
    return std::pair(loss.item<double>(), gradients);
  };
  const auto [loss, gradients] = learn(together);
  const auto [separate, separate_gradients] = learn(apart);
  EXPECT_NEAR(loss, separate, 1e-5);
  double worst = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const double scale = separate_gradients[i].abs().max().item<double>();
    EXPECT_GT(scale, 0) << "tensor " << i;
    worst = std::max(worst, (gradients[i] - separate_gradients[i]).abs().max().item<double>() / scale);
  }
  EXPECT_LE(worst, 1e-4);
  std::printf("| a captioner's loss over branches and over separate samples: difference %.1e, of gradients %.1e\n",
              std::abs(loss - separate), worst);
}

TEST(TrainingParityTest, AdaptersOfPeftGiveItsLogits) {
  for (const auto& [name, logits] : Golden()["adapters"].items()) {
    const auto model = Model(name);
    const auto adapter = ReadAdapter(std::string(BLAZON_SOURCE_DIR "/tests/goldens/peft/") + name, *model);
    ASSERT_TRUE(adapter.ok()) << adapter.status() << kRemedy;
    const at::NoGradGuard no_grad;
    const std::vector<TokenId> prompt = Prompt(model->config().vocabulary_size, 0, Golden()["length"].get<int64_t>());
    const at::Tensor tokens = at::tensor(std::vector<int64_t>(prompt.begin(), prompt.end()));
    const at::Tensor hidden = model->Forward({{.tokens = tokens, .adapter = adapter->get()}});
    const at::Tensor last = model->Logits(hidden.slice(0, hidden.size(0) - 1));
    const double worst = (last.flatten() - at::tensor(logits.get<std::vector<float>>())).abs().max().item<double>();
    EXPECT_LE(worst, kTolerance) << name << kRemedy;
    std::printf("| logits of %s with PEFT's adapter: largest difference %.1e\n", name.c_str(), worst);
  }
}

TEST(TrainingParityTest, WhatIsLearnedIsWhatTrlAndTransformersLearn) {
  const auto model = LoadLanguageModel(BLAZON_SOURCE_DIR "/models/smollm2-135m-instruct");
  ASSERT_TRUE(model.ok()) << model.status();
  for (const json& each : Golden()["sft"]) {
    const auto record = ParseSftRecord(each["record"].dump(), *model, {});
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(record->joined.tokens, each["ids"].get<std::vector<TokenId>>()) << each["record"] << kRemedy;
    EXPECT_EQ(record->joined.learned, each["learned"].get<std::vector<char>>()) << each["record"] << kRemedy;
  }
}

}  // namespace
}  // namespace blazon::service
