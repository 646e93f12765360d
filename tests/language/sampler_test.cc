// The sampler against transformers' processors (goldens), and its randomness.
#include "language/sampler.h"

#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

const char kRemedy[] = "; goldens are made by: python tests/reference/sampler_goldens.py";

at::Tensor Logits(std::vector<float>& values) {
  return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kFloat);
}

GenerationOptions FromJson(const nlohmann::json& json) {
  GenerationOptions options;
  options.temperature = json.value("temperature", 1.0);
  options.top_k = json.value("top_k", 0);
  options.top_p = json.value("top_p", 1.0);
  options.min_p = json.value("min_p", 0.0);
  options.typical_p = json.value("typical_p", 1.0);
  if (json.contains("logit_bias")) {
    for (const auto& [id, bias] : json["logit_bias"].items()) options.logit_bias[std::stoi(id)] = bias;
  }
  options.repetition_penalty = json.value("repetition_penalty", 1.0);
  options.no_repeat_ngram_size = json.value("no_repeat_ngram_size", 0);
  return options;
}

TEST(SamplerTest, DistributionsAreThoseOfTransformers) {
  std::ifstream file(absl::StrCat(BLAZON_SOURCE_DIR, "/tests/goldens/sampler.json"));
  ASSERT_TRUE(file) << kRemedy;
  const nlohmann::json golden = nlohmann::json::parse(file);
  auto logits = golden["logits"].get<std::vector<float>>();
  const auto history = golden["history"].get<std::vector<TokenId>>();
  ASSERT_GE(golden["rows"].size(), 10u);
  for (const nlohmann::json& row : golden["rows"]) {
    const Sampler sampler(FromJson(row["options"]), 1, history);
    std::vector<double> probabilities(logits.size(), 0.0);
    double total = 0;
    for (const auto& [weight, id] : sampler.Distribution(Logits(logits))) {
      probabilities[id] = weight;
      total += weight;
    }
    for (size_t id = 0; id < logits.size(); ++id) {
      const double expected = row["probabilities"][id];
      EXPECT_EQ(probabilities[id] > 0, expected > 0) << row["options"] << " token " << id << kRemedy;
      EXPECT_NEAR(probabilities[id] / total, expected, 1e-5) << row["options"] << " token " << id << kRemedy;
    }
  }
}

// Presence and frequency penalties count the output alone: score - presence - frequency * times.
TEST(SamplerTest, PresenceAndFrequencyCountTheOutput) {
  GenerationOptions options;
  options.presence_penalty = 0.5;
  options.frequency_penalty = 0.25;
  std::vector<float> logits = {0.0f, 1.0f, 0.3f};
  Sampler sampler(options, 1, /*prompt=*/{1, 1, 1});
  EXPECT_EQ(sampler.Sample(Logits(logits))->id, 1);  // 1.0: the prompt does not count
  EXPECT_EQ(sampler.Sample(Logits(logits))->id, 2);  // 1.0 - 0.75 = 0.25 < 0.3
  EXPECT_EQ(sampler.Sample(Logits(logits))->id, 1);  // 0.3 - 0.75 < 0.25
  EXPECT_EQ(sampler.Sample(Logits(logits))->id, 0);  // 1.0 - 1.0 = 0, equal to token 0: the lower id is better
}

TEST(SamplerTest, ImageTokensBreakNgramsAndGetNoPenalty) {
  GenerationOptions options;
  options.no_repeat_ngram_size = 2;
  options.repetition_penalty = 2;
  std::vector<float> logits = {1.0f, 0.0f};
  Sampler sampler(options, 1, /*prompt=*/{1, -1, 0, 1});  // after 1 came an image token, not 0
  EXPECT_EQ(sampler.Sample(Logits(logits))->id, 0);
}

TEST(SamplerTest, DrawsFollowTheDistributionAndTheSeed) {
  GenerationOptions options;
  options.temperature = 1.0;
  std::vector<float> logits = {std::log(0.1f), std::log(0.2f), std::log(0.7f)};
  Sampler one(options, 42, {}), same(options, 42, {}), other(options, 43, {});
  std::map<TokenId, int> count;
  int differ = 0;
  for (int i = 0; i < 20000; ++i) {
    const TokenId id = one.Sample(Logits(logits))->id;
    ++count[id];
    ASSERT_EQ(same.Sample(Logits(logits))->id, id);
    differ += other.Sample(Logits(logits))->id != id;
  }
  EXPECT_NEAR(count[0], 2000, 200);  // 4.7 standard deviations
  EXPECT_NEAR(count[1], 4000, 270);
  EXPECT_NEAR(count[2], 14000, 310);
  EXPECT_GT(differ, 1000);
}

