// Fine-tuning on plain texts: what is read, and models and adapters that come out as others read them: every family.
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/checkpoint/model_folder.h"
#include "service/training/text_data.h"
#include "service/training/train_finetune.h"
#include "tests/language/formula_weights.h"
#include "tests/service/family_cases.h"
#include "tests/service/small_tokenizer.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using language::TokenId;
using nlohmann::json;

class FinetuneTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "finetune_test_", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Model(const std::string& name) {
    const json& made = FamilyCases()[name];
    json config = made["config"];
    config["eos_token_id"] = 0;
    WriteCheckpoint(folder_ / name, config, CaseWeights(made));
    WriteCharacterTokenizer(folder_ / name);
    return folder_ / name;
  }
  fs::path Write(const fs::path& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  LoadedLanguageModel Load(const fs::path& path) {
    auto loaded = LoadLanguageModel(path, {.dtype = language::Dtype::kFp32});
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return *std::move(loaded);
  }
  TrainFinetuneOptions Options(const fs::path& model, const fs::path& data) {
    TrainFinetuneOptions options;
    options.data = {data};
    options.context = 24;
    options.common.model = model;
    options.common.batch = 2;
    options.common.trainer.folder = folder_ / "run";
    options.common.trainer.steps = 3;
    options.common.trainer.learning_rate = 1e-2;
    options.common.trainer.log = [this](const std::string& line) { lines_.push_back(line); };
    options.common.trainer.stop = [] { return false; };
    return options;
  }

  fs::path folder_;
  std::vector<std::string> lines_;
};

at::Tensor Logits(const language::LanguageModel& model, const language::Adapter* adapter = nullptr) {
  const at::NoGradGuard no_grad;
  const at::Tensor tokens = at::arange(20, at::kLong) * 7 % 29;
  return model.Logits(model.Forward({{.tokens = tokens, .adapter = adapter}}));
}

constexpr char kText[] = "the cat sat on the mat, and the dog sat on the log.\nthe end of the tale was not the end.\n";

TEST_F(FinetuneTest, TextsAreReadFromFilesFoldersAndColumns) {
  const LoadedLanguageModel model = Load(Model("llama.grouped"));
  Write("texts/b.txt", "bee");
  Write("texts/sub/a.md", "ant");
  Write("texts/skip.json", "{}");
  auto data = ReadTextData({folder_ / "texts"}, "", model);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(model.tokenizer->Decode(data->tokens, false), "bee<end>ant<end>");
  EXPECT_EQ(data->texts, 2);
  const fs::path csv = Write("table.csv", "id,text\r\n1,\"one, two\"\r\n2,\"a \"\"b\"\" c\nd\"\r\n\r\n3,plain\r\n");
  data = ReadTextData({csv}, "text", model);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(model.tokenizer->Decode(data->tokens, false), "one, two<end>a b c\nd<end>plain<end>");
  data = ReadTextData({Write("broken.txt", "caf\xE9 au lait")}, "", model);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->replaced, 1);

  const auto message = [&](const std::vector<fs::path>& paths, const std::string& column) {
    return std::string(ReadTextData(paths, column, model).status().message());
  };
  EXPECT_NE(message({csv}, "body").find("no column \"body\"; there are id, text"), std::string::npos);
  EXPECT_NE(message({Write("c.csv", "a,b\n1\n")}, "a").find("row 1 has 1 fields, and the header 2"), std::string::npos);
  EXPECT_NE(message({Write("d.csv", "a\n\"x\n")}, "a").find("does not end"), std::string::npos);
  EXPECT_NE(message({Write("empty.txt", "")}, "").find("nothing to learn"), std::string::npos);
  EXPECT_NE(message({folder_ / "none.txt"}, "").find("could not be read"), std::string::npos);
  fs::create_directories(folder_ / "hollow");
  EXPECT_NE(message({folder_ / "hollow"}, "").find("no .txt or .md file"), std::string::npos);
}

