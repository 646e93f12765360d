// Learning from preferences and scores on a small model: data as they are read, each kind of training from data to what
// it is for, going on as if nothing had happened, and what is refused.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
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
#include "service/checkpoint/reward_model_folder.h"
#include "service/training/dpo_task.h"
#include "service/training/policy_data.h"
#include "service/training/policy_options.h"
#include "service/training/preference_data.h"
#include "service/training/train_dpo.h"
#include "service/training/train_reward.h"
#include "service/training/train_sft.h"
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
  // Of what is common to all kinds of training.
  void Common(const std::string& run, LanguageTrainingOptions& common) {
    common.model = folder_ / "model";
    common.lora = {.rank = 4, .alpha = 8};
    common.trainer.folder = folder_ / run;
    common.trainer.learning_rate = 5e-3;
    common.trainer.log = [this](const std::string& line) { lines_.push_back(line); };
    common.trainer.stop = [] { return false; };
  }
  TrainRewardOptions RewardOptions(const std::string& run) {
    TrainRewardOptions options;
    const TrainDpoOptions pairs = Options(run);
    options.data = pairs.data;
    options.evaluation = pairs.evaluation;
    Common(run, options.common);
    options.common.batch = 4;
    options.common.trainer.steps = 25;
    return options;
  }
  // A model that says "yes." or "no." to whatever is asked, either as likely: `undecided`.
  void TrainUndecided() {
    std::string text;
    for (const char* word : {"the cat", "a dog", "an ape", "the pot", "a jug", "an inn"}) {
      for (const char* answer : {" yes.", " no."})
        absl::StrAppend(&text, json{{"prompt", word}, {"completion", answer}}.dump(), "\n");
    }
    TrainSftOptions options;
    options.data = {Write("undecided.jsonl", text)};
    Common("undecided", options.common);
    options.common.all_weights = true;
    options.common.batch = 12;
    options.common.trainer.steps = 40;
    options.common.trainer.learning_rate = 3e-3;
    const absl::Status status = TrainSft(options);
    ASSERT_TRUE(status.ok()) << status;
  }
  TrainPolicyOptions PolicyOptions(const std::string& run, PolicyAlgorithm algorithm) {
    std::string text;
    for (const char* animal : {"the cat", "a dog", "an ape"})
      absl::StrAppend(&text, json{{"prompt", animal}, {"answer", "yes."}}.dump(), "\n");
    for (const char* thing : {"the pot", "a jug", "an inn"})
      absl::StrAppend(&text, json{{"prompt", thing}, {"pattern", "^ no[.]$"}}.dump(), "\n");
    TrainPolicyOptions options;
    options.algorithm = algorithm;
    options.data = options.evaluation = {Write("prompts.jsonl", text)};
    Common(run, options.common);
    options.common.model = folder_ / "undecided";
    options.common.batch = 6;
    options.max_new_tokens = 8;
    options.common.trainer.steps = 20;
    options.common.trainer.schedule.kind = language::ScheduleKind::kConstant;
    return options;
  }
  // What was said of the held-out score after `step`.
  double HeldOutScore(int step) const {
    const std::string said = Said(), before = absl::StrCat("step ", step, ": held-out score ");
    const size_t at = said.find(before);
    return at == std::string::npos ? NAN : std::stod(said.substr(at + before.size()));
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

TEST_F(PreferenceTest, RewardModelsTellWhatIsPreferred) {
  const TrainRewardOptions options = RewardOptions("reward");
  const absl::Status status = TrainReward(options);
  ASSERT_TRUE(status.ok()) << status;
  const auto rows = Log("reward");
  ASSERT_EQ(rows.size(), 26u);
  EXPECT_NEAR(std::stod(rows[1][1]), std::log(2.0), 1e-6);  // the head begins at 0
  EXPECT_GT(std::stod(rows[25][6]), 0.9);
  // The layout that its header describes.
  std::map<std::string, std::string> metadata;
  const auto head = ReadSafetensors(folder_ / "reward/reward_head.safetensors", &metadata);
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->at("score.weight").sizes(), at::IntArrayRef({1, 64}));
  EXPECT_TRUE(metadata["base_digest"].starts_with("sha256:")) << metadata["base_digest"];
  EXPECT_TRUE(fs::exists(folder_ / "reward/adapter_model.safetensors"));

  ScoreTextsOptions scoring = {.reward = folder_ / "reward", .data = options.data};
  Common("unused", scoring.common);
  const auto pairs = ScoreTexts(scoring);
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  ASSERT_EQ(pairs->size(), 6u);
  for (const ScoredLine& line : *pairs) EXPECT_GT(line.reward, line.rejected);
  scoring.data = {Write("texts.jsonl", R"({"prompt": "the cat", "completion": " yes."}
{"prompt": "the cat", "completion": " no."}
)")};
  const auto texts = ScoreTexts(scoring);
  ASSERT_TRUE(texts.ok()) << texts.status();
  EXPECT_FALSE((*texts)[0].pair);
  EXPECT_NEAR((*texts)[0].reward, (*pairs)[0].reward, 1e-4);
  EXPECT_NEAR((*texts)[1].reward, (*pairs)[0].rejected, 1e-4);

  // Of another base.
  const json& made = FamilyCases()["llama.grouped"];
  TensorMap weights = CaseWeights(made);
  weights["model.norm.weight"] = weights["model.norm.weight"] * 1.01;
  json config = made["config"];
  config["eos_token_id"] = 0;
  WriteCheckpoint(folder_ / "other", config, weights);
  WriteCharacterTokenizer(folder_ / "other");
  scoring.common.model = folder_ / "other";
  EXPECT_NE(ScoreTexts(scoring).status().message().find("is a reward model of"), std::string::npos)
      << ScoreTexts(scoring).status();
  scoring.reward = folder_ / "model";
  EXPECT_EQ(ScoreTexts(scoring).status().code(), absl::StatusCode::kNotFound);
  TrainRewardOptions full = options;
  full.common.all_weights = true;
  EXPECT_NE(TrainReward(full).message().find("--full"), std::string::npos);
}

TEST_F(PreferenceTest, GroupsOfCompletionsTeachWhatIsRight) {
  TrainUndecided();
  TrainPolicyOptions options = PolicyOptions("grpo", PolicyAlgorithm::kGrpo);
  const absl::Status status = TrainPolicy(options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_LE(HeldOutScore(0), 0.7) << Said();
  EXPECT_EQ(HeldOutScore(20), 1) << Said();
  const auto rows = Log("grpo");
  EXPECT_EQ(absl::StrJoin(rows[0], ","), "step,loss,rate,gradient,tokens,held_out,reward,length,kl,clipped");
  EXPECT_NEAR(std::stod(rows[1][8]), 0, 1e-5);  // at the first step the policy is the reference
  EXPECT_GT(std::stod(rows[20][8]), 0.01);
  options.common.start_adapter = folder_ / "grpo";
  const auto score = ScorePolicy(options);
  ASSERT_TRUE(score.ok()) << score.status();
  EXPECT_EQ(*score, 1);
  // All weights, with the reference beside them; in bf16, and layers computed again.
  TrainPolicyOptions full = PolicyOptions("full", PolicyAlgorithm::kGrpo);
  full.common.all_weights = full.common.recompute = true;
  full.common.dtype = "bf16";
  full.common.trainer.learning_rate = 1e-3;
  lines_.clear();
  ASSERT_TRUE(TrainPolicy(full).ok()) << Said();
  EXPECT_GT(std::stod(Log("full")[20][8]), 0.01);
  EXPECT_GE(HeldOutScore(20), 0.8) << Said();
}

TEST_F(PreferenceTest, PpoFollowsARewardModelAndGoesOnBitForBit) {
  TrainUndecided();
  TrainRewardOptions reward = RewardOptions("reward");
  reward.common.model = folder_ / "undecided";
  ASSERT_TRUE(TrainReward(reward).ok()) << Said();
  TrainPolicyOptions options = PolicyOptions("ppo", PolicyAlgorithm::kPpo);
  // Neither answers nor patterns: the reward model alone judges.
  std::string prompts;
  for (const char* word : {"the cat", "a dog", "an ape", "the pot", "a jug", "an inn"})
    absl::StrAppend(&prompts, json{{"prompt", word}}.dump(), "\n");
  const auto judged = options.data;
  options.data = options.evaluation = {Write("judged.jsonl", prompts)};
  options.reward_model = folder_ / "reward";
  options.group = 4;
  options.updates = options.minibatches = 2;
  options.kl = 0.05;
  options.kl_target = 3;
  options.common.trainer.steps = 60;
  ASSERT_TRUE(TrainPolicy(options).ok()) << Said();
  const auto rows = Log("ppo");
  EXPECT_NE(std::stod(rows[60][11]), 0.05) << "the weight of the divergence is adapted";
  TrainPolicyOptions scoring = PolicyOptions("unused", PolicyAlgorithm::kGrpo);
  scoring.data = judged;
  const auto before = ScorePolicy(scoring);
  scoring.common.start_adapter = folder_ / "ppo";
  const auto after = ScorePolicy(scoring);
  ASSERT_TRUE(before.ok() && after.ok()) << before.status() << after.status();
  EXPECT_LE(*before, 0.7);
  EXPECT_GE(*after, 0.8);

  // Stopped within a round.
  options.common.trainer.folder = folder_ / "parts";
  int64_t asked = 0;
  options.common.trainer.stop = [&asked] { return ++asked > 6; };
  ASSERT_TRUE(TrainPolicy(options).ok()) << Said();
  options.common.trainer.stop = [] { return false; };
  ASSERT_TRUE(TrainPolicy(options).ok()) << Said();
  EXPECT_EQ(Log("parts"), rows);
}

TEST_F(PreferenceTest, CompletionsAreScoredByTheirAnswer) {
  const LoadedLanguageModel model = Load();
  const auto read = [&](const std::string& line, const PolicyDataOptions& options = {.max_new_tokens = 8}) {
    return ReadPolicyData({Write("prompt.jsonl", line)}, model, options);
  };
  const auto answer = read(R"({"prompt": "a", "answer": " Four\n"})");
  ASSERT_TRUE(answer.ok()) << answer.status();
  const auto score = [&](const std::string& text, bool finished = true, const ScorerOptions& options = {}) {
    return ScoreCompletion((*answer)[0], text, finished, options);
  };
  EXPECT_EQ(score(" Four"), 1);
  EXPECT_EQ(score("four"), 0);
  EXPECT_EQ(score("It is Four"), 0);
  EXPECT_EQ(score(" Four", false), 0);
  EXPECT_EQ(score(" Four", false, {.unfinished_penalty = 0.5}), -0.5);
  EXPECT_EQ(score("<think>\nFive?\n</think>\n\nFour"), 1);
  EXPECT_EQ(score("<think>Four</think>Five"), 0);
  EXPECT_EQ(score("<think>Four", true, {.reasoning_score = 0.25}), 0);
  EXPECT_EQ(score("<think>Hm.</think>Four", true, {.reasoning_score = 0.25}), 1.25);
  auto regex = language::Regex::Create({.text = "[A-Z][a-z]+", .regex = true});
  ASSERT_TRUE(regex.ok());
  const ScorerOptions last = {.answer_pattern = std::make_shared<const language::Regex>(*std::move(regex))};
  EXPECT_EQ(score("Is it Five? No, it is Four.", true, last), 1);
  EXPECT_EQ(score("Is it Four? No, it is Five.", true, last), 0);
  const auto pattern = read(R"({"prompt": "a", "pattern": "^[0-9]+$"})");
  ASSERT_TRUE(pattern.ok()) << pattern.status();
  EXPECT_EQ(ScoreCompletion((*pattern)[0], "12", true, {}), 1);
  EXPECT_EQ(ScoreCompletion((*pattern)[0], "12.", true, {}), 0);

  const std::pair<const char*, const char*> cases[] = {
      {"[]", "no JSON object"},
      {R"({"prompt": "a"})", "neither \"answer\" nor \"pattern\""},
      {R"({"prompt": "a", "answer": "b", "pattern": "c"})", "both"},
      {R"({"prompt": "a", "answer": ""})", "\"answer\" is empty"},
      {R"({"prompt": "a", "pattern": "("})", "("},
      {R"({"prompt": "a", "answer": "b", "score": 2})", "\"score\" is unknown"},
      {R"({"answer": "b"})", "either"},
      {"\n", "no prompt"}};
  for (const auto& [line, message] : cases)
    EXPECT_NE(read(line).status().message().find(message), std::string::npos) << line << ": " << read(line).status();
  EXPECT_TRUE(read(R"({"prompt": "a"})", {.max_new_tokens = 8, .judged = true}).ok());
  EXPECT_NE(
      read(R"({"prompt": "a", "answer": "b"})", {.max_new_tokens = 95}).status().message().find("the context, 96"),
      std::string::npos);
}

TEST_F(PreferenceTest, BadOptionsOfPoliciesAreNamed) {
  const auto message = [&](const std::function<void(TrainPolicyOptions&)>& change) {
    TrainPolicyOptions options = PolicyOptions("bad", PolicyAlgorithm::kGrpo);
    options.common.model = folder_ / "model";
    change(options);
    return std::string(TrainPolicy(options).message());
  };
  const std::pair<std::function<void(TrainPolicyOptions&)>, const char*> cases[] = {
      {[](auto& o) { o.group = 1; }, "--group is 1"},
      {[](auto& o) { o.temperature = 0; }, "--temperature is 0"},
      {[](auto& o) { o.clip = 0; }, "--clip-ratio is 0"},
      {[](auto& o) { o.kl = -1; }, "--kl is -1"},
      {[](auto& o) { o.minibatches = 1000; }, "--minibatches is 1000"},
      {[](auto& o) { o.max_new_tokens = 200; }, "longer than the context"},
      {[](auto& o) { o.answer_pattern = "["; }, "["},
      {[](auto& o) { o.common.trainer.overfit = true; }, "--overfit"},
      {[this](auto& o) { o.reward_model = folder_; }, "is no reward model"}};
  for (const auto& [change, wanted] : cases)
    EXPECT_NE(message(change).find(wanted), std::string::npos) << message(change);
}

}  // namespace
}  // namespace blazon::service
