// What is written as GGUF is what was read: logits, tokens, metadata. That llama.cpp reads it alike is shown by
// tests/reference/llama_cpp_export.py.
#include "service/checkpoint/gguf_export.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "language/training/lora.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_writer.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/checkpoint/safetensors.h"
#include "tests/service/family_cases.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::LanguageModel;
using nlohmann::json;

const std::string kGoldens = BLAZON_SOURCE_DIR "/tests/goldens/";

// Byte-level BPE of a few tokens, cut as GPT-2 cuts, with a control token.
json SmallTokenizer() {
  return {{"version", "1.0"},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"added_tokens", json::array({{{"id", 7},
                                         {"content", "<|end|>"},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", false},
                                         {"normalized", false},
                                         {"special", true}}})},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"\u0120", 3}, {"ab", 4}, {"\u0120ab", 5}, {"abc", 6}}},
            {"merges", {"a b", "\u0120 ab", "ab c"}}}}};
}

class GgufExportTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "gguf_export_test_", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A case of families.json as a folder.
  fs::path Write(const std::string& name, const json& more = json::object()) {
    const json& made = FamilyCases()[name];
    json config = made["config"];
    config.update(more);
    WriteCheckpoint(folder_ / name, config, CaseWeights(made), 1);
    std::ofstream(folder_ / name / "tokenizer.json") << SmallTokenizer();
    std::ofstream(folder_ / name / "generation_config.json") << json{{"eos_token_id", 7}};
    std::ofstream(folder_ / name / "chat_template.jinja") << "{{ messages[0].content }}";
    return folder_ / name;
  }

  static LoadedLanguageModel Load(const fs::path& path) {
    auto loaded = LoadLanguageModel(path, {.dtype = language::Dtype::kFp32});
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return *std::move(loaded);
  }

  static at::Tensor Logits(const LanguageModel& model, const language::Adapter* adapter = nullptr) {
    const c10::InferenceMode guard;
    const auto state = model.NewState();
    const language::ModelInput input{
        .tokens = at::tensor({3, 60, 17, 5, 81, 33, 2}, at::kLong), .state = state.get(), .adapter = adapter};
    return model.Logits(model.Forward({&input, 1}));
  }

  static double MaxDifference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

  fs::path folder_;
};

TEST_F(GgufExportTest, FoldersKeepLogitsTokensAndTemplate) {
  for (const char* name :
       {"gpt2.tied", "gpt2.scaled", "llama.grouped", "mistral.full", "qwen2.tied", "qwen3.wide_heads"}) {
    SCOPED_TRACE(name);
    // The cases with options that GGUF cannot say get their plain values.
    const fs::path source =
        Write(name, std::string(name) == "gpt2.scaled"
                        ? json{{"scale_attn_by_inverse_layer_idx", false}, {"scale_attn_weights", true}}
                        : json::object());
    const fs::path file = folder_ / absl::StrCat(name, ".gguf");
    ASSERT_EQ(ExportGguf(source, file, {.encoding = GgufEncoding::kF32}), absl::OkStatus());
    const LoadedLanguageModel before = Load(source), after = Load(file);
    EXPECT_LE(MaxDifference(Logits(*before.model), Logits(*after.model)), 1e-5);
    for (const char* text : {"abc ab cab", "a  b\n<|end|>"})
      EXPECT_EQ(after.tokenizer->EncodeWithSpecials(text), before.tokenizer->EncodeWithSpecials(text));
    EXPECT_EQ(after.end_tokens, before.end_tokens);
    EXPECT_TRUE(after.chat_template.ok()) << after.chat_template.status();
    EXPECT_EQ(after.model->config().context_length, before.model->config().context_length);
  }
}

TEST_F(GgufExportTest, SmallerEncodingsStayNear) {
  const fs::path source = Write("llama.grouped");
  const at::Tensor exact = Logits(*Load(source).model);
  const double deviation = exact.std().item<double>();
  for (const auto& [encoding, name, bound] :
       {std::tuple{GgufEncoding::kF16, "f16.gguf", 0.01}, std::tuple{GgufEncoding::kQ8_0, "q8_0.gguf", 0.05}}) {
    ASSERT_EQ(ExportGguf(source, folder_ / name, {.encoding = encoding}), absl::OkStatus());
    const double difference = MaxDifference(exact, Logits(*Load(folder_ / name).model));
    EXPECT_LE(difference, bound * deviation) << name;
    EXPECT_GT(difference, 0) << name;
  }
}

