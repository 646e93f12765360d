// The GGUF reader: values against the `gguf` package, and files that break the format in every way we could think of.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/state_dict.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_language_model.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/tokenizer_loader.h"
#include "service/checkpoint/weights_digest.h"

namespace blazon::service {
namespace {

using language::Dequantize;
using language::QuantizedTensor;
using language::Weight;

const char kRemedy[] = "; goldens are made by: python tests/reference/checkpoint_goldens.py";
const std::string kGoldens = BLAZON_SOURCE_DIR "/tests/goldens/";

std::string ReadBytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream bytes;
  bytes << stream.rdbuf();
  return bytes.str();
}

// A file of its own for the test that asks.
std::string WriteTemporary(const std::string& bytes) {
  static int counter = 0;
  const std::string path = absl::StrCat(testing::TempDir(), "checkpoint_gguf_", getpid(), "_", counter++ % 2, ".gguf");
  std::filesystem::remove(path);  // an earlier file may still be mapped: never rewrite it in place
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

at::Tensor Values(const Weight& weight) {
  if (const auto* quantized = std::get_if<QuantizedTensor>(&weight)) return Dequantize(*quantized);
  return std::get<at::Tensor>(weight).to(at::kFloat);
}

template <typename T>
std::string Bytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
std::string Text(const std::string& text) { return Bytes<uint64_t>(text.size()) + text; }
std::string Entry(const std::string& key, uint32_t type, const std::string& value) {
  return Text(key) + Bytes(type) + value;
}
std::string StringEntry(const std::string& key, const std::string& value) { return Entry(key, 8, Text(value)); }
std::string CountEntry(const std::string& key, uint32_t value) { return Entry(key, 4, Bytes(value)); }
std::string StringsEntry(const std::string& key, const std::vector<std::string>& values) {
  std::string array = Bytes<uint32_t>(8) + Bytes<uint64_t>(values.size());
  for (const std::string& value : values) array += Text(value);
  return Entry(key, 9, array);
}

struct TestTensor {
  std::string name;
  std::vector<uint64_t> dimensions;  // innermost first, as in the file
  uint32_t type = 0;
  uint64_t offset = 0;
};

// A GGUF put together from parts, each of which a test may break.
struct TestGguf {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::string> metadata;
  std::vector<TestTensor> tensors;
  uint64_t data_bytes = 0;
  int64_t tensor_count = -1, metadata_count = -1;  // -1: the true ones

  std::string Build() const {
    std::string bytes = magic + Bytes(version);
    bytes += Bytes<uint64_t>(tensor_count < 0 ? tensors.size() : tensor_count);
    bytes += Bytes<uint64_t>(metadata_count < 0 ? metadata.size() : metadata_count);
    for (const std::string& entry : metadata) bytes += entry;
    for (const TestTensor& tensor : tensors) {
      bytes += Text(tensor.name) + Bytes<uint32_t>(tensor.dimensions.size());
      for (const uint64_t dimension : tensor.dimensions) bytes += Bytes(dimension);
      bytes += Bytes(tensor.type) + Bytes(tensor.offset);
    }
    bytes.resize((bytes.size() + 31) / 32 * 32);
    for (uint64_t i = 0; i < data_bytes; ++i) bytes.push_back(static_cast<char>(i * 37));
    return bytes;
  }
};

// Two tensors side by side: "a" [2, 32] F32 (256 bytes) and "b" [4, 32] Q4_0 (72 bytes).
TestGguf TwoTensors() {
  TestGguf gguf;
  gguf.metadata = {StringEntry("general.architecture", "llama")};
  gguf.tensors = {{"a", {32, 2}, 0, 0}, {"b", {32, 4}, 2, 256}};
  gguf.data_bytes = 256 + 72;
  return gguf;
}

// Metadata with a tokenizer, so that broken files reach the tokenizer's loader too.
TestGguf WithTokenizer() {
  TestGguf gguf = TwoTensors();
  gguf.metadata.push_back(StringEntry("tokenizer.ggml.model", "gpt2"));
  gguf.metadata.push_back(StringEntry("tokenizer.ggml.pre", "smollm"));
  gguf.metadata.push_back(StringsEntry("tokenizer.ggml.tokens", {"<end>", "a", "b", "ab", "\xC4\xA0"}));
  gguf.metadata.push_back(Entry("tokenizer.ggml.token_type", 9,
                                Bytes<uint32_t>(5) + Bytes<uint64_t>(5) + Bytes<int32_t>(3) + Bytes<int32_t>(1) +
                                    Bytes<int32_t>(1) + Bytes<int32_t>(1) + Bytes<int32_t>(1)));
  gguf.metadata.push_back(StringsEntry("tokenizer.ggml.merges", {"a b"}));
  return gguf;
}

TEST(Gguf, ReadsWhatThePackageWrote) {
  const auto file = GgufFile::Open(kGoldens + "small_llama.gguf");
  ASSERT_TRUE(file.ok()) << file.status() << kRemedy;
  EXPECT_EQ((*file)->version(), 3u);
  EXPECT_EQ((*file)->bytes(), std::filesystem::file_size(kGoldens + "small_llama.gguf"));
  EXPECT_EQ((*file)->String("general.name").value(), "small llama");
  EXPECT_EQ((*file)->Integer("llama.block_count").value(), 1);
  EXPECT_EQ((*file)->Number("llama.block_count").value(), 1.0);
  EXPECT_EQ((*file)->Number("llama.rope.freq_base").value(), 12345.0);
  EXPECT_TRUE((*file)->Bool("test.flag").value());
  EXPECT_EQ((*file)->Strings("test.strings").value(), (std::vector<std::string_view>{"alpha", "", "gamma \u03B4"}));
  EXPECT_EQ((*file)->Integers("test.integers").value(), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ((*file)->Numbers("test.floats").value(), (std::vector<double>{0.5, -1.25}));

  EXPECT_EQ((*file)->Integer("test.huge").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*file)->Integer("test.flag").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*file)->Integers("test.strings").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*file)->Strings("test.integers").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*file)->Integers("test.floats").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*file)->String("no.such.key").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*file)->Tensor("no.such.tensor").status().code(), absl::StatusCode::kNotFound);
}

