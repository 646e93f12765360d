// Llama against transformers, against itself (cache, batch), and its gradients against autograd of PyTorch.
#include "language/models/llama.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/safetensors.h"
#include "tests/language/formula_weights.h"

namespace blazon::language {
namespace {

const char kRemedy[] = "; goldens are made by: python tests/reference/llama_goldens.py";

// The same table stands in tests/reference/llama_goldens.py.
const std::map<std::string, LlamaConfig>& SmallConfigs() {
  static const auto& configs = *new std::map<std::string, LlamaConfig>{{"grouped",
                                                                        {.width = 64,
                                                                         .layers = 3,
                                                                         .heads = 4,
                                                                         .key_heads = 2,
                                                                         .mlp_width = 96,
                                                                         .vocabulary_size = 199,
                                                                         .context_length = 128,
                                                                         .rope_theta = 10000.0,
                                                                         .norm_epsilon = 1e-5,
                                                                         .tie_embeddings = false}},
                                                                       {"tied",
                                                                        {.width = 48,
                                                                         .layers = 2,
                                                                         .heads = 6,
                                                                         .key_heads = 1,
                                                                         .head_width = 16,
                                                                         .mlp_width = 160,
                                                                         .vocabulary_size = 131,
                                                                         .context_length = 64,
                                                                         .rope_theta = 500000.0,
                                                                         .norm_epsilon = 1e-6,
                                                                         .tie_embeddings = true}}};
  return configs;
}
const char* const kLoraModules[] = {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj",
                                    "model.layers.1.mlp.down_proj"};
constexpr int64_t kLoraRank = 4, kTokens = 23;
constexpr double kLoraScale = 0.5;

std::unique_ptr<LlamaModel> Small(const std::string& name, Dtype dtype = Dtype::kFp32) {
  const LlamaConfig& config = SmallConfigs().at(name);
  auto model = LlamaModel::Create(config, FormulaLlama(config), dtype);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

at::Tensor SmallTokens(const LlamaModel& model) {
  return at::arange(kTokens, at::kLong) * 37 % model.config().vocabulary_size;
}

Adapter FormulaAdapter(const std::string& config_name) {
  const LlamaConfig& config = SmallConfigs().at(config_name);
  const StateDict weights = FormulaLlama(config);
  Adapter adapter;
  adapter.name = "formula";
  for (const std::string module : kLoraModules) {
    const auto& weight = std::get<at::Tensor>(weights.at(module + ".weight"));
    adapter.modules[module] = {FormulaWeight(module + ".a", {kLoraRank, weight.size(1)}),
                               FormulaWeight(module + ".b", {weight.size(0), kLoraRank}), kLoraScale};
  }
  return adapter;
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

service::TensorMap Goldens(const std::string& file) {
  auto tensors = service::ReadSafetensors(absl::StrCat(BLAZON_SOURCE_DIR, "/tests/goldens/", file));
  EXPECT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
  return *std::move(tensors);
}

TEST(LlamaTest, SmallModelsAgreeWithTransformers) {
  const auto goldens = Goldens("llama_small.safetensors");
  for (const auto& [name, config] : SmallConfigs()) {
    at::NoGradGuard no_grad;
    const auto model = Small(name);
    const at::Tensor logits = model->Logits(model->Forward({{.tokens = SmallTokens(*model)}}));
    EXPECT_GT(logits.std().item<double>(), 0.3) << "the golden would be trivial";
    EXPECT_LE(MaxDifference(logits, goldens.at(name + ".logits")), 1e-4) << name << kRemedy;
  }
}

TEST(LlamaTest, AdaptersAndTheirGradientsAgreeWithTransformers) {
  const auto goldens = Goldens("llama_small.safetensors");
  for (const auto& [name, config] : SmallConfigs()) {
    const auto model = Small(name);
    Adapter adapter = FormulaAdapter(name);
    for (auto& [module, lora] : adapter.modules) {
      lora.a.requires_grad_();
      lora.b.requires_grad_();
    }
    const at::Tensor tokens = SmallTokens(*model);
    const at::Tensor embeddings = model->Embed(tokens).detach().requires_grad_();
    const at::Tensor logits = model->Logits(model->Forward({{.embeddings = embeddings, .adapter = &adapter}}));
    EXPECT_LE(MaxDifference(logits.detach(), goldens.at(name + ".adapted_logits")), 1e-4) << name << kRemedy;
    const at::Tensor loss = at::cross_entropy_loss(logits.narrow(0, 0, kTokens - 1), tokens.narrow(0, 1, kTokens - 1));
    EXPECT_NEAR(loss.item<double>(), goldens.at(name + ".loss").item<double>(), 1e-5) << kRemedy;
    loss.backward();
    const auto expect_gradient = [&](const at::Tensor& parameter, const std::string& key) {
      ASSERT_TRUE(parameter.grad().defined()) << key;
      const at::Tensor& golden = goldens.at(key);
      EXPECT_GT(golden.abs().max().item<double>(), 1e-4) << key << " would be trivial";
      EXPECT_LE(MaxDifference(parameter.grad(), golden), 1e-5 + 1e-4 * golden.abs().max().item<double>())
          << key << kRemedy;
    };
    expect_gradient(embeddings, name + ".embeddings.grad");
    for (const auto& [module, lora] : adapter.modules) {
      expect_gradient(lora.a, absl::StrCat(name, ".", module, ".a.grad"));
      expect_gradient(lora.b, absl::StrCat(name, ".", module, ".b.grad"));
    }
  }
}

// Training takes batches of equal and of unequal lengths; each sequence's gradient must be the one it has alone.
TEST(LlamaTest, GradientsInABatchAreThoseAlone) {
  const auto model = Small("grouped");
  const Adapter adapter = FormulaAdapter("grouped");
  const at::Tensor embeddings = model->Embed(SmallTokens(*model)).detach();
  for (const std::vector<int64_t>& lengths : {std::vector<int64_t>{7, 7, 7}, std::vector<int64_t>{5, 9, 6}}) {
    std::vector<at::Tensor> inputs, gradients_alone;
    std::vector<ModelInput> batch;
    int64_t begin = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      at::Tensor alone = embeddings.narrow(0, begin, lengths[i]).clone().requires_grad_();
      const Adapter* used = i == 1 ? nullptr : &adapter;  // with and without an adapter, in one batch
      model->Forward({{.embeddings = alone, .adapter = used}}).square().sum().backward();
      gradients_alone.push_back(alone.grad().clone());
      inputs.push_back(alone.detach().clone().requires_grad_());
      batch.push_back({.embeddings = inputs.back(), .adapter = used});
      begin += lengths[i];
    }
    model->Forward(batch).square().sum().backward();
    for (size_t i = 0; i < lengths.size(); ++i) {
      const double scale = gradients_alone[i].abs().max().item<double>();
      EXPECT_LE(MaxDifference(inputs[i].grad(), gradients_alone[i]), 1e-4 * scale) << "sequence " << i;
    }
  }
}

TEST(LlamaTest, CachedStepsGiveTheLogitsOfTheWholeSequence) {
  at::NoGradGuard no_grad;
  for (const auto& [name, config] : SmallConfigs()) {
    const auto model = Small(name);
    const at::Tensor tokens = SmallTokens(*model);
    const at::Tensor whole = model->Forward({{.tokens = tokens}});
    const auto state = model->NewState();
    std::vector<at::Tensor> pieces;
    int64_t begin = 0;
    for (const int64_t count : {1, 6, 1, 9, 3, 1, 1, 1}) {  // prefill in chunks, and single steps
      pieces.push_back(model->Forward({{.tokens = tokens.narrow(0, begin, count), .state = state.get()}}));
      begin += count;
      EXPECT_EQ(state->length(), begin);
    }
    ASSERT_EQ(begin, kTokens);
    EXPECT_LE(MaxDifference(at::cat(pieces), whole), 2e-5) << name;
    state->Truncate(7);  // and again from the middle
    const at::Tensor again = model->Forward({{.tokens = tokens.narrow(0, 7, 5), .state = state.get()}});
    EXPECT_LE(MaxDifference(again, whole.narrow(0, 7, 5)), 2e-5) << name;
  }
}

// bf16 keeps 8 bits of mantissa: the logits are near those of fp32, prefill and cached steps alike.
TEST(LlamaTest, Bf16IsNearFp32) {
  at::NoGradGuard no_grad;
  const auto model = Small("grouped"), half = Small("grouped", Dtype::kBf16);
  const at::Tensor tokens = SmallTokens(*model);
  const at::Tensor expected = model->Logits(model->Forward({{.tokens = tokens}}));
  const auto state = half->NewState();
  const at::Tensor first = half->Forward({{.tokens = tokens.narrow(0, 0, 10), .state = state.get()}});
  const at::Tensor second = half->Forward({{.tokens = tokens.narrow(0, 10, kTokens - 10), .state = state.get()}});
  EXPECT_EQ(second.scalar_type(), at::kBFloat16);
  const at::Tensor logits = half->Logits(at::cat({first, second}));
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  EXPECT_LE((logits - expected).norm().item<double>(), 0.05 * expected.norm().item<double>());
  EXPECT_GT(MaxDifference(logits, expected), 1e-4) << "it would be fp32";
}

TEST(LlamaTest, TheCacheGrowsWithItsTokensAndRefusesMoreThanTheContext) {
  at::NoGradGuard no_grad;
  const auto model = Small("grouped");
  const auto state = model->NewState();
  EXPECT_EQ(state->bytes(), 0);
  const at::Tensor tokens = at::arange(128, at::kLong);
  model->Forward({{.tokens = tokens.narrow(0, 0, 127), .state = state.get()}});
  EXPECT_GT(state->bytes(), 0);
  EXPECT_THROW(model->Forward({{.tokens = tokens.narrow(0, 0, 2), .state = state.get()}}), c10::Error);
  EXPECT_EQ(state->length(), 127);
  model->Forward({{.tokens = tokens.narrow(0, 127, 1), .state = state.get()}});
  EXPECT_EQ(state->length(), 128);
}

TEST(LlamaTest, ARaggedBatchGivesTheRowsOfEachSequenceAlone) {
  at::NoGradGuard no_grad;
  const auto model = Small("grouped");
  const Adapter adapter = FormulaAdapter("grouped");
  const at::Tensor tokens = SmallTokens(*model);
  const auto first = model->NewState(), second = model->NewState(), alone = model->NewState();
  model->Forward({{.tokens = tokens.narrow(0, 0, 4), .state = first.get()}});
  model->Forward({{.tokens = tokens.narrow(0, 0, 4), .state = alone.get()}});
  const at::Tensor batched =
      model->Forward({{.tokens = tokens.narrow(0, 4, 1), .state = first.get()},
                      {.tokens = tokens.narrow(0, 3, 6), .state = second.get(), .adapter = &adapter},
                      {.tokens = tokens.narrow(0, 9, 2)}});
  const at::Tensor expected = at::cat({model->Forward({{.tokens = tokens.narrow(0, 4, 1), .state = alone.get()}}),
                                       model->Forward({{.tokens = tokens.narrow(0, 3, 6), .adapter = &adapter}}),
                                       model->Forward({{.tokens = tokens.narrow(0, 9, 2)}})});
  EXPECT_LE(MaxDifference(batched, expected), 2e-5);
}

TEST(LlamaTest, BrokenWeightsAreRefusedByName) {
  const LlamaConfig& config = SmallConfigs().at("grouped");
  const auto message = [&](const StateDict& weights, const LlamaConfig& c) {
    const auto model = LlamaModel::Create(c, weights);
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(model.status().message());
  };
  StateDict weights = FormulaLlama(config);
  weights.erase("model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(message(weights, config), "tensor model.layers.1.mlp.up_proj.weight is missing");
  weights = FormulaLlama(config);
  weights["model.layers.9.mlp.up_proj.weight"] = FormulaWeight("x", {2, 3});
  EXPECT_EQ(message(weights, config),
            "tensor model.layers.9.mlp.up_proj.weight [2, 3] is unknown to the Llama architecture");
  weights = FormulaLlama(config);
  weights["model.norm.weight"] = FormulaWeight("x", {63});
  EXPECT_EQ(message(weights, config), "tensor model.norm.weight has shape [63] and not [64]");
  LlamaConfig odd = config;
  odd.key_heads = 3;
  EXPECT_TRUE(absl::StrContains(message(FormulaLlama(config), odd), "num_key_value_heads 3"));
}

}  // namespace
}  // namespace blazon::language
