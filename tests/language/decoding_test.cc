// What a generation may be asked for besides one text: several samples, log-probabilities of the prompt, echo, an end
// to loops; and that options which make no sense together are refused.
#include <ATen/ops/arange.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "language/models/llama.h"
#include "language/repetition.h"
#include "tests/language/formula_weights.h"
#include "tests/language/hash_model.h"

namespace blazon::language {
namespace {

class DecodingTest : public testing::Test {
 protected:
  std::unique_ptr<Scheduler> Start(SchedulerOptions options = {}) {
    options.end_tokens = {kEnd};
    return std::make_unique<Scheduler>(model, tokenizer, options);
  }
  static GenerationRequest Samples(std::vector<TokenId> prompt, int64_t count, int64_t max_new_tokens) {
    GenerationRequest request = Request(std::move(prompt), max_new_tokens);
    request.options.num_sequences = count;
    request.options.temperature = 1.0;
    request.options.seed = 40;
    return request;
  }

  HashModel model;
  PieceTokenizer tokenizer{Pieces()};
};

TEST_F(DecodingTest, EachSampleIsWhatItsOwnSeedGivesAndThePromptIsReadOnce) {
  int64_t prompt_tokens_read = 0;
  model.on_forward = [&](absl::Span<const ModelInput> batch) {
    for (const ModelInput& input : batch) {
      if (input.state->length() < 5) prompt_tokens_read += input.tokens.size(0);
    }
  };
  const auto scheduler = Start({.prefill_chunk = 2});
  GenerationRequest request = Samples({1, 2, 3, 4, 5}, 6, 20);
  request.options.top_logprobs = 1;
  auto sink = std::make_shared<Recorder>();
  request.sink = sink;
  const auto generated = scheduler->Generate(request);
  ASSERT_TRUE(generated.ok()) << generated.status();
  EXPECT_EQ(prompt_tokens_read, 5);
  const GenerationResult& result = generated->second;
  ASSERT_EQ(result.sequences.size(), 6u);
  std::set<std::vector<TokenId>> different;
  std::set<FinishReason> reasons;
  for (size_t i = 0; i < result.sequences.size(); ++i) {
    const GeneratedSequence& sequence = result.sequences[i];
    GenerationRequest alone = request;
    alone.sink = nullptr;
    alone.options.num_sequences = 1;
    alone.options.seed = 40 + i;
    const auto single = scheduler->Generate(alone);
    EXPECT_EQ(sequence.text, single->first) << i;
    EXPECT_EQ(sequence.tokens, single->second.tokens) << i;
    EXPECT_EQ(sequence.finish_reason, single->second.finish_reason) << i;
    EXPECT_NEAR(sequence.mean_logprob, single->second.mean_logprob, 1e-9) << i;
    ASSERT_EQ(sequence.logprobs.size(), sequence.tokens.size());
    double sum = 0;
    for (const TokenLogprob& token : sequence.logprobs) sum += token.logprob;
    EXPECT_NEAR(sequence.score, sum, 1e-9);
    EXPECT_EQ(sink->text_of(static_cast<int64_t>(i)), sequence.text);
    different.insert(sequence.tokens);
    reasons.insert(sequence.finish_reason);
  }
  EXPECT_EQ(different.size(), 6u);
  EXPECT_EQ(reasons.size(), 2u);  // some ended early, while the others went on
  EXPECT_EQ(generated->first, result.sequences[0].text);
  EXPECT_EQ(result.tokens, result.sequences[0].tokens);
  EXPECT_EQ(result.seed, 40u);
  EXPECT_TRUE(scheduler->Generate(Request({1}, 4))->second.sequences.empty());  // one text: the result says it all
}

TEST_F(DecodingTest, CancellingEndsAllSamplesAndAnEndedOneKeepsItsReason) {
  auto sink = std::make_shared<Recorder>();
  int steps = 0;
  Scheduler::CancelFunction cancel;
  Gate ready;
  model.on_forward = [&](absl::Span<const ModelInput>) {
    ready.Wait();
    if (++steps == 12) cancel();
  };
  const auto scheduler = Start();
  GenerationRequest request = Samples({1, 2}, 8, 90);
  request.sink = sink;
  auto submitted = scheduler->Submit(request);
  ASSERT_TRUE(submitted.ok());
  cancel = *submitted;
  ready.Open();
  const auto& result = sink->Wait();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(steps, 12);
  std::set<FinishReason> reasons;
  for (const GeneratedSequence& sequence : result->sequences) reasons.insert(sequence.finish_reason);
  EXPECT_EQ(reasons, (std::set<FinishReason>{FinishReason::kEndOfText, FinishReason::kCancelled}));
}

TEST_F(DecodingTest, PromptLogprobsAreTheModelsWhateverTheChunk) {
  const LlamaConfig config = {.width = 64,
                              .layers = 3,
                              .heads = 4,
                              .key_heads = 2,
                              .mlp_width = 96,
                              .vocabulary_size = 199,
                              .context_length = 128};
  const auto llama = LlamaModel::Create(config, FormulaLlama(config));
  ASSERT_TRUE(llama.ok());
  std::vector<std::string> pieces;
  for (int i = 0; i < 199; ++i) pieces.push_back(absl::StrCat(i, " "));
  const PieceTokenizer numbers(pieces);
  const std::vector<TokenId> prompt = {3, 40, 77, 114, 3, 9, 150, 2};
  const at::Tensor ids = at::tensor(std::vector<int64_t>(prompt.begin(), prompt.end()), at::kLong);
  const ModelInput input{.tokens = ids};
  const at::Tensor expected = at::log_softmax((*llama)->Logits((*llama)->Forward({&input, 1})), -1);  // [T, V]
  for (const int64_t chunk : {1, 3, 100}) {
    Scheduler scheduler(**llama, numbers, {.prefill_chunk = chunk});
    GenerationRequest request = Request(prompt, 3);
    request.options.prompt_logprobs = 2;
    request.options.echo = true;
    const auto generated = scheduler.Generate(request);
    ASSERT_TRUE(generated.ok());
    const GenerationResult& result = generated->second;
    EXPECT_EQ(result.prompt, prompt);
    ASSERT_EQ(result.prompt_logprobs.size(), prompt.size() - 1) << "chunk " << chunk;
    for (size_t i = 1; i < prompt.size(); ++i) {
      const TokenLogprob& token = result.prompt_logprobs[i - 1];
      EXPECT_EQ(token.id, prompt[i]);
      const at::Tensor row = expected[static_cast<int64_t>(i) - 1];
      EXPECT_NEAR(token.logprob, row[prompt[i]].item<float>(), 1e-4) << "chunk " << chunk;
      ASSERT_EQ(token.top.size(), 2u);
      EXPECT_EQ(token.top[0].first, row.argmax().item<int64_t>());
    }
    request.options.prompt_logprobs = -1;
    request.options.echo = false;
    const auto plain = scheduler.Generate(request);
    EXPECT_EQ(plain->first, generated->first);
    EXPECT_TRUE(plain->second.prompt.empty());
    EXPECT_TRUE(plain->second.prompt_logprobs.empty());
  }
}

TEST_F(DecodingTest, ImageTokensHaveNoPromptLogprob) {
  const auto scheduler = Start({.prefill_chunk = 2});
  GenerationRequest request = Request({1, 2}, 3);
  request.prompt.push_back(model.Embed(at::arange(3, 6)));
  request.prompt.push_back(std::vector<TokenId>{6, 7});
  request.options.prompt_logprobs = 0;
  request.options.echo = true;
  const auto generated = scheduler->Generate(request);
  ASSERT_TRUE(generated.ok());
  std::vector<TokenId> ids;
  for (const TokenLogprob& token : generated->second.prompt_logprobs) ids.push_back(token.id);
  EXPECT_EQ(ids, (std::vector<TokenId>{2, 6, 7}));
  EXPECT_EQ(generated->second.prompt, (std::vector<TokenId>{1, 2, -1, -1, -1, 6, 7}));
}

// A step that fails after the prompt was scored scores it once.
TEST_F(DecodingTest, APromptIsScoredOnceThoughAStepIsRepeated) {
  int calls = 0;
  Gate gate;
  model.on_forward = [&](absl::Span<const ModelInput>) { gate.Wait(); };
  model.on_logits = [&] { TORCH_CHECK(++calls != 5, "fails once"); };
  const auto scheduler = Start();
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int i = 0; i < 2; ++i) {
    sinks.push_back(std::make_shared<Recorder>());
    GenerationRequest request = Request({1, 2, 3, 4}, 3, sinks.back());
    request.options.prompt_logprobs = 0;
    ASSERT_TRUE(scheduler->Submit(request).ok());
  }
  gate.Open();
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->Wait().ok());
    EXPECT_EQ(sink->Wait()->prompt_logprobs.size(), 3u);
  }
}

