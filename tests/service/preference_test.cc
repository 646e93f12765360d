// Learning from preferences on a small model: pairs as they are read, direct preference optimisation from data to an
// adapter in use, and going on as if nothing had happened.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/dpo_task.h"
#include "service/training/preference_data.h"
#include "service/training/train_dpo.h"
#include "tests/service/family_cases.h"
#include "tests/service/small_tokenizer.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::TrainingExample;
using nlohmann::json;

class PreferenceTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "preference_test_", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    const json& made = FamilyCases()["llama.grouped"];
    json config = made["config"];
    config["eos_token_id"] = 0;
    WriteCheckpoint(folder_ / "model", config, CaseWeights(made));
    WriteCharacterTokenizer(folder_ / "model");
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  LoadedLanguageModel Load() {
    auto loaded = LoadLanguageModel(folder_ / "model", {.dtype = language::Dtype::kFp32});
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return *std::move(loaded);
  }
  // Of what is asked, an animal is to be answered with "yes" and a thing with "no".
  fs::path Pairs(const std::string& name, const std::vector<std::string>& animals,
                 const std::vector<std::string>& things) {
    std::string text;
    for (const auto& [words, chosen, rejected] :
         {std::tuple{&animals, " yes.", " no."}, std::tuple{&things, " no.", " yes."}}) {
      for (const std::string& word : *words)
        absl::StrAppend(&text, json{{"prompt", word}, {"chosen", chosen}, {"rejected", rejected}}.dump(), "\n");
    }
    return Write(name, text);
  }
  TrainDpoOptions Options(const std::string& run) {
    TrainDpoOptions options;
    options.data = {Pairs("pairs.jsonl", {"the cat", "a dog", "an ape"}, {"the pot", "a jug", "an inn"})};
    options.evaluation = {Pairs("held_out.jsonl", {"a cat", "the dog"}, {"a pot", "the jug"})};
    options.common.model = folder_ / "model";
    options.common.batch = 4;
    options.common.lora = {.rank = 4, .alpha = 8};
    options.common.trainer.folder = folder_ / run;
    options.common.trainer.steps = 30;
    options.common.trainer.learning_rate = 5e-3;
    options.common.trainer.log = [this](const std::string& line) { lines_.push_back(line); };
    options.common.trainer.stop = [] { return false; };
    return options;
  }
  std::string Said() const { return absl::StrJoin(lines_, "\n"); }
  // Of log.csv: the cells by column, but for the seconds.
  std::vector<std::vector<std::string>> Log(const std::string& run) const {
    std::vector<std::vector<std::string>> rows;
    std::ifstream stream(folder_ / run / "log.csv");
    for (std::string line; std::getline(stream, line);) {
      std::vector<std::string> cells = absl::StrSplit(line, ',');
      cells.pop_back();
      rows.push_back(std::move(cells));
    }
    return rows;
  }

  fs::path folder_;
  std::vector<std::string> lines_;
};

