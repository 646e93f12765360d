// Gemma 3 270M from its 4-bit GGUF against transformers on the same file. Opt-in: `make gemma` fetches the weights.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "language/scheduler.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {
namespace {

using language::TokenId;
using nlohmann::json;

const char kRemedy[] = "; goldens are made by: python tests/reference/gemma_goldens.py models/gemma-3-270m";

TEST(GemmaTest, TokensLogitsAndGreedyTextsAreThoseOfTransformers) {
  const std::filesystem::path file = BLAZON_SOURCE_DIR "/models/gemma-3-270m/gemma-3-270m-q4_k_m.gguf";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the weights are not there; `make gemma` fetches them";
  at::NoGradGuard no_grad;
  const auto loaded = LoadLanguageModel(file, {.dtype = language::Dtype::kFp32});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->chat_template.status().code(), absl::StatusCode::kFailedPrecondition) << "a base model";
  language::Scheduler scheduler(*loaded->model, *loaded->tokenizer, {.end_tokens = loaded->end_tokens});
  const json goldens = json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/gemma3_270m.json"));
  ASSERT_EQ(goldens.size(), 10u);
  for (const json& golden : goldens) {
    const auto text = golden["prompt"].get<std::string>();
    const auto ids = golden["ids"].get<std::vector<TokenId>>();
    std::vector<TokenId> encoded(loaded->tokenizer->prefix().begin(), loaded->tokenizer->prefix().end());
    const std::vector<TokenId> rest = loaded->tokenizer->Encode(text);
    encoded.insert(encoded.end(), rest.begin(), rest.end());
    EXPECT_EQ(encoded, ids) << text << kRemedy;

    const at::Tensor tokens = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
    const at::Tensor hidden = loaded->model->Forward({{.tokens = tokens}});
    const at::Tensor logits = loaded->model->Logits(hidden.narrow(0, hidden.size(0) - 1, 1)).squeeze(0);
    const auto expected = golden["logits"].get<std::vector<float>>();
    constexpr int64_t kStep = 997;  // as in the script
    double worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(logits[static_cast<int64_t>(i) * kStep].item<double>() - expected[i]));
    }
    EXPECT_LE(worst, 1e-3) << text << kRemedy;

    language::GenerationRequest request;
    request.prompt = {ids};
    request.options.max_new_tokens = 64;
    request.options.allow_repetition = true;  // as transformers does
    const auto generated = scheduler.Generate(std::move(request));
    ASSERT_TRUE(generated.ok()) << generated.status();
    EXPECT_EQ(generated->first, loaded->tokenizer->Decode(golden["greedy"].get<std::vector<TokenId>>(), true))
        << text << kRemedy;
  }
}

}  // namespace
}  // namespace blazon::service
