// Every family of vision-language models against transformers, from folders as save_pretrained writes them: one table,
// on the CPU, on a device that finds what would go wrong on a GPU, and on a GPU where there is one.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/checkpoint/checkpoint_folder.h"
#include "service/checkpoint/compute_device.h"
#include "service/checkpoint/safetensors.h"
#include "service/families/vision_language_models.h"
#include "tests/language/far_device.h"
#include "tests/language/hash_model.h"
#include "tests/service/small_checkpoint.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::Dtype;
using language::TokenId;
using nlohmann::json;

const char kRemedy[] = "; goldens are made by: python tests/reference/vision_language_goldens.py";
constexpr double kTolerance = 1e-4;

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.cpu().to(at::kDouble) - b.cpu().to(at::kDouble)).abs().max().item<double>();
}

const json& Cases() { return VisionLanguageCases(); }

at::Tensor Golden(const std::string& name, const char* what) {
  static const TensorMap& goldens = *new TensorMap([] {
    auto tensors = ReadSafetensors(BLAZON_SOURCE_DIR "/tests/goldens/vision_language.safetensors");
    EXPECT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
    return *std::move(tensors);
  }());
  return goldens.at(absl::StrCat(name, ".", what));
}

std::vector<int64_t> Values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.const_data_ptr<int64_t>(), flat.const_data_ptr<int64_t>() + flat.numel()};
}

std::vector<TokenId> PromptIds(const std::string& name) {
  const std::vector<int64_t> wide = Values(Golden(name, "ids"));
  return {wide.begin(), wide.end()};
}

class VisionLanguageParityTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "vision_language_parity_test_", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  absl::StatusOr<VisionLanguageModel> Load(const json& config, const TensorMap& weights,
                                           const language::Placement& placement = Dtype::kFp32) {
    const fs::path folder = folder_ / absl::StrCat("model", count_++);
    fs::create_directories(folder);
    std::ofstream(folder / "config.json") << config.dump(2);
    EXPECT_TRUE(WriteSafetensors(folder / "model.safetensors", weights, {{"format", "pt"}}).ok());
    auto read = ReadCheckpointFolder(folder);
    if (!read.ok()) return read.status();
    return CreateVisionLanguageModel(read->config, read->weights, placement);
  }

  // One family on a device; prints its row.
  void Compare(const std::string& name, at::Device device);

  fs::path folder_;
  int count_ = 0;
};

at::Tensor Pixels(const json& made) { return Uniform("pixels", made["pixels"].get<std::vector<int64_t>>()); }

absl::StatusOr<at::Tensor> EncodeCase(const VisionLanguageModel& model, const json& made) {
  at::Tensor mask;
  if (made.contains("pixel_mask")) {  // height and width of each tile that belong to its picture
    const at::Tensor pixels = Pixels(made);
    mask = at::zeros({pixels.size(0), pixels.size(2), pixels.size(3)}, at::kBool);
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      mask[i].narrow(0, 0, made["pixel_mask"][i][0]).narrow(1, 0, made["pixel_mask"][i][1]).fill_(true);
    }
  }
  return model.images->EncodePixels(Pixels(made), mask);
}

// What a prompt of text and image tokens is to the language model.
struct Embedded {
  at::Tensor embeddings;  // [T, D]
  at::Tensor text_rows;   // int64, where there is text
  std::vector<language::TokenSpan> spans;
};

Embedded Embed(const VisionLanguageModel& model, const language::Prompt& prompt) {
  Embedded result;
  std::vector<at::Tensor> pieces;
  std::vector<int64_t> text_rows;
  int64_t row = 0;
  for (const language::PromptPart& part : prompt) {
    if (const auto* ids = std::get_if<std::vector<TokenId>>(&part)) {
      const std::vector<int64_t> wide(ids->begin(), ids->end());
      pieces.push_back(model.language->Embed(at::tensor(wide, at::kLong)));
      for (size_t i = 0; i < ids->size(); ++i) text_rows.push_back(row + static_cast<int64_t>(i));
    } else {
      pieces.push_back(std::get<at::Tensor>(part));
    }
    row += pieces.back().size(0);
  }
  result.embeddings = at::cat(pieces);
  result.text_rows = at::tensor(text_rows, at::kLong);
  result.spans = BidirectionalSpans(model.layout.attention, prompt);
  return result;
}

