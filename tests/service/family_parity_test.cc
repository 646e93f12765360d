// Every family of language models against transformers, from folders as save_pretrained writes them: one table.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/checkpoint_folder.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/safetensors.h"
#include "tests/language/formula_weights.h"

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
constexpr int64_t kTokens = 24;
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

const json& Cases() {
  static const json& cases = *new json(json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/families.json")));
  return cases;
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

  static at::Tensor CaseWeight(const json& made, const std::string& name) {
    const json& tensor = made["tensors"][name];
    const auto shape = tensor["shape"].get<std::vector<int64_t>>();
    const at::Tensor values = language::FormulaWeight(name, shape);
    return shape.size() == 1 ? values - (1.0 - tensor["centre"].get<double>()) : values * tensor["scale"].get<double>();
  }
  static TensorMap Weights(const json& made) {
    TensorMap weights;
    for (const auto& [name, tensor] : made["tensors"].items()) weights[name] = CaseWeight(made, name);
    return weights;
  }
  static TensorMap LegacyWeights(const json& made) {
    TensorMap weights;
    for (const auto& [name, source] : made["legacy_tensors"].items()) {
      weights[name] = source.contains("from") ? CaseWeight(made, source["from"])
                                              : at::zeros(source["zeros"].get<std::vector<int64_t>>());
    }
    return weights;
  }

  // A checkpoint folder, its weights in `shards` files.
  fs::path Write(const std::string& name, const json& config, const TensorMap& weights, int shards = 1) {
    const fs::path folder = folder_ / name;
    fs::create_directories(folder);
    std::ofstream(folder / "config.json") << config.dump(2);
    if (shards == 1) {
      EXPECT_TRUE(WriteSafetensors(folder / "model.safetensors", weights, {{"format", "pt"}}).ok());
      return folder;
    }
    std::map<std::string, TensorMap> files;
    json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", json::object()}};
    int next = 0;
    for (const auto& [tensor, values] : weights) {
      const std::string file = absl::StrCat("model-0000", next++ % shards + 1, "-of-0000", shards, ".safetensors");
      files[file][tensor] = values;
      index["weight_map"][tensor] = file;
    }
    for (const auto& [file, tensors] : files) EXPECT_TRUE(WriteSafetensors(folder / file, tensors).ok());
    std::ofstream(folder / "model.safetensors.index.json") << index.dump();
    return folder;
  }

  static absl::StatusOr<std::unique_ptr<LanguageModel>> Load(const fs::path& folder, Dtype dtype = Dtype::kFp32) {
    auto read = ReadCheckpointFolder(folder);
    if (!read.ok()) return read.status();
    return CreateLanguageModel(read->config, read->weights, dtype);
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

TEST_F(FamilyParityTest, Table) {
  at::NoGradGuard no_grad;
  std::printf("%-18s %10s %10s %10s %8s\n", "family", "logits", "older", "batch of 8", "greedy");
  for (const auto& [name, made] : Cases().items()) {
    const auto golden = [&](const char* what) { return Goldens().at(absl::StrCat(name, ".", what)); };
    const auto model = Load(Write(name, made["config"], Weights(made)));
    ASSERT_TRUE(model.ok()) << name << ": " << model.status();
    const at::Tensor tokens = Tokens((*model)->config().vocabulary_size, 0, kTokens);
    const at::Tensor logits = (*model)->Logits((*model)->Forward({{.tokens = tokens}}));
    EXPECT_GT(golden("logits").std().item<double>(), 0.2) << "the golden would be trivial";
    const double alone = MaxDifference(logits, golden("logits"));
    EXPECT_LE(alone, kTolerance) << name << kRemedy;

    const auto older = Load(Write(name + ".older", made["legacy_config"], LegacyWeights(made), /*shards=*/3));
    ASSERT_TRUE(older.ok()) << name << " in the older spelling: " << older.status();
    const double spelled = MaxDifference((*older)->Logits((*older)->Forward({{.tokens = tokens}})), golden("logits"));
    EXPECT_LE(spelled, kTolerance) << name << " in the older spelling";

    const double batch = MaxDifference(RaggedBatch(**model), golden("batch"));
    EXPECT_LE(batch, kTolerance) << name << kRemedy;

    const at::Tensor greedy = golden("greedy");
    const std::vector<int64_t> expected(greedy.const_data_ptr<int64_t>(),
                                        greedy.const_data_ptr<int64_t>() + greedy.numel());
    const std::vector<int64_t> found = Greedy(**model, golden("prompt"), greedy.numel());
    EXPECT_EQ(found, expected) << name << kRemedy;
    std::printf("%-18s %10.1e %10.1e %10.1e %8s\n", name.c_str(), alone, spelled, batch,
                found == expected ? "equal" : "DIFFERS");
  }
}

TEST_F(FamilyParityTest, Bf16StaysWithinItsBound) {
  at::NoGradGuard no_grad;
  constexpr double kBound = 0.25;  // of the logits' standard deviation, for the mean difference
  for (const auto& [name, made] : Cases().items()) {
    const auto model = Load(Write(name, made["config"], Weights(made)), Dtype::kBf16);
    ASSERT_TRUE(model.ok()) << name << ": " << model.status();
    const at::Tensor logits =
        (*model)->Logits((*model)->Forward({{.tokens = Tokens((*model)->config().vocabulary_size, 0, kTokens)}}));
    const at::Tensor& golden = Goldens().at(name + ".logits");
    const double difference = (logits - golden).abs().mean().item<double>() / golden.std().item<double>();
    EXPECT_LE(difference, kBound) << name;
    EXPECT_GT(difference, 1e-4) << name << " did not compute in bf16";
  }
}

TEST_F(FamilyParityTest, BrokenCheckpointsAreRefusedByName) {
  const json& made = Cases()["llama.grouped"];
  const json config = made["config"];
  const TensorMap weights = Weights(made);
  int count = 0;
  const auto refusal = [&](const json& c, const TensorMap& w) {
    const auto model = Load(Write(absl::StrCat("broken", count++), c, w));
    EXPECT_FALSE(model.ok());
    return model.ok() ? std::string() : std::string(model.status().message());
  };
  const auto with = [&](const char* key, const json& value) {
    json changed = config;
    changed[key] = value;
    return refusal(changed, weights);
  };
  EXPECT_NE(with("model_type", "mamba").find("model_type is \"mamba\"; Blazon runs bloom, gemma"), std::string::npos);
  EXPECT_NE(with("hidden_act", "relu").find("hidden_act is \"relu\""), std::string::npos);
  EXPECT_NE(with("rope_parameters", {{"rope_type", "longrope"}}).find("rope_type is \"longrope\""), std::string::npos);
  EXPECT_NE(with("hidden_size", "64").find("hidden_size is \"64\""), std::string::npos);
  EXPECT_NE(with("hidden_size", nullptr).find("hidden_size is missing"), std::string::npos);
  EXPECT_NE(with("num_hidden_layers", -1).find("num_hidden_layers is -1"), std::string::npos);
  EXPECT_NE(with("num_key_value_heads", 3).find("not a multiple of num_key_value_heads 3"), std::string::npos);
  EXPECT_NE(with("vocab_size", 152).find("model.embed_tokens.weight has shape [151, 64] and not [152, 64]"),
            std::string::npos);
  TensorMap changed = weights;
  changed.erase("model.layers.1.mlp.up_proj.weight");
  EXPECT_NE(refusal(config, changed).find("model.layers.1.mlp.up_proj.weight is missing"), std::string::npos);
  changed = weights;
  changed["model.layers.9.mlp.up_proj.weight"] = at::zeros({2, 2});
  EXPECT_NE(refusal(config, changed).find("model.layers.9.mlp.up_proj.weight [2, 2] is unknown"), std::string::npos);
  changed = weights;
  at::Tensor broken = changed["model.norm.weight"].clone();
  broken[3] = std::numeric_limits<float>::quiet_NaN();
  changed["model.norm.weight"] = broken;
  EXPECT_NE(refusal(config, changed).find("model.norm.weight holds a value that is not finite"), std::string::npos);
  changed["model.norm.weight"] = at::zeros({64}, at::kInt);
  EXPECT_NE(refusal(config, changed).find("model.norm.weight holds Int"), std::string::npos);
}

TEST_F(FamilyParityTest, BrokenFoldersAreRefusedByName) {
  const json& made = Cases()["gpt2.tied"];
  const TensorMap weights = Weights(made);
  const auto refusal = [&](const fs::path& folder) {
    const auto model = Load(folder);
    EXPECT_FALSE(model.ok());
    return model.ok() ? std::string() : std::string(model.status().message());
  };
  fs::path folder = Write("missing_shard", made["config"], weights, 3);
  fs::remove(folder / "model-00002-of-00003.safetensors");
  EXPECT_NE(refusal(folder).find("model-00002-of-00003.safetensors is missing"), std::string::npos);

  folder = Write("truncated_shard", made["config"], weights, 3);
  fs::resize_file(folder / "model-00001-of-00003.safetensors",
                  fs::file_size(folder / "model-00001-of-00003.safetensors") - 64);
  EXPECT_NE(refusal(folder).find("model-00001-of-00003.safetensors"), std::string::npos);

  folder = Write("other_place", made["config"], weights, 2);
  std::ofstream(folder / "model.safetensors.index.json") << R"({"weight_map": {"a": "../model.safetensors"}})";
  EXPECT_NE(refusal(folder).find("not the name of a safetensors file in this folder"), std::string::npos);

  folder = Write("tensor_of_another_file", made["config"], weights, 2);
  json index = json::parse(std::ifstream(folder / "model.safetensors.index.json"));
  index["weight_map"]["transformer.wte.weight"] = "model-00002-of-00002.safetensors";
  index["weight_map"]["transformer.wpe.weight"] = "model-00002-of-00002.safetensors";
  std::ofstream(folder / "model.safetensors.index.json") << index.dump();
  EXPECT_NE(refusal(folder).find("is not listed for this file"), std::string::npos);

  folder = Write("pickle", made["config"], weights);
  fs::rename(folder / "model.safetensors", folder / "pytorch_model.bin");
  EXPECT_NE(refusal(folder).find("pytorch_model.bin is a pickle"), std::string::npos);

  folder = Write("deep", made["config"], weights);
  std::ofstream(folder / "config.json") << "{\"a\":" << std::string(10000, '[') << std::string(10000, ']') << "}";
  EXPECT_NE(refusal(folder).find("is nested more than 100 deep"), std::string::npos);
  std::ofstream(folder / "config.json") << "{";
  EXPECT_NE(refusal(folder).find("is not a JSON object"), std::string::npos);
  EXPECT_NE(refusal(folder_ / "nowhere").find("nowhere/config.json"), std::string::npos);
}

}  // namespace
}  // namespace blazon::service
