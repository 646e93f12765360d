// Checkpoint folders of every vision-language family through the product's core: what prompts they read, that the text
// is what their model says to such a prompt, and what is refused by name. Weights are random; agreement of the models
// with transformers is vision_language_parity_test's.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "service/captioner.h"
#include "service/checkpoint/checkpoint_folder.h"
#include "service/checkpoint/preprocessor_config.h"
#include "service/checkpoint/tokenizer_loader.h"
#include "service/families/vision_language_models.h"
#include "service/inspect.h"
#include "service/model_store.h"
#include "service/text_generator.h"
#include "tests/service/default_models.h"
#include "tests/service/small_checkpoint.h"
#include "vision/decode_image.h"
#include "vision/preprocessor.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::ChatPart;
using language::TokenId;
using nlohmann::json;

ChatPart TextPart(const std::string& text) { return {.kind = ChatPart::Kind::kText, .text = text}; }
ChatPart ImagePart() { return {.kind = ChatPart::Kind::kImage}; }

class VisionLanguageServingTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("vision_language_serving_test_", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The checkpoint of a case; `tokenizer` is a folder where its own has none.
  fs::path Checkpoint(const std::string& name) const {
    const fs::path folder = folder_ / name;
    if (!fs::exists(folder)) WriteSmallCheckpoint(folder, name);
    return folder;
  }
  fs::path Tokenizer() const {
    const fs::path folder = folder_ / "tokenizer";
    if (!fs::exists(folder)) {
      fs::create_directories(folder);
      WriteSmallTokenizer(folder, -1);
    }
    return folder;
  }
  std::unique_ptr<ModelStore> Open(const fs::path& model, const fs::path& tokenizer = {}) const {
    ModelStoreOptions options;
    options.language_model = model;
    options.tokenizer = tokenizer;
    options.dtype = "fp32";
    auto store = ModelStore::Open(options);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  std::unique_ptr<ModelStore> OpenCase(const std::string& name) const {
    return Open(Checkpoint(name), name.starts_with("nanovlm") ? Tokenizer() : fs::path());
  }

  // A prompt as text, a run of n image tokens as [n].
  static std::string Shown(TextGenerator& generator, const std::vector<TokenId>& prompt) {
    std::string text;
    for (size_t i = 0; i < prompt.size(); ++i) {
      size_t run = i;
      while (run < prompt.size() && prompt[run] == -1) ++run;
      if (run > i) absl::StrAppend(&text, "[", run - i, "]");
      if (run > i) i = run - 1;
      if (prompt[i] != -1) text += generator.TokenBytes(prompt[i]).value_or("?");
    }
    return text;
  }

  fs::path folder_;
};

// The greedy continuation of `prompt`, whose image tokens are those of `pictures` in order, by the model alone.
std::vector<TokenId> GreedyAlone(const fs::path& folder, const std::vector<TokenId>& prompt,
                                 const std::vector<std::string>& pictures, int64_t count) {
  const at::NoGradGuard no_grad;
  const auto checkpoint = ReadCheckpointFolder(folder);
  const auto model = CreateVisionLanguageModel(checkpoint->config, checkpoint->weights, language::Dtype::kFp32);
  const auto pixels = ReadPreprocessorConfig(folder);
  EXPECT_TRUE(model.ok() && pixels.ok()) << model.status() << pixels.status();
  const auto preprocessor = vision::Preprocessor::Create(*pixels);
  std::vector<at::Tensor> tokens;  // [tiles * T, D] of each picture
  for (const std::string& file : pictures) {
    const auto ready = preprocessor->Run(*vision::DecodeImage(file));
    tokens.push_back(model->images->EncodePixels(ready->pixels, ready->mask)->flatten(0, 1));
  }
  const at::Tensor images = at::cat(tokens);
  const auto state = model->language->NewState();
  language::Prompt parts;
  int64_t used = 0;
  for (size_t i = 0; i < prompt.size();) {
    std::vector<TokenId> text;
    size_t run = i;
    while (run < prompt.size() && prompt[run] == -1) ++run;
    if (run > i) parts.emplace_back(images.narrow(0, used, static_cast<int64_t>(run - i)));
    used += static_cast<int64_t>(run - i);
    for (i = run; i < prompt.size() && prompt[i] != -1; ++i) text.push_back(prompt[i]);
    if (!text.empty()) parts.emplace_back(std::move(text));
  }
  EXPECT_EQ(used, images.size(0)) << "not every image token is in the prompt";
  const auto ids = [](const std::vector<TokenId>& text) {
    return at::tensor(std::vector<int64_t>(text.begin(), text.end()), at::kLong);
  };
  at::Tensor hidden;
  if (model->language->config().memory_width > 0) {
    model->language->Forward({{.embeddings = std::get<at::Tensor>(parts[0]), .state = state.get()}});
    hidden =
        model->language->Forward({{.tokens = ids(std::get<std::vector<TokenId>>(parts[1])), .state = state.get()}});
  } else {
    std::vector<at::Tensor> pieces;
    for (const language::PromptPart& part : parts) {
      const auto* text = std::get_if<std::vector<TokenId>>(&part);
      pieces.push_back(text != nullptr ? model->language->Embed(ids(*text)) : std::get<at::Tensor>(part));
    }
    const auto spans = BidirectionalSpans(model->layout.attention, parts);
    hidden = model->language->Forward({{.embeddings = at::cat(pieces), .state = state.get(), .bidirectional = spans}});
  }
  std::vector<TokenId> output;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor next = model->language->Logits(hidden.narrow(0, hidden.size(0) - 1, 1)).argmax(-1);
    output.push_back(static_cast<TokenId>(next.item<int64_t>()));
    hidden = model->language->Forward({{.tokens = next, .state = state.get()}});
  }
  return output;
}