// Hidden states of the prompt of a case, [T, D], and its image tokens, [B, T, D].
struct Read {
  Embedded prompt;
  at::Tensor image_tokens, hidden;
};

Read ReadPrompt(const VisionLanguageModel& model, const std::string& name, const json& made,
                language::ModelState* state = nullptr) {
  Read read;
  const auto tokens = EncodeCase(model, made);
  EXPECT_TRUE(tokens.ok()) << name << ": " << tokens.status();
  if (!tokens.ok()) return read;
  read.image_tokens = *tokens;
  if (made["config"].value("model_type", "") == "blip") {  // the picture is the decoder's memory, not part of the text
    std::unique_ptr<language::ModelState> own;
    if (state == nullptr) {
      own = model.language->NewState();
      state = own.get();
    }
    model.language->Forward({{.embeddings = (*tokens)[0], .state = state}});
    const at::Tensor ids = Golden(name, "ids");
    read.hidden = model.language->Forward({{.tokens = ids, .state = state}});
    read.prompt.text_rows = at::arange(ids.size(0), at::kLong);
    return read;
  }
  ImageLayout layout = model.layout;
  if (layout.image_token < 0) layout.image_token = made["image_token"];  // as its tokenizer would say
  const auto prompt = FillImageSlots(layout, PromptIds(name), tokens->unbind(0));
  EXPECT_TRUE(prompt.ok()) << name << ": " << prompt.status();
  if (!prompt.ok()) return read;
  read.prompt = Embed(model, *prompt);
  read.hidden = model.language->Forward(
      {{.embeddings = read.prompt.embeddings, .state = state, .bidirectional = read.prompt.spans}});
  return read;
}

at::Tensor TextLogits(const VisionLanguageModel& model, const Read& read) {
  return model.language->Logits(read.hidden.index_select(0, read.prompt.text_rows.to(read.hidden.device())));
}

std::vector<int64_t> Greedy(const VisionLanguageModel& model, const std::string& name, const json& made,
                            int64_t count) {
  const auto state = model.language->NewState();
  at::Tensor hidden = ReadPrompt(model, name, made, state.get()).hidden;
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor next = model.language->Logits(hidden.narrow(0, hidden.size(0) - 1, 1)).argmax(-1);
    tokens.push_back(next.item<int64_t>());
    hidden = model.language->Forward({{.tokens = next, .state = state.get()}});
  }
  return tokens;
}

// The prompt as the scheduler takes it.
absl::StatusOr<language::GenerationRequest> ToRequest(const VisionLanguageModel& model, const std::string& name,
                                                      const json& made, const at::Tensor& tiles, int64_t count) {
  language::GenerationRequest request;
  request.options.max_new_tokens = count;
  request.options.ignore_eos = request.options.allow_repetition = true;
  if (model.language->config().memory_width > 0) {
    request.prompt = {tiles[0], PromptIds(name)};
    return request;
  }
  ImageLayout layout = model.layout;
  if (layout.image_token < 0) layout.image_token = made["image_token"];
  auto prompt = FillImageSlots(layout, PromptIds(name), tiles.unbind(0));
  if (!prompt.ok()) return prompt.status();
  request.prompt = *std::move(prompt);
  request.bidirectional = BidirectionalSpans(layout.attention, request.prompt);
  return request;
}

