// Losses of preferences, rewards and policies against PyTorch, step by step, on the small models of families.json.
#include "language/training/preference_loss.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/training/optimizer.h"
#include "language/training/policy_gradient.h"
#include "language/training/training_example.h"
#include "service/checkpoint/language_families.h"
#include "tests/service/family_cases.h"

namespace blazon::service {
namespace {

using language::LanguageModel;
using language::Rollout;
using language::TokenId;
using language::TrainingExample;
using nlohmann::json;

const char kRemedy[] = "; goldens are made by: python tests/reference/preference_goldens.py";
constexpr double kTolerance = 1e-4;

const json& Golden() {
  static const json& golden =
      *new json(json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/preferences.json")));
  return golden;
}

std::unique_ptr<LanguageModel> Model(const std::string& name) {
  const json& made = FamilyCases()[name];
  language::StateDict weights;
  for (const auto& [tensor, values] : CaseWeights(made)) weights[tensor] = values;
  auto model = CreateLanguageModel(made["config"], std::move(weights), language::Dtype::kFp32);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// All weights, and `more`.
language::Optimizer MakeOptimizer(const LanguageModel& model, const std::vector<at::Tensor>& more) {
  std::vector<language::TrainedTensor> tensors;
  for (const language::Parameter& parameter : model.parameters()) {
    at::Tensor tensor = parameter.tensor;
    tensors.push_back({.name = parameter.name, .tensor = tensor.requires_grad_(true)});
  }
  for (size_t i = 0; i < more.size(); ++i) tensors.push_back({.name = absl::StrCat("more.", i), .tensor = more[i]});
  return language::Optimizer(tensors, {.clip_norm = 0});
}

// The same as tokens() in preference_goldens.py.
void AddTokens(const LanguageModel& model, int64_t start, int64_t length, char learned, TrainingExample& text) {
  const int64_t vocabulary = model.config().vocabulary_size - 1;
  for (int64_t i = start; i < start + length; ++i) {
    text.tokens.push_back(static_cast<TokenId>(1 + (i * 37 + 11) % vocabulary));
    text.learned.push_back(learned);
  }
}

// The pairs of a step, each a prompt with two branches.
std::vector<TrainingExample> Pairs(const LanguageModel& model, int64_t step) {
  const json& golden = Golden();
  std::vector<TrainingExample> pairs;
  for (int64_t i = 0; i < golden["pairs"].get<int64_t>(); ++i) {
    const int64_t start = 5 * (step % 2) + 17 * i;
    TrainingExample pair;
    AddTokens(model, start, golden["prompt"].get<int64_t>(), 0, pair);
    for (const auto& [name, place] : {std::pair{"chosen", 40}, std::pair{"rejected", 70}}) {
      const int64_t begin = std::ssize(pair.tokens);
      AddTokens(model, start + place, golden[name].get<int64_t>(), 1, pair);
      pair.branches.push_back({begin, std::ssize(pair.tokens)});
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

std::vector<const TrainingExample*> Pointers(const std::vector<TrainingExample>& examples) {
  std::vector<const TrainingExample*> pointers;
  for (const TrainingExample& example : examples) pointers.push_back(&example);
  return pointers;
}

TEST(PreferenceLossTest, DpoFollowsPyTorch) {
  for (const auto& [name, made] : Golden()["dpo"].items()) {
    const auto policy = Model(name), reference = Model(name);
    language::Optimizer optimizer = MakeOptimizer(*policy, {});
    double worst = 0;
    for (size_t step = 0; step < made["loss"].size(); ++step) {
      const std::vector<TrainingExample> pairs = Pairs(*policy, static_cast<int64_t>(step));
      const auto row = Pointers(pairs);
      const auto sums = [&](const at::Tensor& logprobs) { return language::SumByText(logprobs, row).view({-1, 2}); };
      const at::Tensor base = sums(language::ReadLearned(*reference, nullptr, row).logprobs);
      language::DpoTerms terms;
      const double loss = language::AddLearnedGradients(*policy, nullptr, row, 1, [&](const auto& learned) {
        const at::Tensor now = sums(learned.logprobs);
        terms = language::DpoLoss(now.select(1, 0), now.select(1, 1), base.select(1, 0), base.select(1, 1),
                                  made["beta"].template get<double>(), made["label_smoothing"].template get<double>());
        return terms.losses.mean();
      });
      if (step == 0) {
        EXPECT_NEAR(loss, std::log(2.0), 1e-3);
      }
      const at::Tensor margins = terms.chosen_reward - terms.rejected_reward;
      const std::pair<const char*, double> figures[] = {{"loss", loss},
                                                        {"margin", margins.mean().item<double>()},
                                                        {"chosen", terms.chosen_reward.mean().item<double>()},
                                                        {"rejected", terms.rejected_reward.mean().item<double>()}};
      for (const auto& [figure, value] : figures)
        worst = std::max(worst, std::abs(value - made[figure][step].template get<double>()));
      if (step > 0) {  // at the first all margins are 0
        EXPECT_NEAR(margins.gt(0).to(at::kFloat).mean().item<double>(), made["accuracy"][step].template get<double>(),
                    1e-6);
      }
      optimizer.Step(Golden()["rate"].get<double>());
    }
    EXPECT_LE(worst, kTolerance) << name << kRemedy;
    std::printf("| losses and rewards of %s under DPO against PyTorch: largest difference %.1e\n", name.c_str(), worst);
  }
}

TEST(PreferenceLossTest, RewardsFollowPyTorch) {
  for (const auto& [name, made] : Golden()["reward"].items()) {
    const auto model = Model(name);
    at::Tensor head = language::FormulaWeight("score.weight", {1, model->config().width}).clone().requires_grad_(true);
    language::Optimizer optimizer = MakeOptimizer(*model, {head});
    double worst = 0;
    for (size_t step = 0; step < made["loss"].size(); ++step) {
      const std::vector<TrainingExample> pairs = Pairs(*model, static_cast<int64_t>(step));
      const at::Tensor states = language::LastStates(*model, nullptr, Pointers(pairs));
      const at::Tensor rewards = at::linear(states, head).view({-1, 2});
      const at::Tensor loss = language::BradleyTerryLoss(rewards.select(1, 0), rewards.select(1, 1)).mean();
      worst = std::max(worst, std::abs(loss.item<double>() - made["loss"][step].template get<double>()));
      for (const auto& [column, side] : {std::pair{0, "chosen"}, std::pair{1, "rejected"}}) {
        const at::Tensor wanted = at::tensor(made[side][step].template get<std::vector<float>>());
        worst = std::max(worst, (rewards.select(1, column) - wanted).abs().max().item<double>());
      }
      loss.backward();
      optimizer.Step(Golden()["rate"].get<double>());
    }
    EXPECT_LE(worst, kTolerance) << name << kRemedy;
    std::printf("| losses and rewards of %s as a reward model against PyTorch: largest difference %.1e\n", name.c_str(),
                worst);
  }
}

TEST(PreferenceLossTest, PoliciesFollowPyTorch) {
  for (const auto& [name, made] : Golden()["policy"].items()) {
    const json& given = made["options"];
    const language::PolicyLossOptions options = {.temperature = given["temperature"],
                                                 .clip = given["clip"],
                                                 .kl = given["kl"],
                                                 .by_text = given["by_text"],
                                                 .value_weight = given["value_weight"],
                                                 .value_clip = given["value_clip"]};
    const auto model = Model(name);
    language::ValueHead head = {
        .weight = language::FormulaWeight("value.weight", {1, model->config().width}).clone().requires_grad_(true),
        .bias = at::zeros({1}).requires_grad_(true)};
    const bool has_head = options.value_weight > 0;
    language::Optimizer optimizer =
        MakeOptimizer(*model, has_head ? std::vector{head.weight, head.bias} : std::vector<at::Tensor>());
    std::vector<Rollout> rollouts;
    int64_t tokens = 0;
    for (size_t i = 0; i < made["rollouts"].size(); ++i) {
      const json& known = made["rollouts"][i];
      const auto number = static_cast<int64_t>(i);
      Rollout& rollout = rollouts.emplace_back();
      AddTokens(*model, 11 * number, Golden()["prompt"].get<int64_t>(), 0, rollout.text);
      AddTokens(*model, 50 + 13 * number, Golden()["lengths"][i].get<int64_t>(), 1, rollout.text);
      const std::pair<const char*, std::vector<float>*> vectors[] = {{"logprobs", &rollout.logprobs},
                                                                     {"reference", &rollout.reference},
                                                                     {"advantages", &rollout.advantages},
                                                                     {"values", &rollout.values},
                                                                     {"returns", &rollout.returns}};
      for (const auto& [member, vector] : vectors) *vector = known[member].get<std::vector<float>>();
      tokens += std::ssize(rollout.logprobs);
    }
    double worst = 0;
    for (size_t step = 0; step < made["loss"].size(); ++step) {
      // In two rows, as if one had no room for all.
      language::PolicyTerms terms;
      for (const auto& [begin, end] :
           {std::pair<size_t, size_t>{0, 3}, std::pair<size_t, size_t>{3, rollouts.size()}}) {
        std::vector<const Rollout*> row;
        for (size_t i = begin; i < end; ++i) row.push_back(&rollouts[i]);
        terms += language::AddPolicyGradients(*model, nullptr, has_head ? &head : nullptr, row, options,
                                              std::ssize(rollouts), tokens);
      }
      const std::pair<const char*, double> figures[] = {
          {"loss", terms.loss}, {"kl", terms.kl}, {"clipped", terms.clipped}, {"value", terms.value}};
      for (const auto& [figure, value] : figures)
        worst = std::max(worst, std::abs(value - made[figure][step].template get<double>()));
      optimizer.Step(Golden()["rate"].get<double>());
    }
    EXPECT_LE(worst, kTolerance) << name << kRemedy;
    std::printf("| losses of %s under policy optimisation against PyTorch: largest difference %.1e\n", name.c_str(),
                worst);
  }
}

TEST(PreferenceLossTest, AdvantagesAreThoseOfTheFormulas) {
  const json& made = Golden()["advantages"];
  const auto group = language::GroupAdvantages(made["rewards"].get<std::vector<double>>());
  for (size_t i = 0; i < group.size(); ++i) EXPECT_NEAR(group[i], made["group"][i].get<double>(), 1e-5) << kRemedy;
  const auto generalised = language::GeneralisedAdvantages(
      made["steps"].get<std::vector<float>>(), made["values"].get<std::vector<float>>(), made["gamma"], made["lambda"]);
  for (size_t i = 0; i < generalised.size(); ++i)
    EXPECT_NEAR(generalised[i], made["generalised"][i].get<double>(), 1e-5) << kRemedy;
  for (const float advantage : language::GroupAdvantages({2.0, 2.0, 2.0})) EXPECT_EQ(advantage, 0);
}

}  // namespace
}  // namespace blazon::service