TEST_F(GgufExportTest, AGgufFileComesOutAsItWentIn) {
  const fs::path first = folder_ / "first.gguf", again = folder_ / "again.gguf";
  ASSERT_EQ(ExportGguf(Write("llama.grouped"), first, {.encoding = GgufEncoding::kF32}), absl::OkStatus());
  ASSERT_EQ(ExportGguf(first, again, {.encoding = GgufEncoding::kF32}), absl::OkStatus());
  const auto read = [](const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const auto before = GgufFile::Open(first), after = GgufFile::Open(again);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ((*after)->keys(), (*before)->keys());
  EXPECT_EQ(read(again).size(), read(first).size());
  EXPECT_EQ(MaxDifference(Logits(*Load(first).model), Logits(*Load(again).model)), 0);
}

TEST_F(GgufExportTest, AnAdapterIsAddedToTheWeights) {
  for (const char* name : {"llama.grouped", "gpt2.tied"}) {
    SCOPED_TRACE(name);
    const fs::path source = Write(name);
    const LoadedLanguageModel before = Load(source);
    language::LoraOptions options;
    options.rank = 4;
    auto adapter = language::NewLoraAdapter("tuned", *before.model, options);
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    {
      const at::NoGradGuard no_gradients;
      for (auto& [module, update] : (*adapter)->modules) update.b.copy_(at::randn(update.b.sizes()) * 0.05);
    }
    ASSERT_EQ(WriteAdapter(folder_ / "tuned", **adapter, *before.model, options, "base"), absl::OkStatus());
    const fs::path file = folder_ / absl::StrCat(name, ".tuned.gguf");
    ASSERT_EQ(ExportGguf(source, file, {.encoding = GgufEncoding::kF32, .adapter = folder_ / "tuned"}),
              absl::OkStatus());
    const at::Tensor expected = Logits(*before.model, adapter->get());
    EXPECT_LE(MaxDifference(expected, Logits(*Load(file).model)), 1e-4);
    EXPECT_GT(MaxDifference(expected, Logits(*before.model)), 1e-3);
  }
}

TEST_F(GgufExportTest, RefusesWhatTheFormatCannotSay) {
  const auto refuse = [&](const fs::path& source, absl::StatusCode code, const std::string& what) {
    const absl::Status status = ExportGguf(source, folder_ / "refused.gguf", {});
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), what)) << status;
    EXPECT_FALSE(fs::exists(folder_ / "refused.gguf"));
  };
  refuse(Write("gemma.tied"), absl::StatusCode::kUnimplemented, "\"gemma\"");
  refuse(Write("llama.scaled"), absl::StatusCode::kUnimplemented, "rope_scaling");
  refuse(Write("mistral.window"), absl::StatusCode::kUnimplemented, "sliding_window");
  refuse(Write("qwen3.untied"), absl::StatusCode::kUnimplemented, "attention_bias");
  refuse(Write("gpt2.scaled"), absl::StatusCode::kUnimplemented, "attention");
  refuse(folder_ / "nothing", absl::StatusCode::kNotFound, "nothing");
  const fs::path source = Write("gpt2.tied");
  json tokenizer = SmallTokenizer();
  tokenizer["pre_tokenizer"] = {{"type", "Whitespace"}};
  std::ofstream(source / "tokenizer.json") << tokenizer;
  refuse(source, absl::StatusCode::kUnimplemented, "tokenizer");
  std::ofstream(folder_ / "there.gguf") << "mine";
  EXPECT_EQ(ExportGguf(Write("gpt2.tied"), folder_ / "there.gguf", {}).code(), absl::StatusCode::kAlreadyExists);
}

// Values that came out of Q8_0 go back to the same blocks, and others lie within half a step.
TEST(QuantizeQ8_0, IsTheFormatsOwn) {
  const auto file = GgufFile::Open(kGoldens + "block_formats.gguf");
  ASSERT_TRUE(file.ok());
  int64_t checked = 0;
  for (const GgufTensorInfo& tensor : (*file)->tensors()) {
    if (GgufTypeName(tensor.type) != "Q8_0") continue;
    const auto weight = (*file)->Tensor(tensor.name);
    ASSERT_TRUE(weight.ok());
    const auto& blocks = std::get<language::QuantizedTensor>(*weight);
    const at::Tensor again = QuantizeQ8_0(language::Dequantize(blocks));
    const at::Tensor values = language::Dequantize(
        {.format = language::QuantFormat::kQ8_0, .rows = blocks.rows, .columns = blocks.columns, .blocks = again});
    EXPECT_LE((values - language::Dequantize(blocks)).abs().max().item<double>(),
              language::Dequantize(blocks).abs().max().item<double>() / 127 / 2);
    ++checked;
  }
  EXPECT_GT(checked, 0);
  const at::Tensor given = at::tensor(std::vector<double>(32, 0.0), at::kFloat).reshape({1, 32}).clone();
  given[0][3] = 127;
  given[0][4] = -2.5;  // halves go away from zero
  given[0][5] = 0.4;
  const at::Tensor bytes = QuantizeQ8_0(given);
  EXPECT_EQ(bytes.sizes(), (std::vector<int64_t>{1, 34}));
  EXPECT_EQ(bytes[0][0].item<int>(), 0x00);  // 1.0 in fp16
  EXPECT_EQ(bytes[0][1].item<int>(), 0x3c);
  EXPECT_EQ(static_cast<int8_t>(bytes[0][2 + 3].item<int>()), 127);
  EXPECT_EQ(static_cast<int8_t>(bytes[0][2 + 4].item<int>()), -3);
  EXPECT_EQ(bytes[0][2 + 5].item<int>(), 0);
}

}  // namespace
}  // namespace blazon::service