constexpr int64_t kNewTokens = 12;

language::GenerationOptions Options() {
  language::GenerationOptions options;
  options.max_new_tokens = kNewTokens;
  options.echo = options.ignore_eos = true;
  return options;
}

TEST_F(VisionLanguageServingTest, CaptionsAskAsEachFamilyIsAsked) {
  const std::string wish = "Describe this picture in one sentence.\nassistant: ";
  const std::string edge = "<fake_token_around_image>";
  const std::string split =
      absl::StrCat("<s>user: ", edge, "<row_1_col_1>[4]", edge, "<row_1_col_2>[4]\n", edge, "<row_2_col_1>[4]", edge,
                   "<row_2_col_2>[4]\n\n", edge, "<global-img>[4]", edge, wish);
  const std::map<std::string, std::string> expected = {
      {"paligemma.one", "[16]<s>caption en\n"},
      {"paligemma.two", "[9]<s>caption en\n"},
      {"llava.grouped", "<s>user: [16]" + wish},
      {"llava.tied", "<s>user: [17]" + wish},
      {"smolvlm.split", split},
      {"idefics3.tied", split},
      {"gemma3.windows", "<s>user: \n\n<start_of_image>[9]<end_of_image>\n\n" + wish},
      {"gemma3.scaled", "<s>user: \n\n<start_of_image>[4]<end_of_image>\n\n" + wish},
      {"blip.tied", "[17]<s>"},
      {"blip.untied", "[17]<s>"},
      {"nanovlm.first", "[4]Question: What is this? Answer:"},
      {"nanovlm.tiles",
       "user: <|global_image|>[4]<row_1_col_1>[4]<row_1_col_2>[4]<row_2_col_1>[4]<row_2_col_2>[4]What is this?\n"
       "assistant: "},
  };
  ASSERT_EQ(expected.size(), VisionLanguageCases().size());
  for (const auto& [name, layout] : expected) {
    SCOPED_TRACE(name);
    const std::unique_ptr<ModelStore> models = OpenCase(name);
    TextGenerator generator(*models);
    Captioner captioner(*models);
    CaptionRequest request;
    request.image = SmallPicture(40, 30);
    request.options = Options();
    const auto caption = captioner.Caption(request);
    ASSERT_TRUE(caption.ok()) << caption.status();
    EXPECT_EQ(Shown(generator, caption->result.prompt), layout);
    EXPECT_EQ(caption->result.tokens,
              GreedyAlone(Checkpoint(name), caption->result.prompt, {request.image}, kNewTokens));
    EXPECT_TRUE(caption->labels.empty());
    EXPECT_EQ(caption->width, 40);
    EXPECT_GT(caption->result.image_tokens, 0);

    request.instruction = "Say <image> or <s>.";  // words of a user: no control tokens
    const auto other = captioner.Caption(request);
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_TRUE(absl::StrContains(Shown(generator, other->result.prompt), "Say <image> or <s>."));
    EXPECT_EQ(other->result.image_tokens, caption->result.image_tokens);
    EXPECT_EQ(other->result.tokens, GreedyAlone(Checkpoint(name), other->result.prompt, {request.image}, kNewTokens));

    for (const ModelInfo& info : models->List()) {
      EXPECT_NE(info.role, ModelRole::kCaptioner) << "the model itself is the captioner";
      EXPECT_EQ(info.sees_pictures, info.role == ModelRole::kLanguage);
    }
    EXPECT_EQ(models->Info(ModelRole::kCaptioner).name, models->Info(ModelRole::kLanguage).name);
  }
}