std::vector<TokenId> Repeat(const std::vector<TokenId>& unit, int64_t times, std::vector<TokenId> before = {}) {
  for (int64_t i = 0; i < times; ++i) before.insert(before.end(), unit.begin(), unit.end());
  return before;
}

TEST(RepetitionTest, FiresAtTheBoundAndNotBefore) {
  for (int64_t length = 1; length <= kLongestRepeatedUnit; ++length) {
    std::vector<TokenId> unit, before = {900, 901, 902, 903};
    for (int64_t i = 0; i < length; ++i) unit.push_back(static_cast<TokenId>(i * 7 % 65));
    const int64_t needed = std::max(kFewestRepeatedTokens, kFewestRepeats * length);
    std::vector<TokenId> output = Repeat(unit, needed / length + 1, before);
    output.resize(before.size() + needed - 1);
    EXPECT_FALSE(EndsInRepetition(output)) << length;
    output.push_back(output[output.size() - length]);
    EXPECT_TRUE(EndsInRepetition(output)) << length;
    output.push_back(950);
    EXPECT_FALSE(EndsInRepetition(output)) << "the loop is over, length " << length;
  }
}

TEST(RepetitionTest, ListsTablesAndLongUnitsDoNotFire) {
  std::vector<TokenId> list, table, counted;
  for (TokenId i = 0; i < 400; ++i) {
    list.insert(list.end(), {5, 6, 7, 100 + i, 8});                                         // "- item N\n"
    table.insert(table.end(), {9, 30 + i % 10, 9, 30 + i / 10 % 10, 9, 30 + i / 100, 10});  // "|7|2|0|\n": few digits
    counted.insert(counted.end(), {11, 12, 40 + i % 65, 13});                               // a period of 260 tokens
  }
  for (const auto* output : {&list, &table, &counted}) {
    for (size_t end = 1; end <= output->size(); ++end)
      ASSERT_FALSE(EndsInRepetition(absl::MakeConstSpan(*output).first(end))) << end;
  }
  std::vector<TokenId> paragraph;
  for (TokenId i = 0; i < kLongestRepeatedUnit + 1; ++i) paragraph.push_back(i);
  EXPECT_FALSE(EndsInRepetition(Repeat(paragraph, 20)));
  EXPECT_FALSE(EndsInRepetition(Repeat({1}, kFewestRepeatedTokens - 1)));  // a ruler of dashes
}

