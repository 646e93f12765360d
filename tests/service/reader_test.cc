// The reader against PyTorch: the encoder's states, its scores, and the loss of its first steps of training. Then the
// reading set, its tasks and its file: what is refused.
#include "service/reader.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "language/models/bert_embedder.h"
#include "language/models/sentence_reader.h"
#include "language/training/adamw.h"
#include "service/checkpoint/embedder_loader.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/sentence_reader_file.h"
#include "service/collection_embedder.h"
#include "service/training/reader_loss.h"
#include "service/training/reading_set.h"
#include "service/training/reading_task.h"
#include "service/training/train_reader.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;

const char kRemedy[] = "; goldens are made by: python tests/reference/reader_goldens.py";
const fs::path kRoot = BLAZON_SOURCE_DIR;

// The shapes that reader_goldens.py has.
language::BertConfig SmallConfig() {
  language::BertConfig config;
  config.width = 32;
  config.heads = 4;
  config.layers = 3;
  config.mlp_width = 48;
  return config;
}

class ReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    auto read = ReadSafetensors(kRoot / "tests/goldens/reader.safetensors");
    ASSERT_TRUE(read.ok()) << read.status() << kRemedy;
    golden_ = *read;
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("reader_test.", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  language::SentenceReader::Tensors Start() const {
    language::SentenceReader::Tensors tensors;
    for (const auto& [name, tensor] : golden_) {
      if (absl::StartsWith(name, "start.")) tensors[name.substr(6)] = tensor.clone();
    }
    return tensors;
  }

  // The pairs of the goldens; the lengths differ, so that padding and its mask are tested.
  language::ReaderBatch Batch() {
    std::vector<const language::TextStates*> questions, sentences;
    std::vector<std::vector<float>> features;
    states_.clear();
    states_.reserve(16);
    for (int i = 0; i < 2; ++i) {
      states_.push_back({golden_.at(absl::StrCat("question.", i))});
      const language::TextStates* question = &states_.back();
      for (int j = 0; golden_.contains(absl::StrCat("sentence.", i, ".", j)); ++j) {
        const at::Tensor both = golden_.at(absl::StrCat("sentence.", i, ".", j));
        states_.push_back({both[0], both[1]});
        questions.push_back(question);
        sentences.push_back(&states_.back());
        const at::Tensor row = golden_.at(absl::StrCat("features.", i, ".", j)).contiguous();
        features.emplace_back(row.const_data_ptr<float>(), row.const_data_ptr<float>() + row.size(0));
      }
    }
    return language::PadPairs(questions, sentences, features);
  }

  fs::path Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  TensorMap golden_;
  std::vector<language::TextStates> states_;
  fs::path folder_;
};

TEST_F(ReaderTest, StatesAreThoseOfTransformers) {
  const auto loaded = LoadTextEmbedder(kRoot / "models/all-minilm-l6-v2");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto& embedder = dynamic_cast<const language::BertEmbedder&>(**loaded);
  const std::vector<std::string> texts = {"When does the museum close?",
                                          "Opening hours: On Thursdays it stays open until 20:00."};
  const auto states = embedder.States(texts, 4);
  ASSERT_TRUE(states.ok()) << states.status();
  double worst = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSERT_EQ((*states)[i].size(), 2u);
    for (size_t layer = 0; layer < 2; ++layer) {
      const at::Tensor expected = golden_.at(absl::StrCat("encoder.", i, ".", 4 + layer));
      ASSERT_EQ((*states)[i][layer].sizes(), expected.sizes()) << kRemedy;
      worst = std::max(worst, (*states)[i][layer].sub(expected).abs().max().item<double>());
    }
  }
  std::printf("largest difference of a state: %.2g\n", worst);
  EXPECT_LT(worst, 1e-4) << kRemedy;
  EXPECT_EQ(embedder.States(texts, 6).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(embedder.States(texts, -1).status().message(), "first_layer is -1; it must be 0 to 5");
}

TEST_F(ReaderTest, ScoresAreThoseOfPyTorch) {
  const auto reader = language::SentenceReader::Create(SmallConfig(), Start());
  ASSERT_TRUE(reader.ok()) << reader.status() << kRemedy;
  EXPECT_EQ((*reader)->first_layer(), 1);
  EXPECT_EQ((*reader)->features(), 5);
  const at::Tensor scores = (*reader)->Forward(Batch()), expected = golden_.at("scores");
  ASSERT_EQ(scores.sizes(), expected.sizes());
  EXPECT_GT(expected.std(0).min().item<double>(), 0.1) << "the goldens tell the pairs apart";
  const double worst = scores.sub(expected).abs().max().item<double>();
  std::printf("largest difference of a score: %.2g\n", worst);
  EXPECT_LT(worst, 1e-4) << kRemedy;
}

