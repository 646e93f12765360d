// From a picture's file and a prompt to text, through the service's core, against transformers with its own processors:
// folders of every vision-language family as the hub has them, with vocabularies, chat templates and preprocessor
// configs. One table.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/captioner.h"
#include "service/model_store.h"
#include "service/text_generator.h"
#include "tests/language/hash_model.h"
#include "tests/service/small_checkpoint.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::ChatPart;
using language::TokenId;
using nlohmann::json;

const char kPictureRemedy[] = "; goldens are made by: python tests/reference/picture_goldens.py";
constexpr double kLogprobTolerance = 1e-4;

const fs::path& GoldenFolder() {
  static const fs::path& folder = *new fs::path(BLAZON_SOURCE_DIR "/tests/goldens");
  return folder;
}

std::string FileBytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

at::Tensor PictureGolden(const std::string& name, size_t prompt, const char* what) {
  static const TensorMap& goldens = *new TensorMap([] {
    auto tensors = ReadSafetensors(GoldenFolder() / "picture_prompts.safetensors");
    EXPECT_TRUE(tensors.ok()) << tensors.status() << kPictureRemedy;
    return *std::move(tensors);
  }());
  return goldens.at(absl::StrCat(name, ".", prompt, ".", what)).contiguous();
}

std::vector<TokenId> GoldenIds(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

std::vector<double> GoldenNumbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel()};
}

// A checkpoint folder of the golden's.
void WritePictureCheckpoint(const fs::path& folder, const json& golden) {
  fs::create_directories(folder);
  json made = VisionLanguageCases()[golden["case"].get<std::string>()];
  const json vocabulary = made["config"]["text_config"]["vocab_size"];
  made["config"].merge_patch(golden["patch"]);
  for (auto& [name, tensor] : made["tensors"].items()) {
    json& shape = tensor["shape"];
    if (!shape.empty() && shape[0] == vocabulary) shape[0] = golden["vocabulary"];
  }
  ASSERT_TRUE(WriteSafetensors(folder / "model.safetensors", CaseWeights(made), {{"format", "pt"}}).ok());
  std::ofstream(folder / "config.json") << made["config"];
  json tokenizer = json::parse(
      FileBytes(GoldenFolder() / "tokenizers" / golden["tokenizer"]["base"].get<std::string>() / "tokenizer.json"));
  for (const json& token : golden["tokenizer"]["added"]) tokenizer["added_tokens"].push_back(token);
  std::ofstream(folder / "tokenizer.json") << tokenizer;
  for (const auto& [name, content] : golden["files"].items()) {
    std::ofstream(folder / name) << (content.is_string() ? content.get<std::string>() : content.dump());
  }
}

std::vector<ChatPart> PartsOf(const json& parts, std::vector<std::string>& images) {
  std::vector<ChatPart> result;
  for (const json& part : parts) {
    if (part.contains("image")) {
      result.push_back({.kind = ChatPart::Kind::kImage});
      images.push_back(FileBytes(GoldenFolder() / "pictures" / part["image"].get<std::string>()));
    } else {
      result.push_back({.kind = ChatPart::Kind::kText, .text = part["text"]});
    }
  }
  return result;
}

GenerateRequest RequestOf(const json& prompt, int64_t max_new_tokens) {
  GenerateRequest request;
  if (prompt.contains("parts")) request.parts = PartsOf(prompt["parts"], request.images);
  for (const json& turn : prompt.value("chat", json::array())) {
    request.messages.push_back({turn[0], "", PartsOf(turn[1], request.images)});
  }
  request.options.max_new_tokens = max_new_tokens;
  request.options.allow_repetition = true;  // transformers has no such rule
  return request;
}

// Without the token that ends it, and what stands behind that.
std::vector<TokenId> UpToEnd(std::vector<TokenId> tokens, const json& end) {
  tokens.erase(std::find(tokens.begin(), tokens.end(), end.get<TokenId>()), tokens.end());
  return tokens;
}