// Greedy tokens of the case through a scheduler that reads `chunk` tokens a step, beside requests of text and of the
// same pictures; all of them must come out as they do alone.
std::vector<int64_t> GreedyInABatch(const VisionLanguageModel& model, const std::string& name, const json& made,
                                    int64_t count, int64_t chunk) {
  const language::PieceTokenizer tokenizer(
      std::vector<std::string>(static_cast<size_t>(model.language->config().vocabulary_size) + 1, "x"));
  const auto tiles = EncodeCase(model, made);
  EXPECT_TRUE(tiles.ok()) << tiles.status();
  const auto request = ToRequest(model, name, made, *tiles, count);
  EXPECT_TRUE(request.ok()) << request.status();
  language::GenerationRequest text;  // words alone, where the model takes them
  text.prompt = {std::vector<TokenId>{3, 1, 4, 1, 5, 9, 2, 6}};
  text.options = request->options;
  if (model.language->config().memory_width > 0) {
    text.prompt.insert(text.prompt.begin(), at::Tensor((*tiles)[0] * -1.0));
  } else {
    text.bidirectional = BidirectionalSpans(model.layout.attention, text.prompt);
  }
  const auto words = [](const absl::StatusOr<language::GenerationResult>& result) {
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::vector<int64_t>(result->tokens.begin(), result->tokens.end()) : std::vector<int64_t>();
  };
  language::Scheduler scheduler(*model.language, tokenizer, {.prefill_chunk = chunk});
  const std::vector<int64_t> text_alone = words(scheduler.Generate(text)->second);
  std::vector<std::shared_ptr<language::Recorder>> sinks;
  for (const bool pictures : {false, true, false, true}) {
    language::GenerationRequest each = pictures ? *request : text;
    sinks.push_back(std::make_shared<language::Recorder>());
    each.sink = sinks.back();
    EXPECT_TRUE(scheduler.Submit(std::move(each)).ok());
  }
  EXPECT_EQ(words(sinks[0]->Wait()), text_alone) << name;
  EXPECT_EQ(words(sinks[2]->Wait()), text_alone) << name;
  const std::vector<int64_t> first = words(sinks[1]->Wait()), second = words(sinks[3]->Wait());
  EXPECT_EQ(first, second) << name;
  return first;
}