TEST_F(ReaderTest, TheFirstStepsOfTrainingAreThoseOfPyTorch) {
  const auto reader = language::SentenceReader::Create(SmallConfig(), Start());
  ASSERT_TRUE(reader.ok()) << reader.status();
  language::ParameterGroup copied{{}, 3e-3, 0.01}, fresh{{}, 1e-2, 0.01};
  for (const auto& [name, tensor] : (*reader)->tensors()) {
    if (absl::StartsWith(name, "feature_")) continue;
    at::Tensor parameter = tensor;
    parameter.requires_grad_(true);
    (absl::StartsWith(name, "encoder.") ? copied : fresh).parameters.push_back(parameter);
  }
  language::AdamW optimiser({copied, fresh});
  const language::ReaderBatch batch = Batch();
  const at::Tensor expected = golden_.at("losses");
  for (int64_t step = 0; step < expected.size(0); ++step) {
    const at::Tensor scores = (*reader)->Forward(batch);
    const at::Tensor loss =
        at::stack({ReaderLoss(scores.narrow(0, 0, 3), true, 0.5), ReaderLoss(scores.narrow(0, 3, 2), false, 0.5)})
            .mean();
    EXPECT_NEAR(loss.item<double>(), expected[step].item<double>(), 1e-4) << "step " << step << kRemedy;
    loss.backward();
    optimiser.Step(1.0);
  }
}

TEST_F(ReaderTest, AWrongTensorIsRefusedByName) {
  const auto refused = [&](const std::function<void(language::SentenceReader::Tensors&)>& change) {
    language::SentenceReader::Tensors tensors = Start();
    change(tensors);
    return std::string(language::SentenceReader::Create(SmallConfig(), tensors).status().message());
  };
  EXPECT_EQ(refused([](auto& tensors) { tensors.erase("head.out.bias"); }), "tensor head.out.bias is missing");
  EXPECT_EQ(refused([](auto& tensors) { tensors["other"] = at::zeros({1}); }), "tensor other is unknown");
  EXPECT_EQ(refused([](auto& tensors) { tensors["head.out.bias"] = at::zeros({3}); }),
            "tensor head.out.bias has shape [3] and not [2]");
  EXPECT_TRUE(absl::StartsWith(refused([](auto& tensors) { tensors.erase("sentence_type"); }), "tensor sentence_type"));
  EXPECT_TRUE(absl::StartsWith(refused([](auto& tensors) { tensors.erase("feature_mean"); }), "tensor feature_mean"));
}

TEST_F(ReaderTest, AFileOfAnotherKindOrEmbedderIsRefused) {
  const auto loaded = LoadTextEmbedder(kRoot / "models/all-minilm-l6-v2");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Reader::Load(folder_ / "none", **loaded).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteSafetensors(folder_ / "other", {{"a", at::zeros({1})}}).ok());
  EXPECT_EQ(Reader::Load(folder_ / "other", **loaded).status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(WriteSafetensors(folder_ / "stranger", {{"a", at::zeros({1})}},
                               {{"format", "blazon sentence reader 1"}, {"embedder", "bert:other"}})
                  .ok());
  const absl::Status stranger = Reader::Load(folder_ / "stranger", **loaded).status();
  EXPECT_EQ(stranger.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(stranger.message(), "bert:other")) << stranger;
}

constexpr char kGood[] =
    R"({"title": "T", "sentences": ["One.", "Two."], "questions": [{"q": "Q?", "s": 1, "a": "A"}], "none": ["N?"]})";