TEST_F(FinetuneTest, PiecesCoverTheTextAndTheirOrderComesBack) {
  std::vector<TokenId> tokens(1000);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i);
  TextSource source(tokens, 64, 5);
  std::set<TokenId> seen;
  std::vector<TokenId> firsts;
  for (int i = 0; i < 28; ++i) {  // two passes of 14
    const language::TrainingExample piece = source.Next();
    ASSERT_EQ(piece.tokens.size(), 64u);
    EXPECT_EQ(piece.tokens[63], piece.tokens[0] + 63);
    seen.insert(piece.tokens.begin(), piece.tokens.end());
    firsts.push_back(piece.tokens[0]);
  }
  EXPECT_GE(seen.size(), 14u * 64);
  EXPECT_NE(firsts[0] % 64, firsts[14] % 64) << "both passes cut at the same places";
  // From a position the rest is the same.
  TextSource again(tokens, 64, 5), resumed(tokens, 64, 9);
  for (int i = 0; i < 17; ++i) again.Next();
  ASSERT_TRUE(resumed.SetPosition(again.Position()).ok());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(again.Next().tokens.size(), 64u);
  TextSource other({1, 2, 3, 4, 5}, 64, 5);
  EXPECT_EQ(other.SetPosition(again.Position()).code(), absl::StatusCode::kFailedPrecondition);
  const auto pieces = TextPieces(tokens, 64);
  EXPECT_EQ(pieces.size(), 16u);
  EXPECT_EQ(pieces.back().tokens.size(), 40u);
}

// All weights of each family: trained, written as transformers has them, and read again.
TEST_F(FinetuneTest, WholeModelsComeBack) {
  const fs::path text = Write("tale.txt", kText);
  for (const auto& [name, made] : FamilyCases().items()) {
    const fs::path base = Model(name);
    TrainFinetuneOptions options = Options(base, text);
    options.common.all_weights = true;
    options.common.trainer.folder = folder_ / absl::StrCat(name, ".run");
    const absl::Status status = TrainFinetune(options);
    ASSERT_TRUE(status.ok()) << name << ": " << status;
    const LoadedLanguageModel before = Load(base), after = Load(options.common.trainer.folder);
    EXPECT_GT((Logits(*after.model) - Logits(*before.model)).abs().max().item<double>(), 0.01) << name;
    EXPECT_EQ(after.tokenizer->Encode("the cat"), before.tokenizer->Encode("the cat"));
    // What comes out is what was trained: its weights are those of the checkpoint.
    const auto checkpoint = ReadSafetensors(options.common.trainer.folder / "checkpoint-00000003/state.safetensors");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    for (const language::Parameter& parameter : after.model->parameters()) {
      EXPECT_LT((parameter.tensor - checkpoint->at("weights." + parameter.name)).abs().max().item<double>(), 1e-6)
          << name << " " << parameter.name;
    }
    // And written again without training it is the same file as before.
    ASSERT_TRUE(WriteModelFolder(folder_ / "copy", *before.model, base).ok());
    const auto copied = ReadSafetensors(folder_ / "copy/model.safetensors");
    ASSERT_TRUE(copied.ok());
    for (const auto& [tensor, values] : CaseWeights(made)) {
      if (!copied->contains(tensor)) continue;  // a tied output matrix
      EXPECT_LT((copied->at(tensor) - values).abs().max().item<double>(), 1e-6) << name << " " << tensor;
    }
    EXPECT_GE(copied->size() + 1, CaseWeights(made).size()) << name;
  }
}

std::vector<double> LoggedLosses(const fs::path& run) {
  std::ifstream log(run / "log.csv");
  std::vector<double> losses;
  for (std::string line; std::getline(log, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ',');
    if (fields[0] != "step") losses.push_back(std::stod(fields[1]));
  }
  return losses;
}

// All weights in bf16, each step in several passes.
TEST_F(FinetuneTest, Bf16LearnsAsFp32Does) {
  const fs::path text = Write("tale.txt", kText);
  for (const char* name : {"llama.grouped", "gpt2.tied", "gemma3.pattern"}) {
    TrainFinetuneOptions options = Options(Model(name), text);
    options.common.all_weights = true;
    options.common.batch = 4;
    options.common.row_tokens = 48;
    options.common.trainer.steps = 10;
    std::map<std::string, std::vector<double>> losses;
    for (const char* dtype : {"fp32", "bf16"}) {
      options.common.dtype = dtype;
      options.common.trainer.folder = folder_ / absl::StrCat(name, ".", dtype);
      const absl::Status status = TrainFinetune(options);
      ASSERT_TRUE(status.ok()) << name << ": " << status;
      losses[dtype] = LoggedLosses(options.common.trainer.folder);
      ASSERT_EQ(losses[dtype].size(), 10u);
      EXPECT_LT(losses[dtype].back(), 0.9 * losses[dtype].front()) << name;
    }
    double worst = 0;
    for (size_t i = 0; i < 10; ++i) worst = std::max(worst, std::abs(losses["bf16"][i] / losses["fp32"][i] - 1));
    std::printf("| %-15s 10 losses in bf16 are those in fp32 within %.2f %%\n", name, 100 * worst);
    EXPECT_LT(worst, 0.01) << name;
    EXPECT_NE(losses["bf16"], losses["fp32"]) << name;
  }
}