TEST_F(PreferenceTest, PairsShareTheirPrompt) {
  const LoadedLanguageModel model = Load();
  const auto pair = ParsePreference(R"({"prompt": "the cat", "chosen": " sat.", "rejected": " sang."})", model, {});
  ASSERT_TRUE(pair.ok()) << pair.status();
  const auto text = [&](int64_t begin, int64_t end) {
    const std::vector<language::TokenId> tokens(pair->tokens.begin() + begin, pair->tokens.begin() + end);
    return model.tokenizer->Decode(tokens, false);
  };
  ASSERT_EQ(pair->branches.size(), 2u);
  EXPECT_EQ(text(0, pair->branches[0].begin), "the cat");
  EXPECT_EQ(text(pair->branches[0].begin, pair->branches[0].end), " sat.<end>");
  EXPECT_EQ(text(pair->branches[1].begin, pair->branches[1].end), " sang.<end>");
  EXPECT_EQ(pair->learned_count(), 6 + 7);

  const std::pair<const char*, const char*> cases[] = {
      {"nonsense", "no JSON object"},
      {R"({"prompt": "a", "chosen": "b"})", "\"rejected\" is missing"},
      {R"({"prompt": "a", "chosen": ["b"], "rejected": "c"})", "\"chosen\" is missing or no string"},
      {R"({"prompt": "a", "chosen": "b", "rejected": "b"})", "are the same"},
      {R"({"prompt": "a", "chosen": "b", "rejected": "c", "score": 1})", "\"score\" is unknown"},
      {R"({"chosen": "b", "rejected": "c"})", "either"},
      {R"({"prompt": "", "chosen": "b", "rejected": "c"})", "\"prompt\" is empty"},
      {R"({"messages": [], "chosen": "b", "rejected": "c"})", "has to end with the message that is answered"},
      {R"({"messages": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"})", "chat template"}};
  for (const auto& [line, message] : cases) {
    const auto parsed = ParsePreference(line, model, {});
    EXPECT_NE(parsed.status().message().find(message), std::string::npos) << line << ": " << parsed.status();
  }
  const std::string lengthy(120, 'a');
  const std::string line = json{{"prompt", "a"}, {"chosen", lengthy}, {"rejected", "b"}}.dump();
  EXPECT_NE(ParsePreference(line, model, {}).status().message().find("the model's context has 96"), std::string::npos);
  const fs::path file = Write("mixed.jsonl", R"({"prompt": "a", "chosen": "bcdefghijk", "rejected": "c"}
{"prompt": "a", "chosen": "b", "rejected": "c"}
)");
  EXPECT_NE(ReadPreferenceData({file}, model, {.max_tokens = 8}).status().message().find("mixed.jsonl:1: the pair has"),
            std::string::npos);
  const auto some = ReadPreferenceData({file}, model, {.max_tokens = 8, .skip_long = true});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->pairs.size(), 1u);
  EXPECT_EQ(some->skipped, 1);
  EXPECT_NE(ReadPreferenceData({Write("empty.jsonl", "\n")}, model, {}).status().message().find("no pair"),
            std::string::npos);
  EXPECT_EQ(ReadPreferenceData({folder_ / "none.jsonl"}, model, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PreferenceTest, DpoLearnsWhatIsPreferred) {
  TrainDpoOptions options = Options("run");
  const absl::Status status = TrainDpo(options);
  ASSERT_TRUE(status.ok()) << status;
  const auto rows = Log("run");
  ASSERT_EQ(rows.size(), 31u) << Said();
  EXPECT_EQ(absl::StrJoin(rows[0], ","), "step,loss,rate,gradient,tokens,held_out,accuracy,margin,chosen,rejected");
  EXPECT_NEAR(std::stod(rows[1][1]), std::log(2.0), 1e-3);
  EXPECT_NEAR(std::stod(rows[1][7]), 0, 1e-4);
  EXPECT_LT(std::stod(rows[30][1]), 0.4);
  EXPECT_GT(std::stod(rows[30][6]), 0.9);
  EXPECT_GT(std::stod(rows[30][7]), 0.5);
  EXPECT_NE(Said().find("step 0: held-out loss 0.693"), std::string::npos) << Said();
  EXPECT_NE(Said().find("step 30: held-out loss"), std::string::npos) << Said();

  // The adapter prefers, and the file of the reference is what the model without it says.
  const LoadedLanguageModel model = Load();
  const auto adapter = ReadAdapter(folder_ / "run", *model.model);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  const auto held_out = ReadPreferenceData(options.evaluation, model, {});
  ASSERT_TRUE(held_out.ok()) << held_out.status();
  const auto never = [] { return false; };
  const auto base = PairLogprobs(*model.model, nullptr, held_out->pairs, 1000, never);
  const auto tuned = PairLogprobs(*model.model, adapter->get(), held_out->pairs, 1000, never);
  ASSERT_TRUE(base.ok() && tuned.ok());
  const at::Tensor margin = (*tuned - *base).select(1, 0) - (*tuned - *base).select(1, 1);
  EXPECT_GT(margin.mean().item<double>(), 1);
  const auto reference = ReadSafetensors(folder_ / "run/reference.safetensors");
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_LT((reference->at("held_out") - *base).abs().max().item<double>(), 1e-4);

  // From that adapter on, the reference is the adapter: the loss begins at ln 2 again.
  options.common.start_adapter = folder_ / "run";
  options.common.trainer.folder = folder_ / "further";
  options.common.trainer.steps = 2;
  const absl::Status further = TrainDpo(options);
  ASSERT_TRUE(further.ok()) << further;
  EXPECT_NEAR(std::stod(Log("further")[1][1]), std::log(2.0), 1e-3);
  EXPECT_TRUE(ReadAdapter(folder_ / "further", *model.model).ok());
}

TEST_F(PreferenceTest, CutOffRunsGoOnBitForBit) {
  TrainDpoOptions options = Options("whole");
  options.common.trainer.steps = 12;
  options.common.lora.dropout = 0.1;
  ASSERT_TRUE(TrainDpo(options).ok());
  options.common.trainer.folder = folder_ / "parts";
  int64_t asked = 0;
  options.common.trainer.stop = [&asked] { return ++asked > 9; };  // some of them before the first step
  ASSERT_TRUE(TrainDpo(options).ok()) << Said();
  EXPECT_NE(Said().find("stopped after step"), std::string::npos) << Said();
  lines_.clear();
  options.common.trainer.stop = [] { return false; };
  ASSERT_TRUE(TrainDpo(options).ok()) << Said();
  EXPECT_NE(Said().find("the reference's log-probabilities are those of"), std::string::npos) << Said();
  EXPECT_NE(Said().find("goes on from"), std::string::npos) << Said();
  EXPECT_EQ(Log("parts"), Log("whole"));
  // Other data: they are computed anew.
  lines_.clear();
  options.data = {Pairs("other.jsonl", {"the cat"}, {"the pot"})};
  options.common.trainer.restore = "fresh";
  options.common.trainer.overwrite = true;
  ASSERT_TRUE(TrainDpo(options).ok()) << Said();
  EXPECT_NE(Said().find("computing the reference's"), std::string::npos) << Said();
}

TEST_F(PreferenceTest, BadOptionsOfDpoAreNamed) {
  const auto message = [&](const std::function<void(TrainDpoOptions&)>& change) {
    TrainDpoOptions options = Options("bad");
    change(options);
    return std::string(TrainDpo(options).message());
  };
  EXPECT_NE(message([](auto& o) { o.beta = 0; }).find("--beta is 0"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.label_smoothing = 0.5; }).find("--label-smoothing is 0.5"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.common.batch = 0; }).find("--batch"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.common.trainer.steps = 0, o.epochs = 0; }).find("--epochs is 0"),
            std::string::npos);
  EXPECT_NE(message([](auto& o) { o.evaluation.clear(), o.common.trainer.evaluate_every = 2; }).find("--eval FILE"),
            std::string::npos);
  EXPECT_NE(message([&](auto& o) { o.common.start_adapter = folder_ / "none"; }).find("adapter_config.json"),
            std::string::npos);
}

}  // namespace
}  // namespace blazon::service
