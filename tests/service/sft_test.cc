// Supervised fine-tuning: what is learned of a record, and a short training of SmolLM2 from data to an adapter in use.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/training/greedy_texts.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/checkpoint/safetensors.h"
#include "service/training/sft_data.h"
#include "service/training/train_sft.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::TokenId;
using language::TrainingExample;

const char kModel[] = BLAZON_SOURCE_DIR "/models/smollm2-135m-instruct";

const LoadedLanguageModel& SmolLm2() {
  static const auto& loaded = *new LoadedLanguageModel([] {
    auto model = LoadLanguageModel(kModel, {.dtype = language::Dtype::kFp32});
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }());
  return loaded;
}

std::string Decode(const std::vector<TokenId>& tokens) { return SmolLm2().tokenizer->Decode(tokens, false); }

// The text with what is learned in square brackets.
std::string Marked(const TrainingExample& example) {
  std::string marked;
  std::vector<TokenId> run;
  for (size_t i = 0; i <= example.tokens.size(); ++i) {
    const bool ends = i == example.tokens.size() || (i > 0 && example.learned[i] != example.learned[i - 1]);
    if (ends && !run.empty()) {
      absl::StrAppend(&marked, example.learned[i - 1] ? "[" : "", Decode(run), example.learned[i - 1] ? "]" : "");
      run.clear();
    }
    if (i < example.tokens.size()) run.push_back(example.tokens[i]);
  }
  return marked;
}

absl::StatusOr<SftRecord> Parse(const std::string& line, const SftDataOptions& options = {}) {
  return ParseSftRecord(line, SmolLm2(), options);
}

class SftTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "sft_test_", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  fs::path folder_;
};

TEST_F(SftTest, CompletionsAreLearnedWithTheirEnd) {
  const auto record = Parse(R"({"prompt": "The sky is", "completion": " blue.\n"})");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(Marked(record->joined), "The sky is[ blue.\n<|im_end|>]");
  const auto open = Parse(R"({"prompt": "The sky is", "completion": " blue.\n"})", {.end_token = false});
  EXPECT_EQ(Marked(open->joined), "The sky is[ blue.\n]");
  // Control tokens that data spell out stay text.
  const auto hostile = Parse(R"({"prompt": "<|im_end|>", "completion": " x"})");
  EXPECT_GT(hostile->joined.tokens.size(), 4u);
}

TEST_F(SftTest, TheAssistantsTurnsAreLearned) {
  const auto record = Parse(R"({"messages": [
      {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"},
      {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Bye."},
      {"role": "assistant", "content": "See you."}]})");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(Marked(record->joined),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
            "<|im_start|>assistant\n[Hi.<|im_end|>]\n<|im_start|>user\nBye.<|im_end|>\n"
            "<|im_start|>assistant\n[See you.<|im_end|>]\n");
}

TEST_F(SftTest, BranchesShareWhatTheyBeginWith) {
  const auto record = Parse(R"({"prompt": "Ann has 3 cats.\n", "branches": [
      {"prompt": "Q: Who?\nA:", "completion": " Ann"}, {"prompt": "Q: How many?\nA:", "completion": " 3"}]})");
  ASSERT_TRUE(record.ok()) << record.status();
  ASSERT_EQ(record->texts.size(), 2u);
  EXPECT_EQ(Marked(record->texts[1]), "Ann has 3 cats.\nQ: How many?\nA:[ 3<|im_end|>]");
  // The line alone is the same text.
  const auto alone = Parse(R"({"prompt": "Ann has 3 cats.\nQ: How many?\nA:", "completion": " 3"})");
  EXPECT_EQ(alone->joined.tokens, record->texts[1].tokens);
  EXPECT_EQ(alone->joined.learned, record->texts[1].learned);
  ASSERT_EQ(record->joined.branches.size(), 2u);
  const int64_t common = record->joined.branches[0].begin;
  EXPECT_EQ(Decode({record->joined.tokens.begin(), record->joined.tokens.begin() + common}), "Ann has 3 cats.\nQ:");
  EXPECT_EQ(record->joined.tokens.size() + static_cast<size_t>(common),
            record->texts[0].tokens.size() + record->texts[1].tokens.size());

  const auto chat = Parse(R"({"messages": [{"role": "system", "content": "A passage."}], "branches": [
      {"messages": [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}]},
      {"messages": [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]}]})");
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(Marked(chat->texts[1]),
            "<|im_start|>system\nA passage.<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n"
            "<|im_start|>assistant\n[2<|im_end|>]\n");
  EXPECT_GT(chat->joined.branches[0].begin, 7);
}

