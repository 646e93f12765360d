// Beam search: hypotheses and scores of transformers and of the slow reference (goldens), and what holds for it in the
// scheduler: batches, cancelling, deadlines, stop strings, failures.
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "language/models/llama.h"
#include "tests/language/formula_weights.h"
#include "tests/language/hash_model.h"

namespace blazon::language {
namespace {

using std::chrono::steady_clock;

const char kRemedy[] = "; goldens are made by: python tests/reference/beam_goldens.py";

// The table of tests/reference/llama_goldens.py.
const LlamaConfig kGrouped = {.width = 64,
                              .layers = 3,
                              .heads = 4,
                              .key_heads = 2,
                              .mlp_width = 96,
                              .vocabulary_size = 199,
                              .context_length = 128};
const LlamaConfig kTied = {.width = 48,
                           .layers = 2,
                           .heads = 6,
                           .key_heads = 1,
                           .head_width = 16,
                           .mlp_width = 160,
                           .vocabulary_size = 131,
                           .context_length = 64,
                           .rope_theta = 500000.0,
                           .norm_epsilon = 1e-6,
                           .tie_embeddings = true};

PieceTokenizer Numbers(int64_t count) {
  std::vector<std::string> pieces;
  for (int64_t i = 0; i < count; ++i) pieces.push_back(absl::StrCat(i, " "));
  return PieceTokenizer(pieces);
}

GenerationOptions FromJson(const nlohmann::json& json) {
  GenerationOptions options;
  options.num_beams = json["num_beams"];
  options.num_sequences = options.num_beams;
  options.max_new_tokens = json["max_new_tokens"];
  options.length_penalty = json.value("length_penalty", 1.0);
  options.num_beam_groups = json.value("num_beam_groups", 1);
  options.diversity_penalty = json.value("diversity_penalty", 0.0);
  options.repetition_penalty = json.value("repetition_penalty", 1.0);
  options.no_repeat_ngram_size = json.value("no_repeat_ngram_size", 0);
  options.early_stopping = json["early_stopping"] == "true"    ? EarlyStopping::kFirst
                           : json["early_stopping"] == "never" ? EarlyStopping::kNever
                                                               : EarlyStopping::kHeuristic;
  for (const nlohmann::json& pair : json["bias"]) options.logit_bias[pair[0]] = pair[1];
  return options;
}

TEST(BeamSearchGoldenTest, HypothesesAndScoresAreThoseOfTheReference) {
  std::ifstream file(absl::StrCat(BLAZON_SOURCE_DIR, "/tests/goldens/beam_search.json"));
  ASSERT_TRUE(file) << kRemedy;
  const nlohmann::json golden = nlohmann::json::parse(file);
  ASSERT_GE(golden.size(), 80u) << kRemedy;
  std::map<std::string, std::unique_ptr<LlamaModel>> models;
  models["grouped"] = *LlamaModel::Create(kGrouped, FormulaLlama(kGrouped));
  models["tied"] = *LlamaModel::Create(kTied, FormulaLlama(kTied));
  int ended = 0;
  for (const nlohmann::json& row : golden) {
    const LlamaModel& model = *models[row["model"]];
    const PieceTokenizer tokenizer = Numbers(model.config().vocabulary_size);
    const auto ends = row["options"]["eos"].get<std::vector<TokenId>>();
    Scheduler scheduler(model, tokenizer, {.prefill_chunk = 3, .end_tokens = ends});
    GenerationRequest request = Request(row["prompt"].get<std::vector<TokenId>>(), 1);
    request.options = FromJson(row["options"]);
    const auto generated = scheduler.Generate(request);
    ASSERT_TRUE(generated.ok()) << generated.status();
    const std::vector<GeneratedSequence>& found = generated->second.sequences;
    const nlohmann::json& wanted = row["hypotheses"];
    ASSERT_EQ(found.size(), wanted.size()) << row["options"] << kRemedy;
    for (size_t i = 0; i < found.size(); ++i) {
      auto tokens = wanted[i]["tokens"].get<std::vector<TokenId>>();
      const bool end = std::find(ends.begin(), ends.end(), tokens.back()) != ends.end();
      if (end) tokens.pop_back();
      EXPECT_EQ(found[i].tokens, tokens) << row["options"] << " hypothesis " << i << kRemedy;
      EXPECT_EQ(found[i].finish_reason, end ? FinishReason::kEndOfText : FinishReason::kLength) << row["options"];
      const double score = wanted[i]["score"];
      EXPECT_NEAR(found[i].score, score, 1e-4 + 1e-6 * std::abs(score)) << row["options"] << kRemedy;
      std::erase(tokens, kEnd);  // a control token to this tokenizer
      EXPECT_EQ(found[i].text, tokenizer.Decode(tokens, true));
      ended += end;
    }
    EXPECT_EQ(generated->first, found[0].text);
    EXPECT_EQ(generated->second.tokens, found[0].tokens);
  }
  EXPECT_GT(ended, 50);  // the data is not trivial
}

class BeamSearchTest : public testing::Test {
 protected:
  std::unique_ptr<Scheduler> Start(SchedulerOptions options = {}) {
    options.end_tokens = {kEnd};
    return std::make_unique<Scheduler>(model, tokenizer, options);
  }
  static GenerationRequest Search(std::vector<TokenId> prompt, int64_t beams, int64_t max_new_tokens,
                                  std::shared_ptr<TextSink> sink = nullptr) {
    GenerationRequest request = Request(std::move(prompt), max_new_tokens, std::move(sink));
    request.options.num_beams = beams;
    request.options.num_sequences = beams;
    return request;
  }
  static std::vector<std::string> Texts(const GenerationResult& result) {
    std::vector<std::string> texts;
    for (const GeneratedSequence& sequence : result.sequences) texts.push_back(sequence.text);
    return texts;
  }