double Apart(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

std::vector<double> LogprobsOf(const std::vector<language::TokenLogprob>& tokens) {
  std::vector<double> logprobs;
  for (const language::TokenLogprob& token : tokens) logprobs.push_back(token.logprob);
  return logprobs;
}

// A row of the table.
struct PictureRow {
  size_t prompts = 0, pictures = 0;
  double top = 0, score = 0, beams = 0;  // largest differences
};

class PictureParityTest : public testing::Test {
 protected:
  PictureParityTest()
      : folder_(fs::path(testing::TempDir()) / absl::StrCat("picture_parity_test_", getpid())),
        goldens_(json::parse(FileBytes(GoldenFolder() / "picture_prompts.json"))) {}
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<ModelStore> Open(const std::string& name) const {
    if (!fs::exists(folder_ / name)) WritePictureCheckpoint(folder_ / name, goldens_[name]);
    ModelStoreOptions options;
    options.language_model = folder_ / name;
    options.dtype = "fp32";
    auto store = ModelStore::Open(options);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  // One prompt by itself: what the model reads, how probable tokens are, and its text.
  void Generate(TextGenerator& generator, const std::string& name, size_t i, PictureRow& row) const {
    const json& prompt = goldens_[name]["prompts"][i];
    const std::vector<TokenId> greedy = GoldenIds(PictureGolden(name, i, "greedy"));
    GenerateRequest request = RequestOf(prompt, static_cast<int64_t>(greedy.size()));
    request.options.echo = true;
    const at::Tensor top = PictureGolden(name, i, "top_logprobs");  // [T, 20]
    request.options.top_logprobs = top.size(1);
    const auto generated = generator.Generate(request);
    ASSERT_TRUE(generated.ok()) << generated.status();
    std::vector<TokenId> read = generated->result.prompt, ids = GoldenIds(PictureGolden(name, i, "ids"));
    if (std::string(name).starts_with("blip")) {  // whose picture is no part of the text
      EXPECT_EQ(std::count(read.begin(), read.end(), -1), 17);
      read.erase(read.begin(), read.begin() + 17);
    }
    EXPECT_EQ(read, ids) << kPictureRemedy;
    EXPECT_EQ(generated->result.tokens, UpToEnd(greedy, goldens_[name]["end"])) << kPictureRemedy;
    const std::string words = prompt["words"];
    std::vector<TokenId> known = generated->result.tokens;  // models have rows that no token stands for
    std::erase_if(known, [&](TokenId id) { return !generator.TokenBytes(id).ok(); });
    EXPECT_EQ(generator.Detokenize(known).value_or("an error"), words) << kPictureRemedy;
    // As it was streamed: an answer begins a text. One that goes on from a prompt is joined to it instead, and bytes
    // that make no character are replaced as they come, where decoding all at once replaces whole runs of them.
    if (!request.messages.empty() && words.find("\xEF\xBF\xBD") == std::string::npos) {
      EXPECT_EQ(generated->text, words) << kPictureRemedy;
    }
    std::vector<double> found, golden = GoldenNumbers(top);
    for (const language::TokenLogprob& token : generated->result.logprobs) {
      for (const auto& [id, logprob] : token.top) found.push_back(logprob);
    }
    golden.resize(found.size());
    EXPECT_GE(found.size(), static_cast<size_t>(top.size(1)));
    row.top = std::max(row.top, Apart(found, golden));
    const std::vector<TokenId> best = GoldenIds(PictureGolden(name, i, "top"));
    EXPECT_EQ(generated->result.logprobs.front().top.front().first, best.front());
    row.pictures += request.images.size();
  }

  void Score(TextGenerator& generator, const std::string& name, size_t i, PictureRow& row) const {
    const json& prompt = goldens_[name]["prompts"][i];
    if (!prompt.contains("parts")) return;  // scores are of plain prompts
    ScoreRequest request;
    request.parts = PartsOf(prompt["parts"], request.images);
    request.completion = goldens_[name]["completion"];
    const auto score = generator.Score(request);
    ASSERT_TRUE(score.ok()) << score.status();
    std::vector<TokenId> tokens;
    for (const language::TokenLogprob& token : score->tokens) tokens.push_back(token.id);
    EXPECT_EQ(tokens, GoldenIds(PictureGolden(name, i, "completion"))) << kPictureRemedy;
    EXPECT_GT(score->image_tokens, 0);
    row.score = std::max(
        row.score, Apart(LogprobsOf(score->tokens), GoldenNumbers(PictureGolden(name, i, "completion_logprobs"))));
  }

  void SearchBeams(TextGenerator& generator, const std::string& name, size_t i, PictureRow& row) const {
    const at::Tensor golden = PictureGolden(name, i, "beam_sequences");  // [4, T]
    GenerateRequest request = RequestOf(goldens_[name]["prompts"][i], golden.size(1));
    request.options.num_beams = request.options.num_sequences = golden.size(0);
    const auto generated = generator.Generate(request);
    ASSERT_TRUE(generated.ok()) << generated.status();
    ASSERT_EQ(generated->result.sequences.size(), static_cast<size_t>(golden.size(0)));
    std::vector<double> scores;
    for (int64_t beam = 0; beam < golden.size(0); ++beam) {
      const language::GeneratedSequence& found = generated->result.sequences[static_cast<size_t>(beam)];
      EXPECT_EQ(found.tokens, UpToEnd(GoldenIds(golden[beam].contiguous()), goldens_[name]["end"]))
          << "beam " << beam << kPictureRemedy;
      scores.push_back(found.score);
    }
    row.beams = std::max(row.beams, Apart(scores, GoldenNumbers(PictureGolden(name, i, "beam_scores"))));
  }

  // All prompts of a case at once, ragged, each with its pictures.
  void GenerateTogether(TextGenerator& generator, const std::string& name) const {
    const json& prompts = goldens_[name]["prompts"];
    std::vector<std::shared_ptr<language::Recorder>> sinks;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto count = PictureGolden(name, i, "greedy").numel();
      sinks.push_back(std::make_shared<language::Recorder>());
      const auto started = generator.Start(RequestOf(prompts[i], count), sinks.back());
      ASSERT_TRUE(started.ok()) << started.status();
    }
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto& result = sinks[i]->Wait();
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->tokens, UpToEnd(GoldenIds(PictureGolden(name, i, "greedy")), goldens_[name]["end"]))
          << "prompt " << i << " among others";
    }
  }

  const fs::path folder_;
  const json goldens_;
};