// The probabilities that each rule's definition gives, worked out as the papers write them, on whole sorted lists.
std::vector<double> Defined(const std::vector<float>& logits, const GenerationOptions& options) {
  std::vector<double> p(logits.size());
  const auto normalise = [&p] {
    double total = 0;
    for (const double x : p) total += x;
    for (double& x : p) x /= total;
  };
  // Keeps the first of `order` whose probability reaches `mass`.
  const auto keep = [&](const std::vector<size_t>& order, double mass) {
    double held = 0;
    for (const size_t id : order) {
      const double x = p[id];
      if (held >= mass) p[id] = 0;
      held += x;
    }
    normalise();
  };
  const auto sorted = [&](const auto& key) {
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
    return order;
  };
  for (size_t i = 0; i < p.size(); ++i) p[i] = std::exp(logits[i] / options.temperature);  // softmax of x / T
  normalise();
  if (options.top_k > 0) {
    const auto order = sorted([&](size_t id) { return -p[id]; });
    for (size_t i = options.top_k; i < order.size(); ++i) p[order[i]] = 0;
    normalise();
  }
  if (options.top_p < 1) keep(sorted([&](size_t id) { return -p[id]; }), options.top_p);
  if (options.min_p > 0) {
    const double least = options.min_p * *std::max_element(p.begin(), p.end());
    for (double& x : p) x = x < least ? 0 : x;
    normalise();
  }
  if (options.typical_p < 1) {
    double entropy = 0;
    for (const double x : p) entropy -= x > 0 ? x * std::log(x) : 0;
    keep(sorted([&](size_t id) { return p[id] > 0 ? std::abs(-std::log(p[id]) - entropy) : 1e9; }), options.typical_p);
  }
  return p;
}

// Pearson's statistic of the counts under `p`, and its value that chance exceeds once in 10,000 times (Wilson and
// Hilferty 1931). An outcome of probability 0 that came is infinitely unlikely.
std::pair<double, double> ChiSquare(const std::vector<int>& counts, const std::vector<double>& p, int draws) {
  double statistic = 0, freedom = -1;
  for (size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * draws;
    if (expected == 0) {
      if (counts[i] > 0) statistic = std::numeric_limits<double>::infinity();
      continue;
    }
    statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++freedom;
  }
  const double spread = 2 / (9 * std::max(freedom, 1.0)), z = 3.719;
  return {statistic, std::max(freedom, 1.0) * std::pow(1 - spread + z * std::sqrt(spread), 3)};
}

// Seeds are fixed, so that the outcome is always the same; the last check shows that the statistic can tell a wrong
// distribution from the right one.
TEST(SamplerTest, DrawsOfEachTruncationRuleFollowItsDefinition) {
  constexpr int kDraws = 6000;
  std::vector<float> logits = {2.1f, -0.4f, 1.3f, 0.2f, -1.7f, 0.9f, 1.8f, -0.9f, 0.5f, -2.6f, 1.1f, 0.0f};
  using Options = GenerationOptions;
  const std::vector<std::pair<const char*, std::function<void(Options&)>>> rules = {
      {"plain", [](Options&) {}},
      {"temperature 0.5", [](Options& o) { o.temperature = 0.5; }},
      {"temperature 2", [](Options& o) { o.temperature = 2; }},
      {"top-k 3", [](Options& o) { o.top_k = 3; }},
      {"top-p 0.7", [](Options& o) { o.top_p = 0.7; }},
      {"top-p 0.95", [](Options& o) { o.top_p = 0.95; }},
      {"min-p 0.2", [](Options& o) { o.min_p = 0.2; }},
      {"typical 0.3", [](Options& o) { o.typical_p = 0.3; }},
      {"typical 0.8", [](Options& o) { o.typical_p = 0.8; }},
      {"all", [](Options& o) { o.temperature = 1.5, o.top_k = 9, o.top_p = 0.9, o.min_p = 0.1, o.typical_p = 0.9; }},
  };
  std::vector<std::vector<double>> definitions;
  std::vector<std::vector<int>> all_counts;
  for (const auto& [name, change] : rules) {
    GenerationOptions options;
    options.temperature = 1;
    change(options);
    const std::vector<double> p = Defined(logits, options);
    Sampler sampler(options, /*seed=*/2026, {});
    std::vector<int> counts(logits.size());
    for (int i = 0; i < kDraws; ++i) ++counts[sampler.Sample(Logits(logits))->id];
    const auto [statistic, critical] = ChiSquare(counts, p, kDraws);
    EXPECT_LT(statistic, critical) << name;
    definitions.push_back(p);
    all_counts.push_back(counts);
  }
  for (size_t a = 0; a < rules.size(); ++a) {
    for (size_t b = 0; b < rules.size(); ++b) {
      if (a == b) continue;
      const auto [statistic, critical] = ChiSquare(all_counts[a], definitions[b], kDraws);
      EXPECT_GT(statistic, critical) << rules[a].first << " passes as " << rules[b].first;
    }
  }
}