  HashModel model;
  PieceTokenizer tokenizer{Pieces()};
};

// With a beam for every token but the last, which is hopeless, the search is exhaustive for two tokens.
TEST_F(BeamSearchTest, FindsTheMostProbableOfAllPairs) {
  const auto logprobs = [&](std::vector<int64_t> tokens) {  // [V] of what follows
    const auto state = model.NewState();
    const ModelInput input{.tokens = at::tensor(tokens, at::kLong), .state = state.get()};
    const at::Tensor hidden = model.Forward({&input, 1});
    return at::log_softmax(model.Logits(hidden.narrow(0, hidden.size(0) - 1, 1)), -1)[0];
  };
  const auto scheduler = Start({.max_sequences = 64});
  int better_than_greedy = 0;
  for (const TokenId first : {1, 2, 3, 4, 5, 6, 7, 8}) {
    std::vector<TokenId> best;
    double most = -1e9, greedy = 0;
    const at::Tensor one = logprobs({first, 2});
    for (int64_t a = 0; a < kPoison; ++a) {
      const at::Tensor two = logprobs({first, 2, a});
      if (a == one.argmax().item<int64_t>()) greedy = one[a].item<double>() + two.max().item<double>();
      for (int64_t b = 0; b < kPoison; ++b) {
        const double sum = one[a].item<double>() + two[b].item<double>();
        if (sum <= most) continue;
        most = sum;
        best = {static_cast<TokenId>(a), static_cast<TokenId>(b)};
      }
    }
    GenerationRequest request = Search({first, 2}, kPoison, 2);
    request.options.num_sequences = 1;
    request.options.ignore_eos = true;
    request.options.top_logprobs = 1;
    const auto generated = scheduler->Generate(request);
    ASSERT_TRUE(generated.ok()) << generated.status();
    const GenerationResult& result = generated->second;
    EXPECT_EQ(result.tokens, best);
    ASSERT_EQ(result.sequences.size(), 1u);
    EXPECT_NEAR(result.sequences[0].score, most / 2, 1e-5);
    EXPECT_NEAR(result.mean_logprob, most / 2, 1e-5);
    ASSERT_EQ(result.logprobs.size(), 2u);
    EXPECT_NEAR(result.logprobs[0].logprob, one[best[0]].item<double>(), 1e-5);
    EXPECT_EQ(result.logprobs[0].top.at(0).first, one.argmax().item<int64_t>());
    better_than_greedy += most > greedy + 1e-6;
  }
  EXPECT_GT(better_than_greedy, 1);  // the data is not trivial
}

TEST_F(BeamSearchTest, TheSameWhateverRunsBeside) {
  std::vector<GenerationRequest> requests;
  for (const TokenId first : {1, 2, 3}) requests.push_back(Search({first, 4}, 3, 12));
  requests.push_back(Request({5, 6}, 20));
  requests[1].options.num_beam_groups = 3;
  requests[1].options.diversity_penalty = 0.5;
  requests[2].options.ignore_eos = true;
  std::vector<GenerationResult> alone;
  {
    const auto scheduler = Start();
    for (const GenerationRequest& request : requests) alone.push_back(scheduler->Generate(request)->second);
  }
  Gate gate;
  size_t widest = 0;
  model.on_forward = [&](absl::Span<const ModelInput> batch) {
    gate.Wait();
    widest = std::max(widest, batch.size());
  };
  const auto scheduler = Start({.max_sequences = 7});  // two searches and the greedy one, or fewer
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (GenerationRequest request : requests) {
    sinks.push_back(std::make_shared<Recorder>());
    request.sink = sinks.back();
    ASSERT_TRUE(scheduler->Submit(request).ok());
  }
  gate.Open();
  for (size_t i = 0; i < sinks.size(); ++i) {
    const auto& result = sinks[i]->Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->tokens, alone[i].tokens) << i;
    EXPECT_EQ(Texts(*result), Texts(alone[i])) << i;
  }
  EXPECT_EQ(widest, 6u);  // two searches of three beams ran together
}

// With a real transformer, whose states are forked: the prompt is read once, and beams beside beams change nothing.
TEST_F(BeamSearchTest, ForkedKeysAndValuesStayApart) {
  const auto llama = LlamaModel::Create(kGrouped, FormulaLlama(kGrouped));
  ASSERT_TRUE(llama.ok());
  const PieceTokenizer numbers = Numbers(kGrouped.vocabulary_size);
  std::vector<std::vector<TokenId>> found;
  for (const int64_t chunk : {2, 100}) {
    Scheduler scheduler(**llama, numbers, {.max_sequences = 16, .prefill_chunk = chunk});
    std::vector<std::shared_ptr<Recorder>> sinks;
    for (int copy = 0; copy < 2; ++copy) {
      sinks.push_back(std::make_shared<Recorder>());
      ASSERT_TRUE(scheduler.Submit(Search({3, 1, 4, 1, 5, 9, 2}, 8, 40, sinks.back())).ok());
    }
    for (const auto& sink : sinks) {
      ASSERT_TRUE(sink->Wait().ok());
      found.push_back(sink->Wait()->tokens);
      EXPECT_EQ(std::set<std::string>({sink->text_of(0), sink->text_of(3), sink->text_of(7)}).size(), 3u);
      // Each hypothesis scores what the model says of it when it reads it in one piece.
      for (const GeneratedSequence& hypothesis : sink->Wait()->sequences) {
        GenerationRequest whole = Request({3, 1, 4, 1, 5, 9, 2}, 1);
        auto& prompt = std::get<std::vector<TokenId>>(whole.prompt[0]);
        prompt.insert(prompt.end(), hypothesis.tokens.begin(), hypothesis.tokens.end());
        whole.options.prompt_logprobs = 0;
        const auto read = scheduler.Generate(whole);
        ASSERT_TRUE(read.ok());
        double sum = 0;
        for (size_t i = 6; i < read->second.prompt_logprobs.size(); ++i) sum += read->second.prompt_logprobs[i].logprob;
        EXPECT_NEAR(hypothesis.score, sum / static_cast<double>(hypothesis.tokens.size()), 1e-4);
      }
    }
  }
  for (const auto& tokens : found) EXPECT_EQ(tokens, found[0]);
}

TEST_F(BeamSearchTest, TheTextComesAtTheEndInOnePiece) {
  const auto scheduler = Start();
  auto sink = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler->Submit(Search({1, 2}, 4, 10, sink)).ok());
  const auto& result = sink->Wait();
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->sequences.size(), 4u);
  EXPECT_EQ(sink->deltas.size(), 1u);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(sink->text_of(i), result->sequences[i].text) << i;
  EXPECT_EQ(scheduler->running(), 0);
}

