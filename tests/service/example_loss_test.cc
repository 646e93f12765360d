// What language models learn from a record, and that it does not depend on how records are laid out: every family.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/ops/recomputed_layers.h"
#include "language/training/greedy_texts.h"
#include "language/training/lora.h"
#include "language/training/training_example.h"
#include "service/checkpoint/language_families.h"
#include "tests/language/peak_memory.h"
#include "tests/service/family_cases.h"

namespace blazon::service {
namespace {

using language::LanguageModel;
using language::LossSum;
using language::TokenId;
using language::TrainingExample;

std::unique_ptr<LanguageModel> Model(const nlohmann::json& made) {
  language::StateDict weights;
  for (const auto& [name, tensor] : CaseWeights(made)) weights[name] = tensor;
  auto model = CreateLanguageModel(made["config"], std::move(weights), language::Dtype::kFp32);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// A text of `common` tokens that texts of one `subject` share, then `own` ones; the last `learned` are learned.
TrainingExample Text(int64_t subject, int64_t common, int64_t variant, int64_t own, int64_t learned) {
  TrainingExample text;
  for (int64_t i = 0; i < common; ++i) text.tokens.push_back(static_cast<TokenId>((subject * 29 + i * 37 + 11) % 89));
  for (int64_t i = 0; i < own; ++i) text.tokens.push_back(static_cast<TokenId>((variant * 13 + i * 31 + 5) % 89));
  text.learned.assign(text.tokens.size(), 0);
  std::fill(text.learned.end() - learned, text.learned.end(), 1);
  return text;
}

// Records of several texts each; one is learned from the first token of its own on.
std::vector<std::vector<TrainingExample>> Records() {
  return {{Text(1, 20, 1, 6, 3), Text(1, 20, 2, 9, 4), Text(1, 20, 3, 1, 1)},
          {Text(2, 7, 4, 11, 11)},
          {Text(3, 9, 5, 5, 2), Text(3, 9, 6, 5, 5)},
          {Text(4, 13, 7, 4, 2)}};
}

std::vector<const TrainingExample*> Pointers(const std::vector<TrainingExample>& examples) {
  std::vector<const TrainingExample*> pointers;
  for (const TrainingExample& example : examples) pointers.push_back(&example);
  return pointers;
}

struct Learned {
  LossSum sum;
  std::map<std::string, at::Tensor> gradients;
};

// batches: computed one after another, as accumulated steps are.
Learned Learn(const LanguageModel& model, language::Adapter& adapter,
              const std::vector<std::vector<TrainingExample>>& batches) {
  std::map<std::string, at::Tensor> trained = language::LoraTensors(adapter);
  for (const language::Parameter& parameter : model.parameters()) trained[parameter.name] = parameter.tensor;
  for (auto& [name, tensor] : trained) {
    tensor.requires_grad_(true);
    tensor.mutable_grad().reset();
  }
  Learned learned;
  for (const auto& batch : batches) learned.sum += AddExampleGradients(model, &adapter, Pointers(batch), 1.0 / 28);
  for (const auto& [name, tensor] : trained) {
    EXPECT_TRUE(tensor.grad().defined()) << name << " is not learned";
    if (tensor.grad().defined()) learned.gradients[name] = tensor.grad().clone();
  }
  return learned;
}

double WorstGradient(const Learned& a, const Learned& b) {
  double worst = 0;
  for (const auto& [name, gradient] : a.gradients) {
    const double scale = gradient.abs().max().item<double>();
    EXPECT_GT(scale, 0.0) << name << " has no gradient";
    worst = std::max(worst, (gradient - b.gradients.at(name)).abs().max().item<double>() / scale);
  }
  return worst;
}

TEST(ExampleLossTest, JoinedAndPackedRecordsTeachWhatSeparateTextsDo) {
  std::vector<TrainingExample> joined, separate;
  for (const auto& texts : Records()) {
    ASSERT_TRUE(language::CheckCommonTokens(texts).ok());
    joined.push_back(language::JoinTexts(texts));
    separate.insert(separate.end(), texts.begin(), texts.end());
  }
  ASSERT_EQ(joined[0].branches.size(), 3u);
  ASSERT_EQ(joined[0].tokens.size(), 36u);  // of 76
  std::vector<std::vector<TrainingExample>> one_by_one;
  for (const TrainingExample& text : separate) one_by_one.push_back({text});
  std::printf(
      "| Records joined and packed against separate texts: differences of loss and gradients (of the largest)\n");
  for (const auto& [name, made] : FamilyCases().items()) {
    const auto model = Model(made);
    auto adapter = language::NewLoraAdapter("test", *model, {.rank = 3, .alpha = 6});
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    for (auto& [module, weights] : (*adapter)->modules) {  // an update that is not zero
      const at::NoGradGuard no_grad;
      weights.b.copy_(language::FormulaWeight(module + ".b", weights.b.sizes().vec()) * 0.2);
    }
    const Learned alone = Learn(*model, **adapter, one_by_one), packed = Learn(*model, **adapter, {joined}),
                  batch = Learn(*model, **adapter, {separate});
    EXPECT_EQ(alone.sum.tokens, 28);
    EXPECT_EQ(packed.sum.tokens, 28);
    EXPECT_GT(alone.sum.mean(), 1.0);
    EXPECT_NEAR(packed.sum.loss, alone.sum.loss, 1e-4) << name;
    EXPECT_NEAR(batch.sum.loss, alone.sum.loss, 1e-4) << name;
    const double worst = WorstGradient(alone, packed), worst_batch = WorstGradient(alone, batch);
    EXPECT_LE(worst, 1e-4) << name;
    EXPECT_LE(worst_batch, 1e-4) << name;
    const LossSum measured = ExampleLoss(*model, adapter->get(), Pointers(joined));
    EXPECT_NEAR(measured.loss, alone.sum.loss, 1e-4) << name;
    std::printf("| %-18s %8.1e %8.1e\n", name.c_str(), std::abs(packed.sum.loss - alone.sum.loss), worst);
  }
}

// Two rows accumulated, all weights and an adapter learned, with dropout, which both passes have to draw alike and of
// which the generator has to know once.
TEST(ExampleLossTest, RecomputedLayersTeachTheSameBitForBit) {
  std::vector<TrainingExample> joined, longer;
  for (const auto& texts : Records()) joined.push_back(language::JoinTexts(texts));
  for (int64_t i = 0; i < 3; ++i) longer.push_back(Text(i, 9, i, 20, 20));
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  std::printf("| Layers computed again: memory that a step holds at most, of what it holds when they are kept\n");
  for (const auto& [name, made] : FamilyCases().items()) {
    const auto model = Model(made);
    auto adapter = language::NewLoraAdapter("test", *model, {.rank = 3, .alpha = 6, .dropout = 0.2});
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    for (auto& [module, weights] : (*adapter)->modules) {
      const at::NoGradGuard no_grad;
      weights.b.copy_(language::FormulaWeight(module + ".b", weights.b.sizes().vec()) * 0.2);
    }
    generator.set_current_seed(4);
    Learned kept, again;
    const int64_t kept_bytes = language::PeakMemory::Of([&] { kept = Learn(*model, **adapter, {joined, longer}); });
    const at::Tensor after = generator.get_state();
    generator.set_current_seed(4);
    const int64_t bytes = language::PeakMemory::Of([&] {
      const language::RecomputeGuard recompute(true);
      again = Learn(*model, **adapter, {joined, longer});
    });
    EXPECT_EQ(kept.sum.loss, again.sum.loss) << name;
    EXPECT_TRUE(after.equal(generator.get_state())) << name;
    for (const auto& [tensor, gradient] : kept.gradients)
      EXPECT_TRUE(gradient.equal(again.gradients.at(tensor))) << name << " " << tensor;
    EXPECT_LT(bytes, kept_bytes) << name;
    LossSum undropped = ExampleLoss(*model, adapter->get(), Pointers(joined));
    undropped += ExampleLoss(*model, adapter->get(), Pointers(longer));
    EXPECT_GT(std::abs(undropped.loss - kept.sum.loss), 1e-3) << name << ": nothing is dropped";
    std::printf("| %-18s %3.0f %%\n", name.c_str(), 100 * static_cast<double>(bytes) / static_cast<double>(kept_bytes));
  }
}

// Of a frozen model an adapter alone learns, and its first layer's input needs no gradient. A state is refused.
TEST(ExampleLossTest, RecomputedLayersOfAFrozenModelTeachItsAdapter) {
  const auto model = Model(FamilyCases()["gpt2.tied"]);
  auto adapter = language::NewLoraAdapter("test", *model, {.rank = 3});
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  const std::vector<TrainingExample> texts = {Text(1, 12, 1, 9, 9), Text(2, 7, 4, 11, 5)};
  std::map<std::string, at::Tensor> kept;
  for (const bool on : {false, true}) {
    const language::RecomputeGuard recompute(on);
    AddExampleGradients(*model, adapter->get(), Pointers(texts), 1.0 / 14);
    for (auto& [name, tensor] : language::LoraTensors(**adapter)) {
      ASSERT_TRUE(tensor.grad().defined()) << name;
      if (on) {
        EXPECT_TRUE(tensor.grad().equal(kept.at(name))) << name;
      } else {
        kept[name] = tensor.grad().clone();
      }
      at::Tensor(tensor).mutable_grad().reset();
    }
  }
  const auto state = model->NewState();
  const std::vector<language::ModelInput> inputs = {{.tokens = at::arange(3, at::kLong), .state = state.get()}};
  const language::RecomputeGuard recompute(true);
  EXPECT_THROW(model->Forward(inputs), c10::Error);
  const at::NoGradGuard no_grad;
  EXPECT_NO_THROW(model->Forward(inputs));
}

// The gradient by differences of the loss, in a direction drawn at random through all weights.
TEST(ExampleLossTest, GradientsAreSlopes) {
  const std::vector<TrainingExample> texts = {Text(1, 12, 1, 9, 9), Text(2, 7, 4, 11, 5)};
  for (const auto& [name, made] : FamilyCases().items()) {
    const auto model = Model(made);
    auto adapter = language::NewLoraAdapter("test", *model, {.rank = 2});
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    const Learned learned = Learn(*model, **adapter, {texts});
    double slope = 0;
    std::vector<std::pair<at::Tensor, at::Tensor>> moves;
    for (const language::Parameter& parameter : model->parameters()) {
      const at::Tensor direction =
          language::FormulaWeight(parameter.name + ".direction", parameter.tensor.sizes().vec());
      slope += (learned.gradients.at(parameter.name) * direction).sum().item<double>() * 28;
      moves.emplace_back(parameter.tensor, direction);
    }
    const auto at_offset = [&](double offset) {
      const at::NoGradGuard no_grad;
      for (auto& [tensor, direction] : moves) tensor.add_(direction, offset);
      const double loss = ExampleLoss(*model, nullptr, Pointers(texts)).loss;
      for (auto& [tensor, direction] : moves) tensor.sub_(direction, offset);
      return loss;
    };
    constexpr double kStep = 1e-3;
    const double measured = (at_offset(kStep) - at_offset(-kStep)) / (2 * kStep);
    EXPECT_NEAR(measured, slope, 0.02 * std::abs(slope) + 0.05) << name;
  }
}

TEST(ExampleLossTest, BranchesThatCannotBeJoinedAreRefused) {
  EXPECT_TRUE(language::CheckCommonTokens({Text(1, 5, 1, 5, 1)}).ok());
  EXPECT_FALSE(language::CheckCommonTokens({Text(1, 5, 1, 5, 1), Text(2, 5, 1, 5, 1)}).ok());
  EXPECT_FALSE(language::CheckCommonTokens({Text(1, 5, 1, 5, 1), Text(1, 5, 1, 7, 1)}).ok());
}

// Greedy texts of several prompts with a common beginning are those of each prompt by itself.
TEST(ExampleLossTest, GreedyTextsDoNotDependOnCompany) {
  const auto model = Model(FamilyCases()["llama.grouped"]);
  const std::vector<std::vector<TokenId>> prompts = {Text(1, 20, 1, 6, 0).tokens, Text(1, 20, 2, 9, 0).tokens,
                                                     Text(1, 20, 3, 1, 0).tokens, Text(1, 20, 3, 0, 0).tokens};
  const auto together = language::GreedyTexts(*model, nullptr, prompts, {}, 12);
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(together[i], language::GreedyTexts(*model, nullptr, {prompts[i]}, {}, 12)[0]);
    EXPECT_EQ(together[i].size(), 12u);
    const std::vector<TokenId> cut(together[i].begin(),
                                   std::find(together[i].begin(), together[i].end(), together[i][5]));
    EXPECT_EQ(language::GreedyTexts(*model, nullptr, {prompts[i]}, {together[i][5]}, 12)[0], cut);
  }
}

TEST(ExampleLossTest, AdaptersNameTheirLayers) {
  const auto model = Model(FamilyCases()["llama.grouped"]);
  const auto some = language::NewLoraAdapter("test", *model, {.targets = {"q_proj", "mlp.down_proj"}});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ((*some)->modules.size(), 6u);
  EXPECT_TRUE((*some)->modules.contains("model.layers.2.mlp.down_proj"));
  const auto all = language::NewLoraAdapter("test", *model, {});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ((*all)->modules.size(), 21u);
  EXPECT_FALSE((*all)->modules.contains("lm_head"));
  EXPECT_DOUBLE_EQ((*all)->modules.begin()->second.scale, 2.0);
  const auto stabilised = language::NewLoraAdapter("test", *model, {.rank = 4, .alpha = 8, .rank_stabilised = true});
  EXPECT_DOUBLE_EQ((*stabilised)->modules.begin()->second.scale, 4.0);
  const auto none = language::NewLoraAdapter("test", *model, {.targets = {"q_proj", "c_attn"}});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(none.status().message().find("\"c_attn\""), std::string::npos) << none.status();
  EXPECT_NE(none.status().message().find("k_proj"), std::string::npos) << none.status();
}

}  // namespace
}  // namespace blazon::service
