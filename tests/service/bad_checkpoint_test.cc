// Broken and foreign checkpoints: one table of what is wrong and of what the error says of it.
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "language/scheduler.h"
#include "service/checkpoint/language_model_loader.h"
#include "tests/service/family_cases.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kSecond[] = "model-00002-of-00003.safetensors";

std::string ReadBytes(const fs::path& path) {
  std::stringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

// A new file: an older one of the name may still be mapped.
void WriteBytes(const fs::path& path, std::string_view bytes) {
  fs::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

// A tokenizer of `count` tokens.
json SmallTokenizer(int count) {
  json vocabulary = json::object();
  for (int i = 0; i < count; ++i) vocabulary[absl::StrCat("t", i)] = i;
  return {{"version", "1.0"}, {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", json::array()}}}};
}

// A checkpoint that loads, to be broken.
struct Parts {
  json config = FamilyCases()["llama.grouped"]["config"];
  TensorMap weights = CaseWeights(FamilyCases()["llama.grouped"]);
  json tokenizer = SmallTokenizer(40);
  int shards = 1;
  std::function<void(const fs::path&)> then = nullptr;  // what is done to the folder
};

class BadCheckpointTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  absl::StatusOr<LoadedLanguageModel> Load(const Parts& parts) {
    const fs::path folder = folder_ / absl::StrCat("model", count_++);
    WriteCheckpoint(folder, parts.config, parts.weights, parts.shards);
    WriteBytes(folder / "tokenizer.json", parts.tokenizer.dump());
    if (parts.then) parts.then(folder);
    return LoadLanguageModel(folder);
  }

  const fs::path folder_ = absl::StrCat(testing::TempDir(), "bad_checkpoint_test_", getpid());
  int count_ = 0;
};

struct Case {
  std::string_view what;
  std::function<void(Parts&)> broken;
  std::string_view says;
};

std::function<void(Parts&)> Config(const char* name, json value) {
  return [name, value = std::move(value)](Parts& parts) { parts.config[name] = value; };
}

std::function<void(Parts&)> Weight(const char* name, at::Tensor value) {
  return [name, value = std::move(value)](Parts& parts) { parts.weights[name] = value; };
}

std::function<void(Parts&)> OneValue(const char* name, float value) {
  return [=](Parts& parts) {
    parts.weights.at(name) = parts.weights.at(name).clone();
    parts.weights.at(name).view(-1)[3] = value;
  };
}

std::function<void(Parts&)> File(const char* name, std::string bytes) {
  return [name, bytes = std::move(bytes)](Parts& parts) {
    parts.then = [name, bytes](const fs::path& folder) { WriteBytes(folder / name, bytes); };
  };
}

// Three shards, of whose index and files the function changes something.
std::function<void(Parts&)> Shards(std::function<void(const fs::path&)> then) {
  return [then = std::move(then)](Parts& parts) {
    parts.shards = 3;
    parts.then = then;
  };
}

std::function<void(Parts&)> Index(std::function<void(json&)> change) {
  return Shards([change = std::move(change)](const fs::path& folder) {
    json index = json::parse(ReadBytes(folder / kIndex));
    change(index["weight_map"]);
    WriteBytes(folder / kIndex, index.dump());
  });
}

std::string Deep(const char* key) {
  return absl::StrCat("{\"", key, "\":", std::string(10000, '['), std::string(10000, ']'), "}");
}

TEST_F(BadCheckpointTest, EachIsRefusedByName) {
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  const Case cases[] = {
      // The config.
      {"unknown architecture", Config("model_type", "mamba"), "model_type is \"mamba\"; Blazon runs blazon_lstm, "},
      {"unknown rotation", Config("rope_parameters", {{"rope_type", "longrope"}}), "rope_type is \"longrope\""},
      {"unknown activation", Config("hidden_act", "relu"), "hidden_act is \"relu\""},
      {"a text for a number", Config("hidden_size", "64"), "hidden_size is \"64\""},
      {"no size", Config("hidden_size", nullptr), "hidden_size is missing"},
      {"a negative size", Config("num_hidden_layers", -1), "num_hidden_layers is -1"},
      {"heads that do not divide", Config("num_key_value_heads", 3), "not a multiple of num_key_value_heads 3"},
      {"another vocabulary size", Config("vocab_size", 152),
       "model.embed_tokens.weight has shape [151, 64] and not [152, 64]"},
      {"deep config", File("config.json", Deep("a")), "config.json is nested more than 100 deep"},
      {"broken config", File("config.json", "{"), "config.json is not JSON"},
      {"a list for a config", File("config.json", "[]"), "config.json is not a JSON object"},
      {"deep generation config", File("generation_config.json", Deep("a")),
       "generation_config.json is nested more than"},
      // Tensors.
      {"missing tensor", [&](Parts& parts) { parts.weights.erase(up); },
       "model.layers.1.mlp.up_proj.weight is missing"},
      {"extra tensor", Weight("model.layers.9.mlp.up_proj.weight", at::zeros({2, 2})),
       "model.layers.9.mlp.up_proj.weight [2, 2] is unknown to the Llama architecture"},
      {"mis-shaped tensor", Weight("model.layers.1.mlp.up_proj.weight", at::zeros({96, 63})),
       "model.layers.1.mlp.up_proj.weight has shape [96, 63] and not [96, 64]"},
      {"turned tensor", Weight("model.layers.1.mlp.up_proj.weight", at::zeros({64, 96})), "has shape [64, 96]"},
      {"NaN in a matrix", OneValue("model.layers.1.mlp.up_proj.weight", std::numeric_limits<float>::quiet_NaN()),
       "model.layers.1.mlp.up_proj.weight holds a value that is not finite"},
      {"infinity in a norm", OneValue("model.norm.weight", std::numeric_limits<float>::infinity()),
       "model.norm.weight holds a value that is not finite"},
      {"integers", Weight("model.norm.weight", at::zeros({64}, at::kInt)), "model.norm.weight holds Int"},
      // Files.
      {"missing shard", Shards([](const fs::path& folder) { fs::remove(folder / kSecond); }),
       "model-00002-of-00003.safetensors is missing: model.safetensors.index.json names it"},
      {"truncated shard",
       Shards([](const fs::path& folder) { fs::resize_file(folder / kSecond, fs::file_size(folder / kSecond) - 64); }),
       "model-00002-of-00003.safetensors: broken safetensors file"},
      {"a tensor that its shard lacks", Index([](json& map) { map["model.extra.weight"] = kSecond; }),
       "tensor model.extra.weight is not in model-00002-of-00003.safetensors"},
      {"a tensor of another shard",
       Index([&](json& map) { map[up] = map[up] == kSecond ? "model-00001-of-00003.safetensors" : kSecond; }),
       "model.layers.1.mlp.up_proj.weight is not listed for this file"},
      {"a file elsewhere", Index([&](json& map) { map[up] = "../model.safetensors"; }),
       "is not the name of a safetensors file in this folder"},
      {"deep index", Shards([](const fs::path& folder) { WriteBytes(folder / kIndex, Deep("weight_map")); }),
       "index.json is nested more than 100 deep"},
      {"no map in the index", Shards([](const fs::path& folder) { WriteBytes(folder / kIndex, "{}"); }),
       "index.json has no weight_map"},
      {"overlapping offsets",
       [](Parts& parts) {
         parts.then = [](const fs::path& folder) {
           std::string header =
               "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
               "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}";
           const uint64_t length = header.size();
           header.insert(0, reinterpret_cast<const char*>(&length), sizeof(length));
           WriteBytes(folder / "model.safetensors", header + std::string(12, '\0'));
         };
       },
       "tensor \"b\" begins at 4, inside another one"},
      {"a pickle",
       [](Parts& parts) {
         parts.then = [](const fs::path& folder) {
           fs::rename(folder / "model.safetensors", folder / "pytorch_model.bin");
         };
       },
       "pytorch_model.bin is a pickle"},
      {"no weights",
       [](Parts& parts) { parts.then = [](const fs::path& folder) { fs::remove(folder / "model.safetensors"); }; },
       "has neither model.safetensors nor model.safetensors.index.json"},
      // The tokenizer.
      {"a tokenizer larger than the embedding", [](Parts& parts) { parts.tokenizer = SmallTokenizer(152); },
       "the tokenizer has 152 tokens, more than the embedding's 151 rows"},
      {"no tokenizer",
       [](Parts& parts) { parts.then = [](const fs::path& folder) { fs::remove(folder / "tokenizer.json"); }; },
       "has no tokenizer"},
      {"deep tokenizer", File("tokenizer.json", Deep("model")), "tokenizer.json: nested more than 100 deep"},
      {"deep tokenizer config", File("tokenizer_config.json", Deep("a")),
       "tokenizer_config.json is nested more than 100 deep"},
  };
  ASSERT_TRUE(Load(Parts()).ok()) << "the unbroken one";
  for (const Case& each : cases) {
    Parts parts;
    each.broken(parts);
    const auto loaded = Load(parts);
    ASSERT_FALSE(loaded.ok()) << each.what;
    EXPECT_NE(std::string(loaded.status().message()).find(each.says), std::string::npos)
        << each.what << ": " << loaded.status();
    EXPECT_NE(std::string(loaded.status().message()).find(folder_.string()), std::string::npos)
        << each.what << ": the message does not say where: " << loaded.status();
  }
  EXPECT_NE(std::string(LoadLanguageModel(folder_ / "nowhere").status().message()).find("nowhere"), std::string::npos);
}

// The model runs without chat then, and says why.
TEST_F(BadCheckpointTest, ATemplateThatCannotBeEvaluatedIsNamed) {
  const struct {
    const char* jinja;
    const char* says;
  } cases[] = {{"{% include 'other' %}", "include"},
               {"{{ messages | fancy }}", "fancy"},
               {"{% for m in messages %}{{ m.content }}", "line 1, column 39: the template ends"}};
  for (const auto& each : cases) {
    Parts parts;
    File("chat_template.jinja", each.jinja)(parts);
    const auto loaded = Load(parts);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ASSERT_FALSE(loaded->chat_template.ok()) << each.jinja;
    EXPECT_NE(std::string(loaded->chat_template.status().message()).find(each.says), std::string::npos)
        << loaded->chat_template.status();
  }
  const auto loaded = Load(Parts());
  ASSERT_TRUE(loaded.ok());
  EXPECT_NE(std::string(loaded->chat_template.status().message()).find("has no chat template"), std::string::npos);
}

TEST_F(BadCheckpointTest, APromptLongerThanTheContextIsRefusedWithBothLengths) {
  const auto loaded = Load(Parts());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  language::Scheduler scheduler(*loaded->model, *loaded->tokenizer, {});
  language::GenerationRequest request;
  request.prompt = {std::vector<language::TokenId>(97, 5)};
  request.options.max_new_tokens = 1;
  const std::string message(scheduler.Generate(request).status().message());
  EXPECT_NE(message.find("97"), std::string::npos) << message;
  EXPECT_NE(message.find("96"), std::string::npos) << message;
}

// A large value that fp16 cannot hold is an error, and not an infinity.
TEST_F(BadCheckpointTest, WhatAnotherDtypeCannotHoldIsNamed) {
  Parts parts;
  OneValue("model.layers.0.mlp.up_proj.weight", 70000.0f)(parts);
  WriteCheckpoint(folder_ / "large", parts.config, parts.weights);
  WriteBytes(folder_ / "large/tokenizer.json", parts.tokenizer.dump());
  EXPECT_TRUE(LoadLanguageModel(folder_ / "large").ok());
  const auto half = LoadLanguageModel(folder_ / "large", {.dtype = language::Dtype::kFp16});
  EXPECT_NE(std::string(half.status().message()).find("up_proj.weight holds a value that is too large for Half"),
            std::string::npos)
      << half.status();
}

}  // namespace
}  // namespace blazon::service