TEST(Gguf, ValuesEqualThePackagesBitForBit) {
  const auto file = GgufFile::Open(kGoldens + "small_llama.gguf");
  ASSERT_TRUE(file.ok()) << file.status() << kRemedy;
  const auto config = ReadGgufConfig(**file);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, nlohmann::json({{"model_type", "llama"},
                                     {"hidden_size", 64},
                                     {"num_hidden_layers", 1},
                                     {"num_attention_heads", 2},
                                     {"num_key_value_heads", 1},
                                     {"head_dim", 32},
                                     {"intermediate_size", 96},
                                     {"vocab_size", 40},
                                     {"max_position_embeddings", 128},
                                     {"rope_theta", 12345.0},
                                     {"rms_norm_eps", static_cast<double>(1e-6f)},
                                     {"tie_word_embeddings", false}}));
  const auto weights = ReadGgufWeights(**file);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(CreateLanguageModel(*config, *weights, language::Dtype::kAuto).ok());

  const auto expected = ReadSafetensors(kGoldens + "small_llama.safetensors");
  ASSERT_TRUE(expected.ok()) << expected.status() << kRemedy;
  EXPECT_EQ(weights->size(), expected->size());
  std::map<language::QuantFormat, int64_t> compared;
  for (const auto& [name, values] : *expected) {
    const auto found = weights->find(name);
    ASSERT_NE(found, weights->end()) << name;
    const at::Tensor read = Values(found->second);
    ASSERT_EQ(read.sizes(), values.sizes()) << name;
    EXPECT_EQ(std::memcmp(read.contiguous().const_data_ptr(), values.contiguous().const_data_ptr(), values.nbytes()), 0)
        << name << kRemedy;
    EXPECT_GT(values.abs().sum().item<float>(), 0.0f);
    if (const auto* quantized = std::get_if<QuantizedTensor>(&found->second))
      compared[quantized->format] += values.numel();
  }
  EXPECT_EQ(compared.size(), 3u);  // Q4_0, Q4_1, Q8_0
  for (const auto& [format, count] : compared) EXPECT_GE(count, 2048);
}