TEST_F(BeamSearchTest, CancelStopsWithinOneStep) {
  auto sink = std::make_shared<Recorder>();
  int steps = 0;
  Scheduler::CancelFunction cancel;
  Gate ready;
  model.on_forward = [&](absl::Span<const ModelInput>) {
    ready.Wait();
    if (++steps == 4) cancel();
  };
  const auto scheduler = Start();
  GenerationRequest request = Search({1}, 4, 90, sink);
  request.options.ignore_eos = true;
  auto submitted = scheduler->Submit(request);
  ASSERT_TRUE(submitted.ok());
  cancel = *submitted;
  ready.Open();
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->Wait()->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(steps, 4);
}

TEST_F(BeamSearchTest, ADeadlineGivesTheBestSoFar) {
  auto sink = std::make_shared<Recorder>();
  int steps = 0;
  GenerationRequest request = Search({1}, 4, 90, sink);
  request.options.num_sequences = 2;
  request.options.ignore_eos = true;
  request.deadline = steady_clock::now() + std::chrono::milliseconds(200);
  model.on_forward = [&](absl::Span<const ModelInput>) {
    if (++steps == 5)
      while (steady_clock::now() < request.deadline) {
      }  // this step ends after the deadline
  };
  const auto scheduler = Start();
  ASSERT_TRUE(scheduler->Submit(request).ok());
  const auto& result = sink->Wait();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kDeadline);
  EXPECT_EQ(steps, 5);
  ASSERT_EQ(result->sequences.size(), 2u);
  EXPECT_EQ(result->sequences[0].tokens.size(), 5u);
  EXPECT_EQ(result->sequences[1].finish_reason, FinishReason::kDeadline);
  EXPECT_GE(result->sequences[0].score, result->sequences[1].score);
  EXPECT_FALSE(sink->text().empty());

  auto late = std::make_shared<Recorder>();  // its deadline is over before it starts
  request.sink = late;
  ASSERT_TRUE(scheduler->Submit(request).ok());
  ASSERT_TRUE(late->Wait().ok());
  EXPECT_EQ(late->Wait()->finish_reason, FinishReason::kDeadline);
  EXPECT_TRUE(late->Wait()->sequences.empty());
}