TEST(RepetitionTest, EndsAGenerationUnlessItIsAllowed) {
  HashModel model(/*context_length=*/2048);
  model.script = {1, 2, 3, 4, 1, 2, 5, 1};
  for (int i = 0; i < 1000; ++i) model.script.push_back(i % 3 == 0 ? 6 : i % 3 == 1 ? 7 : 9);
  const PieceTokenizer tokenizer(Pieces());
  Scheduler scheduler(model, tokenizer, {.end_tokens = {kEnd}});
  for (const int64_t beams : {1, 2}) {
    GenerationRequest request = Request({3}, 600);
    request.options.num_beams = beams;
    request.options.ignore_eos = true;
    const auto generated = scheduler.Generate(request);
    ASSERT_TRUE(generated.ok());
    EXPECT_EQ(generated->second.finish_reason, FinishReason::kRepetition);
    EXPECT_EQ(generated->second.tokens.size(), static_cast<size_t>(8 + kFewestRepeatedTokens));
    request.options.allow_repetition = true;
    EXPECT_EQ(scheduler.Generate(request)->second.finish_reason, FinishReason::kLength);
    request.options.allow_repetition = false;
    request.options.max_new_tokens = 8 + kFewestRepeatedTokens;  // the length was asked for
    EXPECT_EQ(scheduler.Generate(request)->second.finish_reason, FinishReason::kLength);
  }
}