// Steps so small that a bf16 weight would stay where it is: what is trained, all weights or an adapter, moves as in
// fp32.
TEST_F(FinetuneTest, Bf16KeepsSmallSteps) {
  const fs::path text = Write("tale.txt", kText), model = Model("llama.grouped");
  constexpr double kRate = 1e-6;
  for (const bool all_weights : {true, false}) {
    std::map<std::string, at::Tensor> moved;  // dtype -> what 7 steps changed, of all values
    for (const char* dtype : {"fp32", "bf16"}) {
      TrainFinetuneOptions options = Options(model, text);
      options.common.all_weights = all_weights;
      options.common.dtype = dtype;
      options.common.batch = 4;
      options.common.trainer.steps = 8;
      options.common.trainer.save_every = 1;
      options.common.trainer.keep = 8;
      options.common.trainer.learning_rate = kRate;
      options.common.trainer.folder = folder_ / absl::StrCat(dtype, all_weights);
      const absl::Status status = TrainFinetune(options);
      ASSERT_TRUE(status.ok()) << status;
      const auto first = ReadSafetensors(options.common.trainer.folder / "checkpoint-00000001/state.safetensors");
      const auto last = ReadSafetensors(options.common.trainer.folder / "checkpoint-00000008/state.safetensors");
      ASSERT_TRUE(first.ok() && last.ok()) << first.status() << last.status();
      std::vector<at::Tensor> before, change;
      for (const auto& [name, tensor] : *first) {
        if (!name.starts_with("weights.")) continue;
        ASSERT_EQ(tensor.scalar_type(), at::kFloat) << name;
        before.push_back(tensor.flatten());
        change.push_back((last->at(name) - tensor).flatten());
      }
      const at::Tensor all = at::cat(before), some = all.masked_select(all.abs() > 1e-2).to(at::kBFloat16);
      EXPECT_TRUE((some.to(at::kFloat) + kRate).to(at::kBFloat16).equal(some)) << "the step is not small";
      moved[dtype] = at::cat(change);
      const double mean = moved[dtype].abs().mean().item<double>();
      EXPECT_GT(mean, kRate) << dtype;
      EXPECT_LT(mean, 8 * kRate) << dtype;
    }
    const double alike = at::cosine_similarity(moved["fp32"], moved["bf16"], 0).item<double>();
    std::printf("| %s: cosine of what small steps change in bf16 and in fp32 %.3f\n",
                all_weights ? "all weights" : "an adapter", alike);
    EXPECT_GT(alike, 0.99);
  }
}

// And with layers that are computed again it is the same.
TEST_F(FinetuneTest, Bf16GoesOnBitForBit) {
  TrainFinetuneOptions options = Options(Model("gpt2.tied"), Write("tale.txt", kText));
  options.common.all_weights = true;
  options.common.dtype = "bf16";
  options.common.trainer.steps = 6;
  options.common.trainer.print_every = 1;
  ASSERT_TRUE(TrainFinetune(options).ok());
  const auto whole = ReadSafetensors(folder_ / "run/model.safetensors");
  ASSERT_TRUE(whole.ok()) << whole.status();

  options.common.trainer.folder = folder_ / "stopped";
  options.common.trainer.stop = [this] { return lines_.back().starts_with("step 3 of 6"); };
  ASSERT_TRUE(TrainFinetune(options).ok());
  options.common.trainer.stop = [] { return false; };
  options.common.recompute = true;
  ASSERT_TRUE(TrainFinetune(options).ok());
  EXPECT_NE(absl::StrJoin(lines_, "\n").find("stopped after step 3 of 6"), std::string::npos);
  EXPECT_EQ(LoggedLosses(folder_ / "stopped"), LoggedLosses(folder_ / "run"));
  const auto resumed = ReadSafetensors(folder_ / "stopped/model.safetensors");
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  for (const auto& [name, tensor] : *whole) {
    EXPECT_EQ(tensor.scalar_type(), at::kFloat);
    EXPECT_TRUE(tensor.equal(resumed->at(name))) << name;
  }
}