TEST_F(VisionLanguageServingTest, PromptsHaveTextAndPicturesInOrder) {
  const std::string a = SmallPicture(40, 30), b = SmallPicture(24, 50);
  struct Case {
    std::string name;
    std::vector<ChatPart> parts;
    std::string layout;
  };
  const std::vector<Case> cases = {
      {"paligemma.one", {TextPart("one "), ImagePart(), ImagePart(), TextPart("two")}, "one [32]<s>two\n"},
      {"llava.tied", {TextPart("a"), ImagePart(), TextPart("b"), ImagePart()}, "<s>a[17]b[17]"},
      {"gemma3.windows",
       {ImagePart(), TextPart("b"), ImagePart()},
       "<s>\n\n<start_of_image>[9]<end_of_image>\n\nb\n\n<start_of_image>[9]<end_of_image>\n\n"},
      {"nanovlm.first", {ImagePart(), ImagePart(), TextPart("x")}, "[8]x"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::unique_ptr<ModelStore> models = OpenCase(c.name);
    TextGenerator generator(*models);
    GenerateRequest request;
    request.parts = c.parts;
    request.images = {a, b};
    request.options = Options();
    const auto generated = generator.Generate(request);
    ASSERT_TRUE(generated.ok()) << generated.status();
    EXPECT_EQ(Shown(generator, generated->result.prompt), c.layout);
    EXPECT_EQ(generated->result.tokens, GreedyAlone(Checkpoint(c.name), generated->result.prompt, {a, b}, kNewTokens));
    EXPECT_GT(generated->result.encode_ms, 0);
    request.images = {b, a};
    EXPECT_NE(generator.Generate(request)->result.mean_logprob, generated->result.mean_logprob)
        << "the pictures' order is lost";
  }
}

TEST_F(VisionLanguageServingTest, ConversationsHavePicturesWhereTheTemplatePutsThem) {
  const std::string a = SmallPicture(20, 20), b = SmallPicture(24, 12);
  const std::map<std::string, std::string> expected = {
      {"llava.grouped", "<s>user: [16]What?\nassistant: It.\nuser: And [16] this <image>?\nassistant: "},
      {"gemma3.scaled",
       "<s>user: \n\n<start_of_image>[4]<end_of_image>\n\nWhat?\nassistant: It.\nuser: And \n\n<start_of_image>[4]"
       "<end_of_image>\n\n this <image>?\nassistant: "},
      {"nanovlm.tiles",
       "user: <image: 0><|global_image|>[4]What?\nassistant: It.\nuser: And <image: 1><|global_image|>[4] this "
       "<image>?\nassistant: "},
  };
  for (const auto& [name, layout] : expected) {
    SCOPED_TRACE(name);
    const std::unique_ptr<ModelStore> models = OpenCase(name);
    TextGenerator generator(*models);
    GenerateRequest request;
    request.messages = {{"user", "", {ImagePart(), TextPart("What?")}},
                        {"assistant", "It.", {}},
                        {"user", "", {TextPart("And "), ImagePart(), TextPart(" this <image>?")}}};
    request.images = {a, b};
    request.options = Options();
    const auto generated = generator.Generate(request);
    ASSERT_TRUE(generated.ok()) << generated.status();
    EXPECT_EQ(Shown(generator, generated->result.prompt), layout);
    EXPECT_EQ(generated->result.tokens, GreedyAlone(Checkpoint(name), generated->result.prompt, {a, b}, kNewTokens));
    request.images.clear();
    request.messages = {{"user", "Words alone.", {}}};
    const auto words = generator.Generate(request);
    ASSERT_TRUE(words.ok()) << words.status();
    EXPECT_EQ(words->result.image_tokens, 0);
  }
}

TEST_F(VisionLanguageServingTest, WhatDoesNotFitIsRefusedByName) {
  const std::string picture = SmallPicture(16, 16);
  const auto refusal = [&](ModelStore& models, GenerateRequest request) {
    request.options = Options();
    const auto generated = TextGenerator(models).Generate(request);
    EXPECT_FALSE(generated.ok());
    return std::string(generated.status().message());
  };
  GenerateRequest request;
  request.parts = {ImagePart(), TextPart("x")};
  request.images = {picture};

  const std::unique_ptr<ModelStore> llava = OpenCase("llava.grouped");
  request.images.push_back(picture);
  EXPECT_EQ(refusal(*llava, request), "the prompt has places for 1 pictures, and 2 were given");
  request.images = {"no picture"};
  EXPECT_TRUE(absl::StartsWith(refusal(*llava, request), "image 1: The image")) << refusal(*llava, request);
  request.images.assign(65, picture);
  request.parts.assign(65, ImagePart());
  EXPECT_TRUE(absl::StrContains(refusal(*llava, request), "65 pictures; the limit is 64"));
  request.images.assign(12, picture);
  request.parts.assign(12, ImagePart());
  EXPECT_EQ(refusal(*llava, request),
            "prompt has 193 tokens, 192 of them for its pictures; the model's context has 160 and one must be left for "
            "the answer. Give a shorter prompt or fewer pictures.");
  GenerateRequest ids;  // slots without pictures
  ids.prompt_tokens = {1, 150, 150, 20};
  EXPECT_TRUE(absl::StrContains(refusal(*llava, ids), "2 image slots (token 150) for 0 image tokens"));

  const std::unique_ptr<ModelStore> blip = OpenCase("blip.tied");
  GenerateRequest words;
  words.prompt = "a photo of";
  EXPECT_EQ(refusal(*blip, words), "prompt has 0 pictures; this model writes about one picture at a time");
  GenerateRequest two;
  two.parts = {ImagePart(), ImagePart()};
  two.images = {picture, picture};
  EXPECT_EQ(refusal(*blip, two), "prompt has 2 pictures; this model writes about one picture at a time");
  two.parts = {TextPart("x"), ImagePart()};
  two.images = {picture};
  EXPECT_TRUE(absl::StrContains(refusal(*blip, two), "takes its pictures first"));
  GenerateRequest chat;
  chat.messages = {{"user", "", {ImagePart()}}};
  chat.images = {picture};
  EXPECT_TRUE(absl::StrContains(refusal(*blip, chat), "has no chat template"));
  ScoreRequest score;
  score.prompt = "a";
  score.completion = "b";
  EXPECT_EQ(TextGenerator(*blip).Score(score).status().message(),
            "prompt has 0 pictures; this model writes about one picture at a time");
  score.images = {picture};
  score.prompt.clear();
  score.parts = {TextPart("a"), ImagePart()};
  EXPECT_TRUE(absl::StrContains(TextGenerator(*blip).Score(score).status().message(), "takes its pictures first"));
  score.parts = {ImagePart()};
  score.completion.clear();
  EXPECT_TRUE(absl::StrContains(TextGenerator(*blip).Score(score).status().message(), "completion is empty"));

  const std::unique_ptr<ModelStore> first = OpenCase("nanovlm.first");
  EXPECT_TRUE(absl::StrContains(refusal(*first, chat), "has no chat template"));

  // A model of text: the language model of a checkpoint, alone.
  ModelStoreOptions text_options = DefaultModelOptions();
  const fs::path text_folder = folder_ / "text";
  WriteSmallCheckpoint(text_folder, "llava.grouped");
  json config = json::parse(std::ifstream(text_folder / "config.json"))["text_config"];
  TensorMap weights;
  for (const auto& [name, tensor] : CaseWeights(VisionLanguageCases()["llava.grouped"])) {
    if (name.starts_with("language_model.")) weights[name.substr(15)] = tensor;
  }
  std::ofstream(text_folder / "config.json") << config;
  ASSERT_TRUE(WriteSafetensors(text_folder / "model.safetensors", weights, {{"format", "pt"}}).ok());
  text_options.language_model = text_folder;
  const auto text = ModelStore::Open(text_options);
  ASSERT_TRUE(text.ok()) << text.status();
  request.parts = {ImagePart(), TextPart("x")};
  request.images = {picture};
  EXPECT_TRUE(absl::StrContains(refusal(**text, request), "text is a model of text and takes no pictures"));
  CaptionRequest caption;
  caption.image = picture;
  const auto captioned = Captioner(**text).Caption(caption);
  EXPECT_EQ(captioned.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(captioned.status().message(), "text is a model of text and sees no pictures"))
      << captioned.status();
  EXPECT_FALSE((*text)->Info(ModelRole::kLanguage).sees_pictures);
}

TEST_F(VisionLanguageServingTest, FoldersThatLackAPartSayWhich) {
  const auto refusal = [&](const fs::path& model, const fs::path& tokenizer = {}) {
    const auto runtime = Open(model, tokenizer)->Language();
    EXPECT_FALSE(runtime.ok());
    return std::string(runtime.status().message());
  };
  const fs::path folder = Checkpoint("llava.grouped");
  fs::rename(folder / "preprocessor_config.json", folder / "away");
  EXPECT_TRUE(absl::StrContains(refusal(folder), "neither a preprocessor_config.json nor a processor_config.json"));
  EXPECT_EQ(InspectCheckpoint(folder)->problem.substr(0, folder.string().size()), folder.string());
  fs::rename(folder / "away", folder / "preprocessor_config.json");
  EXPECT_EQ(InspectCheckpoint(folder)->problem, "");
  EXPECT_TRUE(InspectCheckpoint(folder)->sees_pictures);
  EXPECT_EQ(InspectCheckpoint(folder)->tokens_per_tile, 16);
  WriteSmallTokenizer(folder, 149);
  EXPECT_TRUE(absl::StrContains(refusal(folder), "the tokenizer has no token with the id 150"));
  fs::remove(folder / "tokenizer.json");
  EXPECT_TRUE(absl::StrContains(refusal(folder), "has no tokenizer: neither tokenizer.json"));
  const fs::path nano = Checkpoint("nanovlm.tiles");
  EXPECT_TRUE(absl::StrContains(refusal(nano), "--tokenizer DIR"));
  EXPECT_EQ(InspectCheckpoint(nano)->model_type, "nanovlm");
  ModelStoreOptions options;
  options.language_model = nano;
  options.tokenizer = folder_ / "nowhere";
  EXPECT_TRUE(absl::StrContains(ModelStore::Open(options).status().message(), "--tokenizer names a folder"));
}

}  // namespace
}  // namespace blazon::service