TEST(Gguf, EveryBlockFormatEqualsThePackageBitForBit) {
  const auto file = GgufFile::Open(kGoldens + "block_formats.gguf");
  ASSERT_TRUE(file.ok()) << file.status() << kRemedy;
  const auto expected = ReadSafetensors(kGoldens + "block_formats.safetensors");
  ASSERT_TRUE(expected.ok()) << expected.status() << kRemedy;
  EXPECT_EQ(expected->size(), 8u);
  for (const auto& [name, values] : *expected) {
    const auto weight = (*file)->Tensor(name);
    ASSERT_TRUE(weight.ok()) << weight.status();
    const at::Tensor read = Values(*weight);
    ASSERT_EQ(read.sizes(), values.sizes()) << name;
    EXPECT_EQ(std::memcmp(read.contiguous().const_data_ptr(), values.contiguous().const_data_ptr(), values.nbytes()), 0)
        << name << kRemedy;
    EXPECT_GT(values.abs().sum().item<float>(), 0.0f);
  }
}

TEST(Gguf, TensorsOutliveTheFile) {
  at::Tensor norm;
  {
    auto file = GgufFile::Open(kGoldens + "small_llama.gguf");
    ASSERT_TRUE(file.ok()) << file.status();
    norm = std::get<at::Tensor>((*file)->Tensor("output_norm.weight").value());
  }
  EXPECT_NE(norm.abs().sum().item<float>(), 0.0f);
}

TEST(Gguf, ReadsSmolLm2) {
  const auto file = GgufFile::Open(BLAZON_SOURCE_DIR "/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*FileSha256((*file)->path()), "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
  const auto config = ReadGgufConfig(**file);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ((*config)["tie_word_embeddings"], true);
  EXPECT_EQ((*config)["num_hidden_layers"], 30);
  EXPECT_EQ((*config)["vocab_size"], 49152);
  const auto weights = ReadGgufWeights(**file);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->size(), 272u);
}