TEST(SamplerTest, TypicalKeepsAllThatAreAsNearAsTheLast) {
  GenerationOptions options;
  options.temperature = 1;
  options.typical_p = 0.1;
  std::vector<float> equal(7, 1.5f);  // all are as surprising as the entropy
  EXPECT_EQ(Sampler(options, 1, {}).Distribution(Logits(equal)).size(), 7u);
}

TEST(SamplerTest, BiasComesBeforeAllElseAndLeavesLogprobsAlone) {
  GenerationOptions options;
  options.logit_bias = {{0, -100.0}, {2, 1.0}};
  std::vector<float> logits = {std::log(0.5f), std::log(0.25f), std::log(0.25f)};
  const auto choice = Sampler(options, 1, {}).Sample(Logits(logits));
  EXPECT_EQ(choice->id, 2);
  EXPECT_NEAR(choice->logprob, std::log(0.25), 1e-6);
}

TEST(SamplerTest, TopPBeyondTheFirstSortedCandidatesKeepsTheRightOnes) {
  GenerationOptions options;
  options.temperature = 1.0;
  options.top_p = 0.5;
  std::vector<float> logits(5000);
  // Nearly flat.
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = 1e-4f * static_cast<float>(i * 7919 % logits.size());
  const auto kept = Sampler(options, 1, {}).Distribution(Logits(logits));
  double mass = 0, total = 0, least = std::numeric_limits<double>::infinity();
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  for (const auto& [weight, id] : kept) {
    mass += std::exp(static_cast<double>(logits[id]));
    least = std::min<double>(least, logits[id]);
  }
  EXPECT_GE(mass, 0.5 * total * (1 - 1e-5));
  EXPECT_LE(mass - std::exp(least), 0.5 * total * (1 + 1e-5));
  EXPECT_EQ(static_cast<size_t>(std::count_if(logits.begin(), logits.end(), [&](float x) { return x >= least; })),
            kept.size());
}

TEST(SamplerTest, LogprobsAreThoseOfTheModel) {
  GenerationOptions options;
  options.temperature = 0.5;  // leaves logprobs as they are
  options.top_k = 1;
  options.top_logprobs = 2;
  std::vector<float> logits = {std::log(0.5f), std::log(0.125f), std::log(0.375f)};
  const auto choice = Sampler(options, 7, {}).Sample(Logits(logits));
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->id, 0);
  EXPECT_NEAR(choice->logprob, std::log(0.5), 1e-6);
  ASSERT_EQ(choice->top.size(), 2u);
  EXPECT_EQ(choice->top[1].first, 2);
  EXPECT_NEAR(choice->top[1].second, std::log(0.375), 1e-6);
}