// Captions a second of eight pictures at once, encoding included, each of 32 tokens: the small model's, which says what
// a step costs beside its arithmetic.
double CaptionsPerSecond(const VisionLanguageModel& model, const std::string& name, const json& made) {
  constexpr int64_t kPictures = 8, kCaptionTokens = 32;
  const language::PieceTokenizer tokenizer(
      std::vector<std::string>(static_cast<size_t>(model.language->config().vocabulary_size) + 1, "x"));
  language::Scheduler scheduler(*model.language, tokenizer, {});
  double seconds = 0;
  for (const bool measured : {false, true}) {  // the first round loads kernels
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::shared_ptr<language::Recorder>> sinks;
    for (int64_t i = 0; i < kPictures; ++i) {
      const auto tiles = EncodeCase(model, made);
      EXPECT_TRUE(tiles.ok()) << tiles.status();
      auto request = ToRequest(model, name, made, *tiles, kCaptionTokens);
      EXPECT_TRUE(request.ok()) << request.status();
      request->sink = sinks.emplace_back(std::make_shared<language::Recorder>());
      EXPECT_TRUE(scheduler.Submit(*std::move(request)).ok());
    }
    for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
    if (measured) seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return kPictures / seconds;
}

void VisionLanguageParityTest::Compare(const std::string& name, at::Device device) {
  at::NoGradGuard no_grad;
  const json& made = Cases()[name];
  const auto model = Load(made["config"], CaseWeights(made), {Dtype::kFp32, device});
  ASSERT_TRUE(model.ok()) << name << ": " << model.status();
  if (model->layout.image_token >= 0) {
    EXPECT_EQ(model->layout.image_token, made["image_token"].get<TokenId>()) << name;
  }
  EXPECT_EQ(model->layout.tile_tokens, Golden(name, "image_tokens").size(1)) << name;
  const Read read = ReadPrompt(*model, name, made);
  ASSERT_TRUE(read.hidden.defined());
  EXPECT_EQ(read.image_tokens.device(), device);
  EXPECT_EQ(read.hidden.device(), device);
  EXPECT_GT(Golden(name, "logits").std().item<double>(), 0.2) << "the golden would be trivial";
  const double image_tokens = MaxDifference(read.image_tokens, Golden(name, "image_tokens"));
  const double logits = MaxDifference(TextLogits(*model, read), Golden(name, "logits"));
  EXPECT_LE(image_tokens, kTolerance) << name << kRemedy;
  EXPECT_LE(logits, kTolerance) << name << kRemedy;

  const auto older = Load(made["legacy_config"], LegacyCaseWeights(made), {Dtype::kFp32, device});
  ASSERT_TRUE(older.ok()) << name << " in the older spelling: " << older.status();
  const double spelled = MaxDifference(TextLogits(*older, ReadPrompt(*older, name, made)), Golden(name, "logits"));
  EXPECT_LE(spelled, kTolerance) << name << " in the older spelling";

  const std::vector<int64_t> expected = Values(Golden(name, "greedy"));
  const std::vector<int64_t> found = Greedy(*model, name, made, static_cast<int64_t>(expected.size()));
  EXPECT_EQ(found, expected) << name << kRemedy;
  bool scheduled = true;  // in chunks of 5 tokens, which every picture is longer than or cut by, and of 256
  for (const int64_t chunk : {5, 256}) {
    const auto batched = GreedyInABatch(*model, name, made, static_cast<int64_t>(expected.size()), chunk);
    EXPECT_EQ(batched, expected) << name << " through the scheduler, " << chunk << " tokens a step" << kRemedy;
    scheduled = scheduled && batched == expected;
  }
  std::printf("%s%-18s %12.1e %10.1e %10.1e %8s %10s", device.is_cuda() ? "| " : "", name.c_str(), image_tokens, logits,
              spelled, found == expected ? "equal" : "DIFFERS", scheduled ? "equal" : "DIFFERS");
  if (device.is_cuda()) std::printf("   %.1f captions/s", CaptionsPerSecond(*model, name, made));
  std::printf("\n");
}

TEST_F(VisionLanguageParityTest, Table) {
  std::printf("%-18s %12s %10s %10s %8s %10s\n", "family", "image tokens", "logits", "older", "greedy", "scheduler");
  for (const auto& [name, made] : Cases().items()) {
    Compare(name, at::kCPU);
    if (HasFatalFailure()) return;
  }
}

class VisionLanguageOnFarDeviceTest : public VisionLanguageParityTest,
                                      public testing::WithParamInterface<std::string> {};
class VisionLanguageOnCudaTest : public VisionLanguageParityTest, public testing::WithParamInterface<std::string> {
 protected:
  static void SetUpTestSuite() { std::printf("| Models with pictures on CUDA, as the language models\n"); }
};

TEST_P(VisionLanguageOnFarDeviceTest, Row) { Compare(GetParam(), language::FarDevice()); }

TEST_P(VisionLanguageOnCudaTest, Row) {
  if (!at::hasCUDA()) {
    std::printf("| %-18s skipped on CUDA\n", GetParam().c_str());
    GTEST_SKIP() << OpenComputeDevice("cuda").status().message();
  }
  const auto device = OpenComputeDevice("cuda");
  ASSERT_TRUE(device.ok()) << device.status();
  Compare(GetParam(), *device);
}

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  for (const auto& [name, made] : Cases().items()) names.push_back(name);
  return names;
}
constexpr auto kRowName = [](const testing::TestParamInfo<std::string>& row) {
  std::string name = row.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
};
INSTANTIATE_TEST_SUITE_P(FarDevice, VisionLanguageOnFarDeviceTest, testing::ValuesIn(CaseNames()), kRowName);
INSTANTIATE_TEST_SUITE_P(Cuda, VisionLanguageOnCudaTest, testing::ValuesIn(CaseNames()), kRowName);