TEST(Gguf, ReadsVersion2) {
  TestGguf gguf = TwoTensors();
  gguf.version = 2;
  const auto file = GgufFile::Open(WriteTemporary(gguf.Build()));
  ASSERT_TRUE(file.ok()) << file.status();
  const at::Tensor a = Values((*file)->Tensor("a").value()), b = Values((*file)->Tensor("b").value());
  EXPECT_EQ(a.sizes(), (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(b.sizes(), (std::vector<int64_t>{4, 32}));
}

TEST(Gguf, NamesWhatIsWrong) {
  struct Case {
    const char* part;  // of the message
    absl::StatusCode code;
    std::function<void(TestGguf&)> breaks;
  };
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss, kUnimplemented = absl::StatusCode::kUnimplemented;
  constexpr uint64_t kHuge = uint64_t{1} << 62;
  const std::vector<Case> cases = {
      {"not a GGUF file", kDataLoss, [](TestGguf& g) { g.magic = "GGML"; }},
      {"version 1", kUnimplemented, [](TestGguf& g) { g.version = 1; }},
      {"big-endian", kUnimplemented, [](TestGguf& g) { g.version = 0x03000000; }},
      {"claims 4611686018427387904 tensors", kDataLoss, [=](TestGguf& g) { g.tensor_count = kHuge; }},
      {"claims 4611686018427387904 metadata", kDataLoss, [=](TestGguf& g) { g.metadata_count = kHuge; }},
      {"claims 1000 tensors", kDataLoss, [](TestGguf& g) { g.tensor_count = 1000; }},
      {"claims", kDataLoss, [](TestGguf& g) { g.metadata_count = 2; }},
      {"\"general.architecture\" is there twice", kDataLoss, [](TestGguf& g) { g.metadata.push_back(g.metadata[0]); }},
      {"empty key", kDataLoss, [](TestGguf& g) { g.metadata.push_back(CountEntry("", 1)); }},
      {"unknown type 13", kDataLoss, [](TestGguf& g) { g.metadata.push_back(Entry("k", 13, Bytes<uint64_t>(0))); }},
      {"boolean with the value 2", kDataLoss, [](TestGguf& g) { g.metadata.push_back(Entry("k", 7, "\x02")); }},
      {"claims 4611686018427387904 bytes", kDataLoss,
       [=](TestGguf& g) { g.metadata.push_back(Entry("k", 8, Bytes(kHuge))); }},
      {"claims 4611686018427387904 values", kDataLoss,
       [=](TestGguf& g) { g.metadata.push_back(Entry("k", 9, Bytes<uint32_t>(4) + Bytes(kHuge))); }},
      {"claims 4611686018427387904 strings", kDataLoss,
       [=](TestGguf& g) { g.metadata.push_back(Entry("k", 9, Bytes<uint32_t>(8) + Bytes(kHuge))); }},
      {"array of arrays", kUnimplemented,
       [](TestGguf& g) { g.metadata.push_back(Entry("k", 9, Bytes<uint32_t>(9) + Bytes<uint64_t>(1))); }},
      {"array of unknown type 77", kDataLoss,
       [](TestGguf& g) { g.metadata.push_back(Entry("k", 9, Bytes<uint32_t>(77) + Bytes<uint64_t>(1))); }},
      {"tensor \"a\" is there twice", kDataLoss, [](TestGguf& g) { g.tensors[1].name = "a"; }},
      {"empty name", kDataLoss, [](TestGguf& g) { g.tensors[1].name = ""; }},
      {"0 dimensions", kDataLoss, [](TestGguf& g) { g.tensors[0].dimensions = {}; }},
      {"5 dimensions", kDataLoss,
       [](TestGguf& g) {
         g.tensors[0].dimensions = {1, 1, 1, 1, 1};
       }},
      {"a dimension of 0", kDataLoss,
       [](TestGguf& g) {
         g.tensors[0].dimensions = {32, 0};
       }},
      {"a dimension of 18446744073709551615", kDataLoss, [](TestGguf& g) { g.tensors[0].dimensions = {UINT64_MAX}; }},
      {"larger than the file", kDataLoss,
       [=](TestGguf& g) {
         g.tensors[0].dimensions = {kHuge, kHuge};
       }},
      {"larger than the file", kDataLoss,
       [](TestGguf& g) {
         g.tensors[0].dimensions = {uint64_t{1} << 32, uint64_t{1} << 30};
       }},  // 4 x 2^62: wraps to 0
      {"not a multiple of 32", kDataLoss,
       [](TestGguf& g) {
         g.tensors[1].dimensions = {16, 4};
       }},
      {"unknown type 4000", kUnimplemented, [](TestGguf& g) { g.tensors[0].type = 4000; }},
      {"lies at offset 8, not a multiple of 32", kDataLoss, [](TestGguf& g) { g.tensors[0].offset = 8; }},
      {"\"a\" and \"b\" overlap", kDataLoss, [](TestGguf& g) { g.tensors[1].offset = 224; }},
      {"overlap", kDataLoss, [](TestGguf& g) { g.tensors[1].offset = 0; }},
      {"past the end of the file", kDataLoss, [](TestGguf& g) { g.tensors[1].offset = 288; }},
      {"past the end of the file", kDataLoss, [](TestGguf& g) { g.tensors[1].offset = UINT64_MAX - 31; }},
      {"past the end of the file", kDataLoss, [](TestGguf& g) { g.data_bytes -= 1; }},
      {"general.alignment is 48", kDataLoss,
       [](TestGguf& g) { g.metadata.push_back(CountEntry("general.alignment", 48)); }},
      {"general.alignment is 0", kDataLoss,
       [](TestGguf& g) { g.metadata.push_back(CountEntry("general.alignment", 0)); }},
      {"general.alignment", kDataLoss,
       [](TestGguf& g) { g.metadata.push_back(StringEntry("general.alignment", "32")); }},
  };
  for (const Case& test : cases) {
    TestGguf gguf = TwoTensors();
    test.breaks(gguf);
    const auto file = GgufFile::Open(WriteTemporary(gguf.Build()));
    EXPECT_EQ(file.status().code(), test.code) << test.part << ": " << file.status();
    EXPECT_NE(file.status().ToString().find(test.part), std::string::npos) << test.part << ": " << file.status();
  }
}

TEST(Gguf, RefusesTypesItCannotRead) {
  TestGguf gguf = TwoTensors();
  gguf.tensors[0] = {"k_quant", {256, 1}, 10, 0};  // 84 bytes
  gguf.tensors[1] = {"three", {32, 2, 2}, 2, 256};
  const auto file = GgufFile::Open(WriteTemporary(gguf.Build()));
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status k_quant = (*file)->Tensor("k_quant").status(), three = (*file)->Tensor("three").status();
  EXPECT_EQ(k_quant.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(k_quant.ToString().find("\"k_quant\" is of type Q2_K"), std::string::npos) << k_quant;
  EXPECT_EQ(three.code(), absl::StatusCode::kUnimplemented);
}

TEST(Gguf, RefusesWhatIsNoFile) {
  EXPECT_EQ(GgufFile::Open(testing::TempDir() + "/no/such.gguf").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GgufFile::Open(testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GgufFile::Open(WriteTemporary("")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GgufFile::Open(WriteTemporary("GG")).status().code(), absl::StatusCode::kDataLoss);
  const std::string pipe = absl::StrCat(testing::TempDir(), "checkpoint_pipe_", getpid());
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(GgufFile::Open(pipe).status().code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::remove(pipe);
}

TEST(GgufLanguageModel, NamesWhatIsWrong) {
  const std::string golden = ReadBytes(kGoldens + "small_llama.gguf");
  // Replaces text in the header by text of the same length.
  const auto expect = [&](const std::string& from, const std::string& to, absl::StatusCode code,
                          const std::string& part) {
    ASSERT_EQ(from.size(), to.size());
    std::string bytes = golden;
    ASSERT_NE(bytes.find(from), std::string::npos) << from;
    bytes.replace(bytes.find(from), from.size(), to);
    const auto file = GgufFile::Open(WriteTemporary(bytes));
    ASSERT_TRUE(file.ok()) << file.status();
    absl::Status status;
    if (const auto config = ReadGgufConfig(**file); !config.ok()) {
      status = config.status();
    } else if (const auto weights = ReadGgufWeights(**file); !weights.ok()) {
      status = weights.status();
    } else {
      status = CreateLanguageModel(*config, *weights, language::Dtype::kAuto).status();
    }
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.ToString().find(part), std::string::npos) << status;
  };
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss, kUnimplemented = absl::StatusCode::kUnimplemented,
                 kInvalid = absl::StatusCode::kInvalidArgument;
  expect(StringEntry("general.architecture", "llama"), StringEntry("general.architecture", "mamba"), kUnimplemented,
         "\"mamba\"");
  expect("blk.0.attn_q.weight", "blk.1.attn_q.weight", kDataLoss, "no tensor \"blk.0.attn_q.weight\"");
  expect("blk.0.ffn_up.weight", "blk.0.ffn_ab.weight", kDataLoss, "no tensor \"blk.0.ffn_up.weight\"");
  expect("output.weight", "outpux.weight", kDataLoss, "unknown tensor outpux.weight");
  expect("llama.block_count", "llama.block_xount", kDataLoss, "llama.block_count");
  const auto count = [](const std::string& key, uint32_t value) { return CountEntry("llama." + key, value); };
  expect(count("embedding_length", 64), count("embedding_length", 32), kInvalid, "has shape [40, 64]");
  expect(count("attention.head_count", 2), count("attention.head_count", 0), kDataLoss, "0 rotary heads");
  expect(count("attention.head_count", 2), count("attention.head_count", 3), kDataLoss, "do not divide");
  expect(count("attention.head_count_kv", 1), count("attention.head_count_kv", 2), kInvalid, "k_proj");
  expect(count("block_count", 1), count("block_count", 13), kDataLoss, "blk.1.attn_norm.weight");
  expect(count("block_count", 1), count("block_count", 2), kDataLoss, "blk.1.attn_norm.weight");
  expect(count("block_count", 1), count("block_count", UINT32_MAX), kDataLoss, "blk.1.attn_norm.weight");
  expect(count("feed_forward_length", 96), count("feed_forward_length", 97), kInvalid, "gate_proj");
}

// Whatever a file holds, using it ends in values or in a Status.
bool UseAll(const std::string& path) {
  const auto file = GgufFile::Open(path);
  if (!file.ok()) {
    EXPECT_FALSE(file.status().message().empty());
    return false;
  }
  for (const std::string_view key : (*file)->keys()) {
    (void)(*file)->Integer(key);
    (void)(*file)->Number(key);
    (void)(*file)->Strings(key);
    (void)(*file)->Integers(key);
    (void)(*file)->Numbers(key);
  }
  for (const GgufTensorInfo& tensor : (*file)->tensors()) {
    const auto weight = (*file)->Tensor(tensor.name);
    if (weight.ok()) (void)Values(*weight).sum().item<float>();
  }
  const auto config = ReadGgufConfig(**file);
  if (const auto weights = ReadGgufWeights(**file); weights.ok()) {
    for (const auto& [name, weight] : *weights) (void)Values(weight).sum().item<float>();
    if (config.ok()) (void)CreateLanguageModel(*config, *weights, language::Dtype::kAuto);
  }
  if (const auto tokenizer = LoadGgufTokenizer(**file); tokenizer.ok())
    (void)(*tokenizer)->EncodeWithSpecials("ab <end> 12 ab");
  return true;
}

TEST(Gguf, EveryTruncationIsRefused) {
  for (const std::string& whole : {ReadBytes(kGoldens + "small_llama.gguf"), WithTokenizer().Build()}) {
    ASSERT_TRUE(UseAll(WriteTemporary(whole)));
    const size_t step = whole.size() > 4096 ? 7 : 1;
    for (size_t size = 1; size < whole.size(); size += size < 2048 ? 1 : step) {
      ASSERT_FALSE(UseAll(WriteTemporary(whole.substr(0, size))))
          << "cut to " << size << " of " << whole.size() << " bytes";
    }
  }
}

TEST(Gguf, MutationsNeverCrash) {
  std::mt19937_64 random(20240917);
  const uint64_t kValues[] = {0,
                              1,
                              2,
                              31,
                              32,
                              0x7F,
                              0x80,
                              0xFF,
                              0x7FFFFFFF,
                              0x80000000,
                              0xFFFFFFFF,
                              uint64_t{1} << 32,
                              uint64_t{1} << 62,
                              uint64_t{1} << 63,
                              UINT64_MAX,
                              UINT64_MAX - 31};
  int opened = 0, refused = 0;
  for (const std::string& whole : {ReadBytes(kGoldens + "small_llama.gguf"), WithTokenizer().Build()}) {
    // Metadata and directory; mutated data are just other values.
    const size_t header = std::min<size_t>(whole.size(), 1800);
    for (int i = 0; i < 1500; ++i) {
      std::string bytes = whole;
      for (uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
        const size_t position = random() % header;
        if (random() % 2 == 0) {
          bytes[position] = static_cast<char>(random() % 3 == 0 ? random() : bytes[position] ^ (1 << random() % 8));
        } else {
          const uint64_t value = kValues[random() % std::size(kValues)];
          const size_t width = std::min<size_t>(random() % 2 == 0 ? 4 : 8, bytes.size() - position);
          std::memcpy(bytes.data() + position, &value, width);
        }
      }
      ++(UseAll(WriteTemporary(bytes)) ? opened : refused);
    }
  }
  std::printf("3000 mutated files: %d opened, %d refused\n", opened, refused);
  EXPECT_GT(opened, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace blazon::service