// The last stage of an explanation is the golden distribution, each stage before it that of the rules up to there.
TEST(SamplerTest, ExplainsEachRuleByItsOwnDistribution) {
  std::vector<float> logits = {2, 1, 0, -1, -2, 1.5};
  GenerationOptions options;
  options.temperature = 0.5;
  options.top_k = 4;
  options.top_p = 0.9;
  options.min_p = 0.05;
  options.repetition_penalty = 1.5;
  options.logit_bias[4] = 4;
  options.explain = 2;
  SamplingStep step;
  ASSERT_TRUE(Sampler(options, 1, {0}).Sample(Logits(logits), &step).ok());
  std::vector<std::string> rules;
  for (const SamplingStage& stage : step.stages) rules.push_back(stage.rule);
  EXPECT_EQ(rules, (std::vector<std::string>{"model", "logit_bias", "repetition_penalty", "temperature", "top_k",
                                             "top_p", "min_p"}));
  // 0 and 5 are the model's best; 4 and 5 the best in the end.
  ASSERT_GE(step.tokens.size(), 3u);
  EXPECT_EQ(std::vector<TokenId>(step.tokens.begin(), step.tokens.begin() + 3), (std::vector<TokenId>{0, 5, 4}));
  EXPECT_NE(std::find(step.tokens.begin(), step.tokens.end(), step.chosen), step.tokens.end());

  // Each rule taken away from the end gives the stage before.
  const auto expect = [&](const SamplingStage& stage, const GenerationOptions& until) {
    double total = 0;
    std::map<TokenId, double> weights;
    for (const auto& [weight, id] : Sampler(until, 1, {0}).Distribution(Logits(logits))) {
      weights[id] = weight;
      total += weight;
    }
    EXPECT_EQ(stage.candidates, std::ssize(weights)) << stage.rule;
    ASSERT_EQ(stage.probabilities.size(), step.tokens.size());
    for (size_t i = 0; i < step.tokens.size(); ++i)
      EXPECT_NEAR(stage.probabilities[i], weights[step.tokens[i]] / total, 1e-6) << stage.rule << " " << step.tokens[i];
  };
  expect(step.stages[6], options);
  options.min_p = 0;
  expect(step.stages[5], options);
  options.top_p = 1;
  expect(step.stages[4], options);
  options.top_k = 0;
  expect(step.stages[3], options);
  options.temperature = 1;
  expect(step.stages[2], options);
  options.repetition_penalty = 1;
  expect(step.stages[1], options);
  options.logit_bias.clear();
  expect(step.stages[0], options);
}

TEST(SamplerTest, ExplainsAGreedyChoice) {
  std::vector<float> logits = {0, 3, 1};
  GenerationOptions options;
  options.explain = 1;
  SamplingStep step;
  ASSERT_TRUE(Sampler(options, 1, {}).Sample(Logits(logits), &step).ok());
  EXPECT_EQ(step.chosen, 1);
  EXPECT_EQ(step.tokens, std::vector<TokenId>{1});
  ASSERT_EQ(step.stages.size(), 2u);
  EXPECT_EQ(step.stages[0].candidates, 3);
  EXPECT_EQ(step.stages[1].rule, "greedy");
  EXPECT_EQ(step.stages[1].candidates, 1);
  EXPECT_EQ(step.stages[1].probabilities, std::vector<double>{1.0});
}