TEST_F(ReaderTest, ALineOfAReadingSetIsReadOrRefusedByItsNumber) {
  const auto good = ReadReadingSet({Write("good", std::string(kGood) + "\n\n")});
  ASSERT_TRUE(good.ok()) << good.status();
  ASSERT_EQ(good->size(), 1u);
  ASSERT_EQ((*good)[0].questions.size(), 2u);
  EXPECT_EQ((*good)[0].questions[0].sentence, 1);
  EXPECT_EQ((*good)[0].questions[1].sentence, -1);
  const auto message = [&](const std::string& text) {
    const absl::Status status = ReadReadingSet({Write("bad", text)}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(status.message());
  };
  const std::string place = (folder_ / "bad").string();
  EXPECT_EQ(message(std::string(kGood) + "\n{oops\n"), place + ":2: the line is no JSON object");
  EXPECT_EQ(message(R"({"sentences": ["One."]})"), place + ":1: \"title\" is missing, empty or no string");
  EXPECT_EQ(message(R"({"title": "T", "sentences": []})"), place + ":1: \"sentences\" is empty");
  EXPECT_EQ(message(R"({"title": "T", "sentences": [1]})"), place + ":1: \"sentences\" must be a list of strings");
  EXPECT_EQ(
      message(R"({"title": "T", "sentences": ["One."], "questions": [{"q": "Q?", "s": 1, "a": "A"}], "none": []})"),
      place + ":1: \"s\" of \"Q?\" is 1; the document has 1 sentences, counted from 0");
  EXPECT_EQ(message(std::string(kGood) + "\n" + kGood), place + ":2: the title \"T\" stands in " + place + ":1 too");
  EXPECT_EQ(message("\n"), "there is no document in " + place);
  EXPECT_EQ(ReadReadingSet({folder_ / "none"}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ReaderTest, TasksHoldTheAnsweringSentenceAndLeaveItOutOffTopic) {
  const auto loaded = LoadTextEmbedder(kRoot / "models/all-minilm-l6-v2");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  std::vector<ReadingDocument> documents = {
      {"Quay Museum",
       {"The museum opens at nine.", "A ticket costs 14 euros."},
       {{"What does a ticket cost?", 1, "14 euros"}, {"Who built the museum?", -1, ""}},
       false},
      {"Pump manual",
       {"Rinse the filter once a month.", "The pump weighs nine kilograms."},
       {{"How heavy is the pump?", 1, "nine kilograms"}},
       false},
      {"Tram notes", {"Line 2 is the busiest."}, {{"Which line is busiest?", 0, "Line 2"}}, true}};
  ReadingTaskOptions options;
  options.off_topic = 1;
  const auto made = MakeReadingTasks(
      documents, CollectionEmbedder(**loaded), folder_ / "collections", options, [](const std::string&) {},
      [] { return false; });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_FALSE(fs::exists(folder_ / "collections"));
  int kinds[3] = {0, 0, 0};
  for (const ReadingTask& task : made->tasks) {
    ++kinds[static_cast<int>(task.kind)];
    int right = 0;
    for (const ReadingCandidate& candidate : task.candidates) {
      right += candidate.right;
      ASSERT_EQ(candidate.features.size(), static_cast<size_t>(kReaderFeatures));
      ASSERT_LT(candidate.passage, made->passages.size());
    }
    EXPECT_EQ(right, task.kind == TaskKind::kAnswered ? 1 : 0) << task.question;
    EXPECT_EQ(task.held_out, task.question == "Which line is busiest?");
  }
  EXPECT_EQ(kinds[0], 3);
  EXPECT_EQ(kinds[1], 1);
  EXPECT_EQ(kinds[2], 2);  // without its document the held-out question has no candidate left
}

TEST_F(ReaderTest, TrainingIsTheSameForASeedAndItsFileIsRead) {
  std::string set;
  for (int i = 0; i < 6; ++i) {
    absl::StrAppend(&set, R"({"title": "Box )", i, R"(", "sentences": ["Box )", i, " is red.", R"(", "It holds )", i,
                    R"( kilograms."], "questions": [{"q": "What colour is box )", i,
                    R"(?", "s": 0, "a": "red"}], "none": ["Who made box )", i, "?\"]}\n");
  }
  TrainReaderOptions options;
  options.data = {Write("set", set)};
  options.embedder = kRoot / "models/all-minilm-l6-v2";
  options.command = "a command";
  options.max_steps = 2;
  options.log = [](const std::string&) {};
  std::string bytes[3];
  for (int run = 0; run < 3; ++run) {
    options.output = folder_ / absl::StrCat("reader", run);
    options.seed = run < 2 ? 1 : 2;
    ASSERT_TRUE(TrainReader(options).ok());
    std::ifstream stream(options.output, std::ios::binary);
    bytes[run] = {std::istreambuf_iterator<char>(stream), {}};
  }
  EXPECT_EQ(bytes[0], bytes[1]);
  EXPECT_NE(bytes[0], bytes[2]);
  std::map<std::string, std::string> metadata;
  ASSERT_TRUE(ReadSafetensors(options.output, &metadata).ok());
  EXPECT_EQ(metadata["command"], "a command");
  EXPECT_EQ(metadata["seed"], "2");
  EXPECT_TRUE(absl::StartsWith(metadata["data"], "set sha256:")) << metadata["data"];
  const auto loaded = LoadTextEmbedder(options.embedder);
  EXPECT_TRUE(Reader::Load(options.output, **loaded).ok());

  options.candidates = 1;
  EXPECT_EQ(TrainReader(options).message(), "candidates is 1; it must be 2 to 12");
  options.candidates = 6;
  options.stop = [] { return true; };
  EXPECT_EQ(TrainReader(options).code(), absl::StatusCode::kCancelled);
  options.data.clear();
  EXPECT_EQ(TrainReader(options).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blazon::service