// An LSTM has neither layers to compute again nor linear ones; all of it learns, in bf16 too.
TEST_F(FinetuneTest, AnLstmIsTrainedWholeOrNotAtAll) {
  TensorMap weights = {{"embedding.weight", language::FormulaWeight("embedding", {31, 24})}};
  for (const std::string name : {"ih", "hh"}) {
    weights[absl::StrCat("lstm.weight_", name, "_l0")] = language::FormulaWeight(name, {96, 24});
    weights[absl::StrCat("lstm.bias_", name, "_l0")] = language::FormulaWeight(name + ".bias", {96});
  }
  WriteCheckpoint(folder_ / "lstm",
                  {{"model_type", "blazon_lstm"},
                   {"hidden_size", 24},
                   {"num_hidden_layers", 1},
                   {"max_position_embeddings", 64},
                   {"vocab_size", 31},
                   {"tie_word_embeddings", true}},
                  weights);
  WriteCharacterTokenizer(folder_ / "lstm");
  TrainFinetuneOptions options = Options(folder_ / "lstm", Write("tale.txt", kText));
  absl::Status status = TrainFinetune(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("no linear layer"), std::string::npos) << status;
  options.common.all_weights = options.common.recompute = true;
  status = TrainFinetune(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("--recompute is for transformers"), std::string::npos) << status;
  options.common.recompute = false;
  options.common.dtype = "bf16";
  options.common.trainer.steps = 20;
  status = TrainFinetune(options);
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<double> losses = LoggedLosses(folder_ / "run");
  EXPECT_LT(losses.back(), 0.95 * losses.front());
}

TEST_F(FinetuneTest, AdaptersComeBack) {
  const fs::path text = Write("tale.txt", kText);
  for (const char* name : {"llama.grouped", "gpt2.tied", "gemma3.pattern", "bloom.odd"}) {
    TrainFinetuneOptions options = Options(Model(name), text);
    options.common.lora = {.rank = 3, .alpha = 6, .dropout = 0.1, .rank_stabilised = true};
    options.common.trainer.folder = folder_ / absl::StrCat(name, ".run");
    options.common.trainer.steps = 6;
    const absl::Status status = TrainFinetune(options);
    ASSERT_TRUE(status.ok()) << name << ": " << status;
    const LoadedLanguageModel base = Load(options.common.model);
    const auto adapter = ReadAdapter(options.common.trainer.folder, *base.model);
    ASSERT_TRUE(adapter.ok()) << name << ": " << adapter.status();
    EXPECT_NEAR((*adapter)->modules.begin()->second.scale, 6 / std::sqrt(3.0), 1e-9);
    EXPECT_GT((Logits(*base.model, adapter->get()) - Logits(*base.model)).abs().max().item<double>(), 1e-3) << name;
    const json config = json::parse(std::ifstream(options.common.trainer.folder / "adapter_config.json"));
    EXPECT_EQ(config["fan_in_fan_out"], std::string(name).starts_with("gpt2"));
    EXPECT_EQ(config["use_rslora"], true);
    // Of another model.
    const LoadedLanguageModel other = Load(Model("mistral.full"));
    if (!std::string(name).starts_with("llama")) {
      EXPECT_EQ(ReadAdapter(options.common.trainer.folder, *other.model).status().code(),
                absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST_F(FinetuneTest, LearnsATextByHeartAndWritesIt) {
  TrainFinetuneOptions options = Options(Model("llama.grouped"), Write("tale.txt", kText));
  options.common.all_weights = true;
  options.common.batch = 4;
  options.common.trainer.steps = 120;
  options.common.trainer.sample_every = 120;
  options.common.sample_prompt = "the cat";
  options.common.sample_tokens = 20;
  options.evaluation = options.data;
  options.context = 48;
  const absl::Status status = TrainFinetune(options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_NE(absl::StrJoin(lines_, "\n").find("the cat sat on the mat, and"), std::string::npos)
      << absl::StrJoin(lines_, "\n");
  EXPECT_TRUE(lines_.back().ends_with(" MB of memory were held at most")) << lines_.back();
  const json run = json::parse(std::ifstream(folder_ / "run/run.json"));
  EXPECT_EQ(run["trained"], "model");
  EXPECT_EQ(run["steps"], 120);

  options.context = 1;
  EXPECT_NE(TrainFinetune(options).message().find("--context is 1"), std::string::npos);
  options.context = 48;
  options.common.dtype = "fp16";
  EXPECT_NE(TrainFinetune(options).message().find("--dtype is fp16"), std::string::npos);
}

}  // namespace
}  // namespace blazon::service