TEST_F(PictureParityTest, Table) {
  std::printf(
      "| Picture files and prompts to text against transformers 5.17.0 with its processors: prompts' tokens, greedy "
      "texts "
      "of 20 tokens, beams of 10 and ragged batches equal; largest differences in fp32 (at most %.0e)\n",
      kLogprobTolerance);
  std::printf("| %-15s %8s %9s %14s %10s %8s\n", "family", "prompts", "pictures", "20 best tokens", "completion",
              "beam 4");
  ASSERT_EQ(goldens_.size(), 10u) << kPictureRemedy;
  for (const auto& [name, golden] : goldens_.items()) {
    SCOPED_TRACE(name);
    const std::unique_ptr<ModelStore> models = Open(name);
    TextGenerator generator(*models);
    PictureRow row;
    row.prompts = golden["prompts"].size();
    for (size_t i = 0; i < row.prompts; ++i) {
      SCOPED_TRACE(absl::StrCat("prompt ", i));
      Generate(generator, name, i, row);
      Score(generator, name, i, row);
      SearchBeams(generator, name, i, row);
    }
    GenerateTogether(generator, name);
    EXPECT_LE(row.top, kLogprobTolerance) << kPictureRemedy;
    EXPECT_LE(row.score, kLogprobTolerance) << kPictureRemedy;
    EXPECT_LE(row.beams, kLogprobTolerance) << kPictureRemedy;
    std::printf("| %-15s %8zu %9zu %14.1e %10.1e %8.1e\n", name.c_str(), row.prompts, row.pictures, row.top, row.score,
                row.beams);
  }
}

// What these families are asked for a caption, where it is the first prompt of their goldens.
TEST_F(PictureParityTest, CaptionsAreThoseOfTheProcessors) {
  int captions = 0;
  for (const char* name : {"paligemma.one", "paligemma.two", "blip.tied", "blip.untied"}) {
    SCOPED_TRACE(name);
    const json& parts = goldens_[name]["prompts"][0]["parts"];
    const std::string text = parts.size() > 1 ? parts[1]["text"].get<std::string>() : "";
    // The script goes on to other words where these have no clear choices.
    if (parts.size() > 2 || text != (std::string(name).starts_with("blip") ? "" : "caption en")) continue;
    const std::unique_ptr<ModelStore> models = Open(name);
    CaptionRequest request;
    request.image = FileBytes(GoldenFolder() / "pictures" / parts[0]["image"].get<std::string>());
    request.options.max_new_tokens = PictureGolden(name, 0, "greedy").numel();
    request.options.allow_repetition = true;
    const auto caption = Captioner(*models).Caption(request);
    ASSERT_TRUE(caption.ok()) << caption.status();
    EXPECT_EQ(caption->text, goldens_[name]["prompts"][0]["words"].get<std::string>());
    ++captions;
  }
  EXPECT_GE(captions, 2) << kPictureRemedy;
}

}  // namespace
}  // namespace blazon::service