// "STOP" may be one token, or a tail of one and a head of the next.
TEST_F(BeamSearchTest, StopStringsEndHypothesesAcrossTokens) {
  const auto scheduler = Start();
  int stopped = 0, across = 0;
  for (TokenId first = 1; first < 19; ++first) {
    GenerationRequest request = Search({first}, 4, 12);
    request.options.ignore_eos = true;
    request.options.stop = {"aS", "STO", "b\n"};
    const auto generated = scheduler->Generate(request);
    ASSERT_TRUE(generated.ok());
    for (const GeneratedSequence& hypothesis : generated->second.sequences) {
      std::string plain;
      for (const TokenId id : hypothesis.tokens) plain += id == kEnd ? "" : Pieces()[id];
      size_t found = std::string::npos;
      for (const std::string& stop : request.options.stop) found = std::min(found, plain.find(stop));
      EXPECT_EQ(hypothesis.text, ReplaceInvalidUtf8(plain.substr(0, found)));
      EXPECT_EQ(hypothesis.finish_reason == FinishReason::kStop, found != std::string::npos) << plain;
      stopped += found != std::string::npos;
      if (found == std::string::npos) continue;
      across += found < plain.size() - Pieces()[hypothesis.tokens.back()].size();
    }
  }
  EXPECT_GT(stopped, 5);  // the data is not trivial
  EXPECT_GT(across, 3);
}