TEST(GenerationOptionsTest, WhatMakesNoSenseIsRefusedWithTheRemedy) {
  const auto message = [](const auto& change) {
    GenerationOptions options;
    options.max_new_tokens = 8;
    change(options);
    const absl::Status status = Validate(options, /*vocabulary_size=*/100, /*context_length=*/64);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  using Options = GenerationOptions;
  EXPECT_EQ(message([](Options& o) { o.typical_p = 0; }), "typical_p is 0; it must be above 0 and at most 1 (off)");
  EXPECT_EQ(message([](Options& o) { o.typical_p = 1.5; }), "typical_p is 1.5; it must be above 0 and at most 1 (off)");
  EXPECT_EQ(message([](Options& o) { o.logit_bias = {{100, 1}}; }), "logit_bias names token 100; ids are 0 to 99");
  EXPECT_EQ(message([](Options& o) { o.logit_bias = {{7, 101}}; }), "logit_bias[7] is 101; it must be -100 to 100");
  EXPECT_EQ(message([](Options& o) {
              for (TokenId id = 0; id < 1025; ++id) o.logit_bias[id] = 1;
            }),
            "logit_bias has 1025 tokens; it may have 1024");
  EXPECT_EQ(message([](Options& o) { o.prompt_logprobs = 21; }),
            "prompt_logprobs is 21; it must be -1 (none) or 0 to 20");
  EXPECT_EQ(message([](Options& o) { o.num_sequences = 0; }), "num_sequences is 0; it must be 1 to 64");
  EXPECT_EQ(message([](Options& o) { o.num_beams = 65; }), "num_beams is 65; it must be 1 (no beam search) to 64");
  EXPECT_EQ(message([](Options& o) { o.num_sequences = 3; }),
            "num_sequences is 3 at temperature 0, which gives one text only; raise the temperature, or set num_beams");
  EXPECT_EQ(message([](Options& o) {
              o.num_beams = 4;
              o.temperature = 0.8;
            }),
            "num_beams is 4 at temperature 0.8; beam search does not sample: set the temperature to 0, or num_beams to "
            "1");
  EXPECT_EQ(message([](Options& o) {
              o.num_beams = 4;
              o.num_sequences = 5;
            }),
            "num_sequences is 5; it must be 1 to 4, the num_beams");
  EXPECT_EQ(message([](Options& o) {
              o.num_beams = 4;
              o.num_beam_groups = 3;
            }),
            "num_beam_groups is 3; it must divide num_beams, 4");
  EXPECT_EQ(message([](Options& o) {
              o.num_beams = 4;
              o.num_beam_groups = 2;
            }),
            "num_beam_groups is 2 without a diversity_penalty, so all groups would be the same; set one above 0");
  EXPECT_EQ(message([](Options& o) {
              o.num_beams = 4;
              o.diversity_penalty = 2;
            }),
            "diversity_penalty is for groups of beams; set num_beam_groups to 2 or more, or leave it out");
  EXPECT_EQ(message([](Options& o) { o.diversity_penalty = -1; }),
            "diversity_penalty is -1; it must be 0 (off) to 100");
  EXPECT_EQ(message([](Options& o) { o.length_penalty = 11; }),
            "length_penalty is 11; it must be -10 to 10 (1: the mean log-probability)");
  for (const auto& [field, change] : std::vector<std::pair<std::string, std::function<void(Options&)>>>{
           {"length_penalty", [](Options& o) { o.length_penalty = 2; }},
           {"early_stopping", [](Options& o) { o.early_stopping = EarlyStopping::kNever; }},
           {"num_beam_groups", [](Options& o) { o.num_beam_groups = 2; }},
           {"diversity_penalty", [](Options& o) { o.diversity_penalty = 1; }}}) {
    EXPECT_EQ(message(change), field + " is for beam search; set num_beams to 2 or more, or leave it out");
  }
}

}  // namespace
}  // namespace blazon::language
