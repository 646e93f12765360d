// SmolLM2-135M-Instruct from its GGUF, against transformers and llama.cpp on the same file.
#include "service/checkpoint/language_model_loader.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/scheduler.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/tokenizer_loader.h"

namespace blazon::service {
namespace {

using language::Dtype;
using language::LanguageModel;
using language::TokenId;

const char kRemedy[] = "; goldens are made by: python tests/reference/llama_goldens.py";

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TensorMap Goldens() {
  auto tensors = ReadSafetensors(absl::StrCat(BLAZON_SOURCE_DIR, "/tests/goldens/smollm2.safetensors"));
  EXPECT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
  return *std::move(tensors);
}

class SmolLm2Test : public testing::TestWithParam<Dtype> {
 protected:
  static const LoadedLanguageModel& Load(Dtype dtype) {
    static auto& loaded = *new std::map<Dtype, LoadedLanguageModel>;
    auto found = loaded.find(dtype);
    if (found == loaded.end()) {
      auto model = LoadLanguageModel(
          absl::StrCat(BLAZON_SOURCE_DIR, "/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"),
          {.dtype = dtype});
      if (!model.ok()) ADD_FAILURE() << model.status();
      found = loaded.emplace(dtype, *std::move(model)).first;
    }
    return found->second;
  }
};

TEST_P(SmolLm2Test, LogitsAgreeWithTransformers) {
  at::NoGradGuard no_grad;
  const auto goldens = Goldens();
  const LanguageModel& model = *Load(GetParam()).model;
  double worst = 0;
  int prompts = 0;
  for (; goldens.contains(absl::StrCat(prompts, ".prompt")); ++prompts) {
    const at::Tensor prompt = goldens.at(absl::StrCat(prompts, ".prompt"));
    const at::Tensor golden = goldens.at(absl::StrCat(prompts, ".logits"));  // [2, every 61st]: first and last position
    const at::Tensor hidden = model.Forward({{.tokens = prompt}});
    const at::Tensor logits = model.Logits(hidden.index_select(0, at::tensor({int64_t{0}, prompt.size(0) - 1})));
    EXPECT_GT(golden.std().item<double>(), 1.0);
    const double difference =
        MaxDifference(logits.index_select(1, at::arange(0, model.config().vocabulary_size, 61)), golden);
    worst = std::max(worst, difference);
  }
  EXPECT_EQ(prompts, 10);
  EXPECT_LE(worst, 1e-3) << kRemedy;
  std::printf("largest logit difference: %.2e\n", worst);
  RecordProperty("largest_logit_difference", absl::StrCat(worst));
}

TEST_P(SmolLm2Test, GreedyTextIsThatOfTransformers) {
  at::NoGradGuard no_grad;
  const auto goldens = Goldens();
  const LoadedLanguageModel& loaded = Load(GetParam());
  for (int i = 0; goldens.contains(absl::StrCat(i, ".prompt")); ++i) {
    const at::Tensor golden = goldens.at(absl::StrCat(i, ".greedy"));
    const auto state = loaded.model->NewState();
    at::Tensor tokens = goldens.at(absl::StrCat(i, ".prompt"));
    std::vector<TokenId> text, expected;
    for (int64_t step = 0; step < golden.size(0); ++step) {
      const at::Tensor hidden = loaded.model->Forward({{.tokens = tokens, .state = state.get()}});
      tokens = loaded.model->Logits(hidden.narrow(0, hidden.size(0) - 1, 1)).argmax(-1);  // [1]
      text.push_back(static_cast<TokenId>(tokens.item<int64_t>()));
      expected.push_back(static_cast<TokenId>(golden[step].item<int64_t>()));
    }
    EXPECT_EQ(loaded.tokenizer->Decode(text, false), loaded.tokenizer->Decode(expected, false))
        << "prompt " << i << kRemedy;
    EXPECT_EQ(text, expected) << "prompt " << i << kRemedy;
  }
}

// llama.cpp rounds activations to 8 bits for its products with quantised weights; with the same weights in F32 it does
// not. 32 rows: the last 8 of 4 prompts.
TEST_P(SmolLm2Test, LogitsAgreeWithLlamaCpp) {
  at::NoGradGuard no_grad;
  const char remedy[] = "; goldens are made by: python tests/reference/llama_cpp_goldens.py";
  const auto read = ReadSafetensors(absl::StrCat(BLAZON_SOURCE_DIR, "/tests/goldens/llama_cpp.safetensors"));
  ASSERT_TRUE(read.ok()) << read.status() << remedy;
  const LanguageModel& model = *Load(GetParam()).model;
  const struct {
    const char* kind;
    const char* name;
    double bound;         // of the largest difference
    int64_t equal_least;  // rows whose best token is the same
  } cases[] = {{"fp32", "weights in F32", 2e-4, 32}, {"file", "8-bit activations", 1.2, 30}};
  std::printf("| SmolLM2's GGUF against llama.cpp, dtype %s\n", GetParam() == Dtype::kFp32 ? "fp32" : "auto");
  for (const auto& each : cases) {
    double worst = 0;
    int64_t equal = 0, rows = 0;
    for (int i = 0; read->contains(absl::StrCat(i, ".prompt")); ++i) {
      const auto golden = [&](const char* what) { return read->at(absl::StrCat(i, ".", each.kind, ".", what)); };
      const at::Tensor best = golden("best").to(at::kLong);  // [8, 64], best first
      const at::Tensor hidden = model.Forward({{.tokens = read->at(absl::StrCat(i, ".prompt"))}});
      const at::Tensor logits = model.Logits(hidden.narrow(0, hidden.size(0) - best.size(0), best.size(0)));
      EXPECT_GT(golden("values").std().item<double>(), 1.0) << "the golden would be trivial";
      const at::Tensor columns = at::arange(0, logits.size(1), 997);
      worst = std::max({worst, MaxDifference(logits.gather(1, best), golden("values")),
                        MaxDifference(logits.index_select(1, columns), golden("columns"))});
      equal += (logits.argmax(1) == best.select(1, 0)).sum().item<int64_t>();
      rows += best.size(0);
    }
    EXPECT_EQ(rows, 32) << remedy;
    EXPECT_LE(worst, each.bound) << each.name << remedy;
    EXPECT_GE(equal, each.equal_least) << each.name << remedy;
    std::printf("|   %-18s largest difference %.1e (at most %.1e), best token equal in %d of %d rows\n", each.name,
                worst, each.bound, static_cast<int>(equal), static_cast<int>(rows));
  }
}

// Where llama.cpp and the `tokenizers` package disagree, Blazon follows the package (tests/language/tokenizer_test.cc).
TEST(LanguageModelLoaderTest, TokensAreThoseOfLlamaCpp) {
  const char remedy[] = "; goldens are made by: python tests/reference/llama_cpp_goldens.py and tokenizer_goldens.py";
  const std::string folder = absl::StrCat(BLAZON_SOURCE_DIR, "/tests/goldens/");
  const auto theirs = nlohmann::json::parse(std::ifstream(folder + "llama_cpp.json"), nullptr, false);
  const auto package = nlohmann::json::parse(std::ifstream(folder + "tokenizer.json"), nullptr, false);
  ASSERT_TRUE(theirs.is_array() && package.is_object()) << remedy;
  const nlohmann::json& strings = package["strings"];
  ASSERT_EQ(theirs.size(), strings.size()) << remedy;
  const auto file =
      GgufFile::Open(absl::StrCat(BLAZON_SOURCE_DIR, "/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  const auto tokenizer = LoadGgufTokenizer(**file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  using Ids = std::vector<TokenId>;
  int equal = 0, disputed = 0;
  for (size_t i = 0; i < theirs.size(); ++i) {
    const std::string text = theirs[i]["text"];
    const Ids plain = theirs[i]["ids"], special = theirs[i].value("with_specials", plain);
    const Ids package_plain = strings[i]["smollm2"],
              package_special = strings[i].value("smollm2_with_specials", package_plain);
    if (plain == package_plain) {
      EXPECT_EQ((*tokenizer)->Encode(text), plain) << text << remedy;
    }
    if (special == package_special) {
      EXPECT_EQ((*tokenizer)->EncodeWithSpecials(text), special) << text << remedy;
    }
    const bool same = plain == package_plain && special == package_special;
    equal += same;
    disputed += !same;
  }
  std::printf("| tokens of llama.cpp: %d texts equal; on %d more it disagrees with the tokenizers package\n", equal,
              disputed);
  EXPECT_GE(equal, 380);
}

// Sequences that join while others run get the text that they get alone.
TEST_P(SmolLm2Test, BatchedTextIsUnbatchedText) {
  const auto goldens = Goldens();
  const LoadedLanguageModel& loaded = Load(GetParam());
  language::Scheduler scheduler(*loaded.model, *loaded.tokenizer,
                                {.max_sequences = 3, .prefill_chunk = 8, .end_tokens = loaded.end_tokens});
  struct Sink : language::TextSink {
    bool OnText(std::string_view piece) override {
      text.append(piece);
      return true;
    }
    void OnDone(const absl::StatusOr<language::GenerationResult>& result) override { done.set_value(result.ok()); }
    std::string text;
    std::promise<bool> done;
  };
  std::vector<std::shared_ptr<Sink>> sinks;
  constexpr int kSequences = 5;
  for (int i = 0; i < kSequences; ++i) {
    const at::Tensor prompt = goldens.at(absl::StrCat(i, ".prompt"));
    language::GenerationRequest request;
    request.prompt = {
        std::vector<TokenId>(prompt.const_data_ptr<int64_t>(), prompt.const_data_ptr<int64_t>() + prompt.numel())};
    request.options.max_new_tokens = 12 + 3 * i;
    request.sink = sinks.emplace_back(std::make_shared<Sink>());
    ASSERT_TRUE(scheduler.Submit(request).ok());
  }
  for (int i = 0; i < kSequences; ++i) {
    EXPECT_TRUE(sinks[i]->done.get_future().get());
    const at::Tensor golden = goldens.at(absl::StrCat(i, ".greedy")).narrow(0, 0, 12 + 3 * i);
    const std::vector<TokenId> alone(golden.const_data_ptr<int64_t>(),
                                     golden.const_data_ptr<int64_t>() + golden.numel());
    EXPECT_EQ(sinks[i]->text, loaded.tokenizer->Decode(alone, true)) << "prompt " << i << kRemedy;
  }
}

TEST(LanguageModelLoaderTest, KnowsItsDtypesAndSaysWhatIsMissing) {
  EXPECT_EQ(*ParseDtype("auto"), Dtype::kAuto);
  EXPECT_EQ(*ParseDtype("fp32"), Dtype::kFp32);
  EXPECT_EQ(*ParseDtype("bf16"), Dtype::kBf16);
  EXPECT_EQ(*ParseDtype("fp16"), Dtype::kFp16);
  EXPECT_EQ(ParseDtype("int3").status().message(), "dtype \"int3\" is unknown; use auto, fp32, bf16 or fp16");
  EXPECT_EQ(LoadLanguageModel("/no/such/model.gguf").status().code(), absl::StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, SmolLm2Test, testing::Values(Dtype::kFp32, Dtype::kAuto),
                         [](const auto& info) { return info.param == Dtype::kFp32 ? "fp32" : "auto"; });

}  // namespace
}  // namespace blazon::service