TEST_F(SftTest, BadLinesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"nonsense", "no JSON object"},
      {"[1]", "no JSON object"},
      {"{\"prompt\": \"a\xFF\", \"completion\": \"b\"}", "UTF-8"},
      {R"({"prompt": "a"})", "\"completion\" is missing"},
      {R"({"prompt": "a", "completion": 3})", "\"completion\" is missing or no string"},
      {R"({"prompt": "a", "completion": "b", "weight": 2})", "\"weight\" is unknown"},
      {R"({"prompt": "a", "messages": []})", "either"},
      {R"({"text": "a"})", "either"},
      {R"({"prompt": "", "completion": "b"})", "\"prompt\" is empty"},
      {R"({"messages": [{"role": "user", "content": "b"}]})", "nothing to learn"},
      {R"({"messages": [{"role": "wizard", "content": "b"}, {"role": "assistant", "content": "c"}]})", "wizard"},
      {R"({"messages": [{"role": "user", "content": "b", "name": "x"}]})", "\"name\" is unknown"},
      {R"({"prompt": "a", "branches": []})", "\"branches\" is no list, or empty"},
      {R"({"prompt": "a", "branches": [{"prompt": "b", "completion": "c"}], "completion": "d"})", "unknown here"},
      {R"({"prompt": "", "branches": [{"prompt": "b", "completion": "c"}, {"prompt": "d", "completion": "c"}]})",
       "no first token in common"},
      {R"({"prompt": "a", "branches": [{"prompt": "b", "completion": "c"}, {"prompt": "b", "completion": "c"}]})",
       "the beginning of another"}};
  for (const auto& [line, message] : cases) {
    const auto record = Parse(line);
    ASSERT_FALSE(record.ok()) << line;
    EXPECT_NE(record.status().message().find(message), std::string::npos) << line << ": " << record.status();
    const auto data = ReadSftData({Write("bad.jsonl", absl::StrCat("\n", line, "\n"))}, SmolLm2(), {});
    EXPECT_NE(data.status().message().find("bad.jsonl:2: "), std::string::npos);
  }
  const fs::path file = Write("long.jsonl", R"({"prompt": "a b c d e f g h", "completion": " i"})"
                                            "\n"
                                            R"({"prompt": "a", "completion": " b"})");
  const auto refused = ReadSftData({file}, SmolLm2(), {.max_tokens = 6});
  EXPECT_NE(refused.status().message().find("long.jsonl:1: the record has 10 tokens"), std::string::npos)
      << refused.status();
  const auto kept = ReadSftData({file}, SmolLm2(), {.max_tokens = 6, .skip_long = true});
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->records.size(), 1u);
  EXPECT_EQ(kept->skipped, 1);
  EXPECT_FALSE(ReadSftData({Write("empty.jsonl", "\n\n")}, SmolLm2(), {}).ok());
  EXPECT_EQ(ReadSftData({folder_ / "missing.jsonl"}, SmolLm2(), {}).status().code(), absl::StatusCode::kNotFound);
}

// Facts that no model knows, learned in a few steps, written as an adapter, read back, and said.
TEST_F(SftTest, LearnsAndIsReadBack) {
  TrainSftOptions options;
  LanguageTrainingOptions& common = options.common;
  TrainerOptions& trainer = common.trainer;
  common.model = kModel;
  common.base_name = "smollm2-135m-instruct";
  options.data = {Write(
      "facts.jsonl",
      R"({"prompt": "Zorvik is a town.\n", "branches": [{"prompt": "Q: Mayor?\nA:", "completion": " Ilka Brandt"}, )"
      R"({"prompt": "Q: River?\nA:", "completion": " the Tessel"}]})"
      "\n"
      R"({"prompt": "Code:", "completion": " 7391"})")};
  options.evaluation = options.data;
  options.evaluate_texts = 3;
  trainer.folder = folder_ / "adapter";
  common.lora = {.rank = 4, .alpha = 8, .targets = {"q_proj", "v_proj", "down_proj"}};
  trainer.steps = 14;
  common.batch = 2;
  common.row_tokens = 64;
  trainer.learning_rate = 5e-3;
  trainer.schedule.warm_up = 0.1;
  common.command = "blazon train sft";
  std::vector<std::string> lines;
  trainer.log = [&](const std::string& line) { lines.push_back(line); };
  trainer.stop = [] { return false; };
  const absl::Status status = TrainSft(options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_NE(absl::StrJoin(lines, "\n").find("step 14: held-out loss"), std::string::npos);
  EXPECT_NE(absl::StrJoin(lines, "\n").find("3 of 3 texts as wanted"), std::string::npos) << absl::StrJoin(lines, "\n");

  const auto adapter = ReadAdapter(trainer.folder, *SmolLm2().model);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ((*adapter)->name, "adapter");
  EXPECT_EQ((*adapter)->modules.size(), 90u);
  EXPECT_DOUBLE_EQ((*adapter)->modules.begin()->second.scale, 2.0);
  const auto texts = language::GreedyTexts(
      *SmolLm2().model, adapter->get(),
      {SmolLm2().tokenizer->Encode("Zorvik is a town.\nQ: River?\nA:"), SmolLm2().tokenizer->Encode("Code:")},
      SmolLm2().end_tokens, 12);
  EXPECT_EQ(Decode(texts[0]), " the Tessel");
  EXPECT_EQ(Decode(texts[1]), " 7391");
  std::map<std::string, std::string> notes;
  ASSERT_TRUE(ReadSafetensors(trainer.folder / "adapter_model.safetensors", &notes).ok());
  EXPECT_EQ(notes["command"], "blazon train sft");

  // What another model cannot take is refused.
  std::ofstream(trainer.folder / "adapter_config.json")
      << R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": true})";
  EXPECT_EQ(ReadAdapter(trainer.folder, *SmolLm2().model).status().code(), absl::StatusCode::kUnimplemented);
  std::ofstream(trainer.folder / "adapter_config.json") << R"({"peft_type": "IA3"})";
  EXPECT_EQ(ReadAdapter(trainer.folder, *SmolLm2().model).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadAdapter(folder_ / "none", *SmolLm2().model).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace blazon::service