TEST_F(VisionLanguageParityTest, TextAroundTilesIsThatOfTheProcessors) {
  const json& made = Cases()["smolvlm.split"];
  const auto smolvlm = Load(made["config"], CaseWeights(made));
  ASSERT_TRUE(smolvlm.ok()) << smolvlm.status();
  EXPECT_EQ(made["image_texts"].size(), 3u) << kRemedy;
  for (const json& expected : made["image_texts"]) {
    const TileGrid grid = {.rows = expected[0], .columns = expected[1]};
    const auto around = smolvlm->layout.text_around_tiles(grid);
    ASSERT_TRUE(around.ok()) << around.status();
    EXPECT_EQ(absl::StrJoin(*around, "<image>"), expected[2].get<std::string>()) << kRemedy;
  }
  EXPECT_FALSE(smolvlm->layout.text_around_tiles({.rows = 0, .columns = 2}).ok());
  const auto texts = [&](const char* name, const TileGrid& grid) {
    const auto model = Load(Cases()[name]["config"], CaseWeights(Cases()[name]));
    EXPECT_TRUE(model.ok()) << name << ": " << model.status();
    const auto around = model->layout.text_around_tiles(grid);
    return around.ok() ? absl::StrJoin(*around, "|") : std::string(around.status().message());
  };
  EXPECT_EQ(texts("gemma3.scaled", {}), "\n\n<start_of_image>|<end_of_image>\n\n");
  EXPECT_EQ(
      texts("gemma3.scaled", {.rows = 2, .columns = 1}),
      "Here is the original image \n\n<start_of_image>|<end_of_image>\n\n and here are some crops to help you see "
      "better \n\n<start_of_image>|<end_of_image>\n\n \n\n<start_of_image>|<end_of_image>\n\n");
  EXPECT_EQ(texts("nanovlm.first", {}), "|");
  EXPECT_EQ(texts("nanovlm.tiles", {}), "<|global_image|>|");
  EXPECT_EQ(texts("nanovlm.tiles", {.rows = 1, .columns = 2}), "<|global_image|>|<row_1_col_1>|<row_1_col_2>|");
  EXPECT_NE(texts("paligemma.one", {.rows = 2, .columns = 2}).find("this model takes a picture as one"),
            std::string::npos);
}

// How far bf16 moves the logits, as a part of their standard deviation.
TEST_F(VisionLanguageParityTest, Bf16StaysWithinItsBound) {
  at::NoGradGuard no_grad;
  constexpr double kBound = 0.25;
  for (const auto& [name, made] : Cases().items()) {
    const auto model = Load(made["config"], CaseWeights(made), Dtype::kBf16);
    ASSERT_TRUE(model.ok()) << name << ": " << model.status();
    const at::Tensor golden = Golden(name, "logits");
    const at::Tensor logits = TextLogits(*model, ReadPrompt(*model, name, made));
    const double difference = (logits - golden).abs().mean().item<double>() / golden.std().item<double>();
    EXPECT_LE(difference, kBound) << name;
    EXPECT_GT(difference, 1e-4) << name << " did not compute in bf16";
  }
}