// A step that fails half-way is repeated from where it was; one that always fails ends this request alone.
TEST_F(BeamSearchTest, AFailedStepIsRepeatedFromWhereItWas) {
  std::vector<GenerationRequest> requests = {Search({1, 2}, 3, 12), Search({2, 2}, 3, 12), Request({3, 2}, 12)};
  for (GenerationRequest& request : requests) request.options.ignore_eos = true;
  std::vector<std::vector<TokenId>> alone;
  {
    const auto scheduler = Start();
    for (const GenerationRequest& request : requests) alone.push_back(scheduler->Generate(request)->second.tokens);
  }
  Gate gate;
  int calls = 0;
  model.on_forward = [&](absl::Span<const ModelInput>) { gate.Wait(); };
  model.on_logits = [&] { TORCH_CHECK(++calls % 7 != 4, "the batch fails, its sequences do not"); };
  const auto scheduler = Start();
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (GenerationRequest request : requests) {
    sinks.push_back(std::make_shared<Recorder>());
    request.sink = sinks.back();
    ASSERT_TRUE(scheduler->Submit(request).ok());
  }
  gate.Open();
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok()) << sinks[i]->Wait().status();
    EXPECT_EQ(sinks[i]->Wait()->tokens, alone[i]) << i;
  }
  model.on_logits = [&] { TORCH_CHECK(++calls % 7 != 4 && calls % 7 != 5, "fails, and fails again"); };
  EXPECT_EQ(scheduler->Generate(requests[0]).status().code(), absl::StatusCode::kInternal);
}

TEST_F(BeamSearchTest, WiderThanTheBatchIsRefusedAndWideOnesWaitTheirTurn) {
  const auto scheduler = Start({.max_sequences = 4});
  const absl::Status status = scheduler->Generate(Search({1}, 5, 4)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "num_beams is 5; at most 4 sequences run at once here");
  size_t widest = 0;
  Gate gate;
  model.on_forward = [&](absl::Span<const ModelInput> batch) {
    gate.Wait();
    widest = std::max(widest, batch.size());
  };
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (const int64_t beams : {1, 4, 1, 3, 2}) {
    sinks.push_back(std::make_shared<Recorder>());
    ASSERT_TRUE(scheduler->Submit(Search({1, 2}, beams, 8, sinks.back())).ok());
  }
  gate.Open();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
  EXPECT_LE(widest, 4u);
}

// Every bigram is banned once the prompt has them all: the search ends there, with what it has.
TEST_F(BeamSearchTest, ASearchThatMayNotGoOnEnds) {
  std::vector<TokenId> prompt;
  for (TokenId id = 0; id < static_cast<TokenId>(kPoison); ++id) prompt.push_back(id);
  const auto scheduler = Start();
  GenerationRequest request = Search(prompt, 3, 30);
  request.options.no_repeat_ngram_size = 1;
  request.options.ignore_eos = true;
  request.options.logit_bias[static_cast<TokenId>(kPoison)] = -100;
  request.options.stop_token_ids = {static_cast<TokenId>(kPoison)};  // the one token that is left
  const auto generated = scheduler->Generate(request);
  ASSERT_TRUE(generated.ok()) << generated.status();
  EXPECT_EQ(generated->second.finish_reason, FinishReason::kStop);
  EXPECT_TRUE(generated->second.tokens.empty());
}

}  // namespace
}  // namespace blazon::language