TEST(SamplerTest, DamagedLogitsAreAnError) {
  std::vector<float> logits = {0.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_EQ(Sampler({}, 1, {}).Sample(Logits(logits)).status().code(), absl::StatusCode::kInternal);
}

TEST(SamplerTest, EveryOptionOutOfRangeIsNamedWithItsValueAndRange) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto message = [](const auto& change) {
    GenerationOptions options;
    change(options);
    const absl::Status status = Validate(options, /*vocabulary_size=*/100, /*context_length=*/64);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  using Options = GenerationOptions;
  EXPECT_EQ(message([](Options& o) { o.max_new_tokens = 0; }),
            "max_new_tokens is 0; it must be 1 to 64, the model's context");
  EXPECT_EQ(message([](Options& o) { o.max_new_tokens = 65; }),
            "max_new_tokens is 65; it must be 1 to 64, the model's context");
  const auto with_limit = [&](const auto& change) {  // the default of max_new_tokens is above this small context
    return message([&](Options& o) {
      o.max_new_tokens = 8;
      change(o);
    });
  };
  EXPECT_EQ(with_limit([](Options& o) { o.temperature = -1; }),
            "temperature is -1; it must be 0 (greedy) or 0.01 to 10");
  EXPECT_EQ(with_limit([](Options& o) { o.temperature = 0.001; }),
            "temperature is 0.001; it must be 0 (greedy) or 0.01 to 10");
  EXPECT_EQ(with_limit([](Options& o) { o.temperature = 11; }),
            "temperature is 11; it must be 0 (greedy) or 0.01 to 10");
  EXPECT_EQ(with_limit([](Options& o) { o.temperature = kNan; }),
            "temperature is nan; it must be 0 (greedy) or 0.01 to 10");
  EXPECT_EQ(with_limit([](Options& o) { o.top_k = -1; }),
            "top_k is -1; it must be 0 (off) or 1 to 100, the model's vocabulary");
  EXPECT_EQ(with_limit([](Options& o) { o.top_k = 101; }),
            "top_k is 101; it must be 0 (off) or 1 to 100, the model's vocabulary");
  EXPECT_EQ(with_limit([](Options& o) { o.top_p = 0; }), "top_p is 0; it must be above 0 and at most 1 (off)");
  EXPECT_EQ(with_limit([](Options& o) { o.top_p = 1.5; }), "top_p is 1.5; it must be above 0 and at most 1 (off)");
  EXPECT_EQ(with_limit([](Options& o) { o.top_p = kNan; }), "top_p is nan; it must be above 0 and at most 1 (off)");
  EXPECT_EQ(with_limit([](Options& o) { o.min_p = -0.5; }), "min_p is -0.5; it must be at least 0 (off) and below 1");
  EXPECT_EQ(with_limit([](Options& o) { o.min_p = 1; }), "min_p is 1; it must be at least 0 (off) and below 1");
  EXPECT_EQ(with_limit([](Options& o) { o.repetition_penalty = 0; }),
            "repetition_penalty is 0; it must be 0.1 to 10 (1: off)");
  EXPECT_EQ(with_limit([](Options& o) { o.repetition_penalty = 11; }),
            "repetition_penalty is 11; it must be 0.1 to 10 (1: off)");
  EXPECT_EQ(with_limit([](Options& o) { o.presence_penalty = 2.5; }),
            "presence_penalty is 2.5; it must be -2 to 2 (0: off)");
  EXPECT_EQ(with_limit([](Options& o) { o.frequency_penalty = -3; }),
            "frequency_penalty is -3; it must be -2 to 2 (0: off)");
  EXPECT_EQ(with_limit([](Options& o) { o.no_repeat_ngram_size = -1; }),
            "no_repeat_ngram_size is -1; it must be 0 (off) to 64");
  EXPECT_EQ(with_limit([](Options& o) { o.no_repeat_ngram_size = 65; }),
            "no_repeat_ngram_size is 65; it must be 0 (off) to 64");
  EXPECT_EQ(with_limit([](Options& o) { o.stop.assign(17, "x"); }), "stop has 17 strings; it may have 16");
  EXPECT_EQ(with_limit([](Options& o) { o.stop = {"x", ""}; }), "stop[1] has 0 bytes; it must have 1 to 256");
  EXPECT_EQ(with_limit([](Options& o) { o.stop = {std::string(257, 'x')}; }),
            "stop[0] has 257 bytes; it must have 1 to 256");
  EXPECT_EQ(with_limit([](Options& o) { o.stop_token_ids = {100}; }), "stop_token_ids[0] is 100; it must be 0 to 99");
  EXPECT_EQ(with_limit([](Options& o) { o.stop_token_ids = {0, -1}; }), "stop_token_ids[1] is -1; it must be 0 to 99");
  EXPECT_EQ(with_limit([](Options& o) { o.top_logprobs = -2; }), "top_logprobs is -2; it must be -1 (none) or 0 to 20");
  EXPECT_EQ(with_limit([](Options& o) { o.top_logprobs = 21; }), "top_logprobs is 21; it must be -1 (none) or 0 to 20");
  EXPECT_EQ(with_limit([](Options& o) { o.explain = 21; }), "explain is 21; it must be 0 (off) to 20");
  EXPECT_EQ(with_limit([](Options& o) { o.explain = 1, o.num_beams = 2; }),
            "explain is for one text; leave num_sequences and num_beams at 1");
  GenerationOptions good;
  good.max_new_tokens = 64;
  EXPECT_TRUE(Validate(good, 100, 64).ok());
}

}  // namespace
}  // namespace blazon::language