TEST_F(VisionLanguageParityTest, BlipsStateHoldsThePicture) {
  at::NoGradGuard no_grad;
  const json& made = Cases()["blip.tied"];
  const auto model = Load(made["config"], CaseWeights(made));
  ASSERT_TRUE(model.ok()) << model.status();
  const language::LanguageModel& language = *model->language;
  const at::Tensor memory = Golden("blip.tied", "image_tokens")[0], ids = Golden("blip.tied", "ids");
  const auto state = language.NewState();
  EXPECT_THROW(language.Forward({{.tokens = ids, .state = state.get()}}), c10::Error) << "there is no picture yet";
  EXPECT_THROW(language.Forward({{.tokens = ids}}), c10::Error) << "there is no state";
  const at::Tensor rows = language.Forward({{.embeddings = memory, .state = state.get()}});
  EXPECT_EQ(rows.size(0), memory.size(0));
  EXPECT_EQ(state->length(), memory.size(0));
  EXPECT_THROW(language.Forward({{.embeddings = memory, .state = state.get()}}), c10::Error) << "a second picture";
  language.Forward({{.tokens = ids, .state = state.get()}});
  const int64_t length = state->length();
  EXPECT_EQ(length, memory.size(0) + ids.size(0));
  EXPECT_EQ(language.config().context_length, memory.size(0) + 160);

  const auto fork = state->Fork();
  const at::Tensor a = at::tensor(std::vector<int64_t>{3}), b = at::tensor(std::vector<int64_t>{90});
  const at::Tensor after_a = language.Forward({{.tokens = a, .state = state.get()}});
  const at::Tensor after_b = language.Forward({{.tokens = b, .state = fork.get()}});
  EXPECT_GT(MaxDifference(after_a, after_b), 0.01);
  state->Truncate(length);
  EXPECT_LE(MaxDifference(language.Forward({{.tokens = b, .state = state.get()}}), after_b), 1e-6);
  // Both at once, of one state each.
  state->Truncate(length);
  fork->Truncate(length);
  const at::Tensor both = language.Forward({{.tokens = a, .state = state.get()}, {.tokens = b, .state = fork.get()}});
  EXPECT_LE(MaxDifference(both, at::cat({after_a, after_b})), 1e-5);
  EXPECT_THROW(state->Truncate(memory.size(0) - 1), c10::Error);
  state->Truncate(0);
  EXPECT_EQ(state->length(), 0);
}

TEST_F(VisionLanguageParityTest, ImageSlotsMustEqualImages) {
  at::NoGradGuard no_grad;
  const std::string name = "llava.grouped";
  const auto model = Load(Cases()[name]["config"], CaseWeights(Cases()[name]));
  ASSERT_TRUE(model.ok()) << model.status();
  const at::Tensor tile = Golden(name, "image_tokens")[0];
  std::vector<TokenId> ids = PromptIds(name);
  EXPECT_TRUE(FillImageSlots(model->layout, ids, {tile}).ok());
  const auto refusal = [&](const std::vector<at::Tensor>& tiles) {
    return std::string(FillImageSlots(model->layout, ids, tiles).status().message());
  };
  EXPECT_NE(refusal({}).find("16 image slots (token 150) for 0 image tokens of 0 tiles"), std::string::npos);
  EXPECT_NE(refusal({tile, tile}).find("16 image slots (token 150) for 32 image tokens of 2 tiles"), std::string::npos);
  ids.push_back(150);
  EXPECT_NE(refusal({tile}).find("17 image slots (token 150) for 16 image tokens of 1 tiles"), std::string::npos);
}

TEST_F(VisionLanguageParityTest, RunsOfSlotsMayHoldSeveralTilesOrAPart) {
  const ImageLayout layout = {.image_token = 9, .tile_tokens = 2};
  const at::Tensor a = at::tensor({1.0, 2.0}).view({2, 1}), b = at::tensor({3.0, 4.0}).view({2, 1});
  const auto prompt = FillImageSlots(layout, {9, 9, 9, 5, 9, 6}, {a, b});
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  std::vector<double> rows;
  std::string shape;
  for (const language::PromptPart& part : *prompt) {
    const auto* ids = std::get_if<std::vector<TokenId>>(&part);
    absl::StrAppend(&shape, ids != nullptr ? "t" : "i");
    if (ids != nullptr) continue;
    for (const at::Tensor& row : std::get<at::Tensor>(part).unbind(0)) rows.push_back(row.item<double>());
  }
  EXPECT_EQ(shape, "iitit");
  EXPECT_EQ(rows, (std::vector<double>{1, 2, 3, 4}));
  EXPECT_TRUE(BidirectionalSpans(PromptAttention::kCausal, *prompt).empty());
  const auto whole = BidirectionalSpans(PromptAttention::kWholePrompt, *prompt);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_EQ(whole[0].end, 6);
  const auto runs = BidirectionalSpans(PromptAttention::kImageRuns, *prompt);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].begin, 0);
  EXPECT_EQ(runs[0].end, 3);
  EXPECT_EQ(runs[1].begin, 4);
  EXPECT_EQ(runs[1].end, 5);
}

TEST_F(VisionLanguageParityTest, BrokenCheckpointsAreRefusedByName) {
  const json& made = Cases()["llava.grouped"];
  const json config = made["config"];
  const TensorMap weights = CaseWeights(made);
  const auto refusal = [&](const json& c, const TensorMap& w) {
    const auto model = Load(c, w);
    EXPECT_FALSE(model.ok());
    return model.ok() ? std::string() : std::string(model.status().message());
  };
  const auto with = [&](const char* pointer, const json& value) {
    json changed = config;
    changed[json::json_pointer(pointer)] = value;
    return refusal(changed, weights);
  };
  EXPECT_NE(with("/model_type", "llama").find("\"llama\", a model of text, which takes no pictures"),
            std::string::npos);
  EXPECT_NE(with("/model_type", "flamingo").find("model_type is \"flamingo\""), std::string::npos);
  EXPECT_NE(with("/vision_config", 3).find("vision_config is not an object"), std::string::npos);
  EXPECT_NE(with("/vision_config/model_type", "resnet").find("vision tower's model_type is \"resnet\""),
            std::string::npos);
  EXPECT_NE(with("/vision_config/hidden_act", "relu").find("hidden_act is \"relu\""), std::string::npos);
  EXPECT_NE(with("/vision_config/num_attention_heads", 5).find("not a multiple of num_attention_heads 5"),
            std::string::npos);
  EXPECT_NE(with("/vision_config/patch_size", 0).find("patch_size is 0"), std::string::npos);
  EXPECT_NE(with("/vision_config/patch_size", 8).find("embeddings.patch_embedding.weight has shape [36, 3, 4, 4]"),
            std::string::npos);
  EXPECT_NE(with("/vision_feature_layer", {-2, -1}).find("vision_feature_layer is a list"), std::string::npos);
  EXPECT_NE(with("/vision_feature_layer", -9).find("vision_feature_layer is -9 of a tower with 3 layers"),
            std::string::npos);
  EXPECT_NE(with("/projector_hidden_act", "relu").find("projector_hidden_act is \"relu\""), std::string::npos);
  EXPECT_NE(with("/text_config/model_type", "mamba").find("model_type is \"mamba\""), std::string::npos);
  TensorMap changed = weights;
  changed.erase("multi_modal_projector.linear_2.bias");
  EXPECT_NE(refusal(config, changed).find("linear_2.bias of the LLaVA projector architecture is missing"),
            std::string::npos);
  changed = weights;
  changed.erase("vision_tower.pre_layrnorm.weight");
  EXPECT_NE(refusal(config, changed).find("pre_layrnorm.weight of the CLIP architecture is missing"),
            std::string::npos);
  changed = weights;
  changed["vision_tower.encoder.layers.7.mlp.fc1.weight"] = at::zeros({2, 2});
  EXPECT_NE(refusal(config, changed).find("encoder.layers.7.mlp.fc1.weight [2, 2] is unknown to the CLIP"),
            std::string::npos);
  changed = weights;
  changed["audio_tower.conv.weight"] = at::zeros({2, 2});
  EXPECT_NE(refusal(config, changed).find("audio_tower.conv.weight belongs neither"), std::string::npos);
  changed = weights;
  changed["vision_tower.pre_layrnorm.weight"] = changed["vision_tower.pre_layrnorm.weight"].clone().fill_(NAN);
  EXPECT_NE(refusal(config, changed).find("pre_layrnorm.weight holds a value that is not finite"), std::string::npos);

  const auto model = Load(config, weights);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto tokens = model->images->EncodePixels(at::zeros({1, 3, 16, 20}));
  EXPECT_NE(tokens.status().message().find("[1, 3, 16, 20]; this tower takes [pictures, 3, 16, 16]"),
            std::string::npos);
  EXPECT_FALSE(model->layout.text_around_tiles({.rows = 2, .columns = 2}).ok());
}

}  // namespace
}  // namespace blazon::service
