// The scheduler with a tiny deterministic model: joining and leaving, cancelling, deadlines, streaming and refusals.
#include "language/scheduler.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/models/llama.h"
#include "language/text_stream.h"
#include "language/tokenizer/utf8.h"
#include "tests/language/formula_weights.h"
#include "tests/language/hash_model.h"

namespace blazon::language {
namespace {

using std::chrono::steady_clock;

class SchedulerTest : public testing::Test {
 protected:
  std::unique_ptr<Scheduler> Start(SchedulerOptions options = {}) {
    options.end_tokens = {kEnd};
    return std::make_unique<Scheduler>(model, tokenizer, options);
  }

  HashModel model;
  PieceTokenizer tokenizer{Pieces()};
};

TEST_F(SchedulerTest, AGenerationEndsAtTheEndOfTextWithEverythingCounted) {
  model.script = {1, 2, kEnd};
  const auto scheduler = Start();
  GenerationRequest request = Request({3}, 10);
  request.options.top_logprobs = 1;
  request.options.seed = 99;
  const auto generated = scheduler->Generate(request);
  ASSERT_TRUE(generated.ok()) << generated.status();
  const auto& [text, result] = *generated;
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(result.finish_reason, FinishReason::kEndOfText);
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(result.prompt_tokens, 1);
  EXPECT_EQ(result.image_tokens, 0);
  EXPECT_EQ(result.seed, 99u);
  ASSERT_EQ(result.logprobs.size(), 2u);
  EXPECT_EQ(result.logprobs[1].top[0].first, 2);
  EXPECT_NEAR(result.mean_logprob, (result.logprobs[0].logprob + result.logprobs[1].logprob) / 2, 1e-9);
  EXPECT_EQ(scheduler->running(), 0);
  EXPECT_EQ(scheduler->queued(), 0);
}

TEST_F(SchedulerTest, EndOfTextCanBeIgnoredAndStopTokensStop) {
  model.script = {1, kEnd, 2, 9, 3};
  const auto scheduler = Start();
  GenerationRequest request = Request({3}, 10);
  request.options.ignore_eos = true;
  request.options.stop_token_ids = {9};
  const auto generated = scheduler->Generate(request);
  ASSERT_TRUE(generated.ok());
  EXPECT_EQ(generated->first, "ab");  // the control token in between is no text
  EXPECT_EQ(generated->second.tokens, (std::vector<TokenId>{1, kEnd, 2}));
  EXPECT_EQ(generated->second.finish_reason, FinishReason::kStop);
}

TEST_F(SchedulerTest, LengthIsThatAskedForAndNeverPastTheContext) {
  model.script.assign(kContext, 1);
  const auto scheduler = Start();
  auto generated = scheduler->Generate(Request({3}, 5));
  ASSERT_TRUE(generated.ok());
  EXPECT_EQ(generated->first, "aaaaa");
  EXPECT_EQ(generated->second.finish_reason, FinishReason::kLength);
  generated = scheduler->Generate(Request(std::vector<TokenId>(kContext - 3, 1), 50));
  ASSERT_TRUE(generated.ok());
  EXPECT_EQ(generated->second.finish_reason, FinishReason::kLength);
  EXPECT_LE(generated->second.tokens.size(), 3u);
}

TEST_F(SchedulerTest, PromptsOutOfRangeAreRefused) {
  const auto scheduler = Start();
  const auto message = [&](GenerationRequest request) {
    const auto generated = scheduler->Generate(std::move(request));
    EXPECT_EQ(generated.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(generated.status().message());
  };
  EXPECT_EQ(message(Request({}, 5)), "prompt is empty; give at least one token");
  EXPECT_EQ(
      message(Request(std::vector<TokenId>(kContext, 1), 5)),
      "prompt has 96 tokens; the model's context has 96 and one must be left for the answer. Give a shorter prompt.");
  EXPECT_EQ(message(Request({20}, 5)), "prompt has token 20; ids are 0 to 19");
  EXPECT_EQ(message(Request({-1}, 5)), "prompt has token -1; ids are 0 to 19");
  EXPECT_EQ(message(Request({1}, 0)), "max_new_tokens is 0; it must be 1 to 96, the model's context");
  GenerationRequest image = Request({1}, 5);
  image.prompt.push_back(at::zeros({4, 3}));
  EXPECT_EQ(message(image), "prompt has image tokens of a wrong shape; they must be [tokens, 2]");
  image.prompt = {std::vector<TokenId>{1, 2}, at::zeros({kContext, 2})};
  EXPECT_EQ(
      message(image),
      "prompt has 98 tokens, 96 of them for its pictures; the model's context has 96 and one must be left for the "
      "answer. Give a shorter prompt or fewer pictures.");
}

TEST_F(SchedulerTest, ImageTokensEnterInOrderWhateverTheChunk) {
  const std::vector<TokenId> whole = {1, 2, 3, 4, 5, 6, 7};
  std::optional<std::string> expected;
  for (const int64_t chunk : {1, 2, 3, 100}) {
    const auto scheduler = Start({.prefill_chunk = chunk});
    const auto plain = scheduler->Generate(Request(whole, 12));
    ASSERT_TRUE(plain.ok());
    if (!expected) expected = plain->first;
    EXPECT_EQ(plain->first, *expected) << "chunk " << chunk;
    GenerationRequest mixed = Request({1, 2}, 12);  // the same, but 3, 4 and 5 come as embeddings
    mixed.prompt.push_back(model.Embed(at::tensor({3, 4, 5})));
    mixed.prompt.push_back(std::vector<TokenId>{6, 7});
    const auto generated = scheduler->Generate(mixed);
    ASSERT_TRUE(generated.ok());
    EXPECT_EQ(generated->first, *expected) << "chunk " << chunk;
    EXPECT_EQ(generated->second.prompt_tokens, 7);
    EXPECT_EQ(generated->second.image_tokens, 3);
  }
}

TEST_F(SchedulerTest, SpansAreReadWholeWhateverTheChunk) {
  const std::vector<TokenSpan> spans = {{2, 7}, {7, 8}, {11, 14}};
  std::vector<TokenId> prompt;
  for (int i = 0; i < 16; ++i) prompt.push_back(1 + (i * 7) % 15);
  const std::string alone = Start()->Generate(Request(prompt, 8))->first;
  for (const int64_t chunk : {1, 2, 3, 4, 5, 6, 7, 9, 13, 64}) {
    SCOPED_TRACE(absl::StrCat("chunk ", chunk));
    Gate gate;
    std::vector<int> inputs_with(spans.size(), 0);  // that hold this span
    int64_t most_rows = 0;
    model.on_forward = [&](absl::Span<const ModelInput> batch) {
      gate.Wait();
      int64_t rows = 0;
      for (const ModelInput& input : batch) {
        const int64_t begin = input.state->length(), end = begin + input.tokens.size(0);
        if (begin >= 16) continue;  // generated
        rows += end - begin;
        size_t marked = 0;
        for (size_t i = 0; i < spans.size(); ++i) {
          if (spans[i].end <= begin || spans[i].begin >= end) continue;
          EXPECT_TRUE(begin <= spans[i].begin && spans[i].end <= end) << begin << " to " << end;
          ++inputs_with[i];
          ASSERT_LT(marked, input.bidirectional.size());
          EXPECT_EQ(begin + input.bidirectional[marked].begin, spans[i].begin);
          EXPECT_EQ(begin + input.bidirectional[marked].end, spans[i].end);
          ++marked;
        }
        EXPECT_EQ(marked, input.bidirectional.size());
      }
      most_rows = std::max(most_rows, rows);
    };
    auto first = std::make_shared<Recorder>(), second = std::make_shared<Recorder>();
    {
      const auto scheduler = Start({.prefill_chunk = chunk});
      for (const auto& sink : {first, second}) {
        GenerationRequest request = Request(prompt, 8, sink);
        request.bidirectional = spans;
        ASSERT_TRUE(scheduler->Submit(request).ok());
      }
      gate.Open();
      ASSERT_TRUE(first->Wait().ok() && second->Wait().ok());
    }
    model.on_forward = nullptr;
    EXPECT_EQ(first->text(), alone);
    EXPECT_EQ(second->text(), alone);
    EXPECT_EQ(inputs_with, std::vector<int>(spans.size(), 2));
    EXPECT_LE(most_rows, std::max<int64_t>(chunk, 5)) << "only a span may pass the chunk";
  }
}

TEST_F(SchedulerTest, SpansOutOfPlaceAreRefused) {
  const auto scheduler = Start();
  const auto message = [&](std::vector<TokenSpan> spans, int64_t prompt_logprobs = -1) {
    GenerationRequest request = Request({1, 2, 3, 4}, 5);
    request.bidirectional = std::move(spans);
    request.options.prompt_logprobs = prompt_logprobs;
    return std::string(scheduler->Generate(request).status().message());
  };
  EXPECT_EQ(message({{0, 2}, {2, 4}}), "");
  EXPECT_TRUE(absl::StrContains(message({{2, 5}}), "bidirectional span [2, 5) does not lie"));
  EXPECT_TRUE(absl::StrContains(message({{2, 2}}), "bidirectional span [2, 2)"));
  EXPECT_TRUE(absl::StrContains(message({{0, 3}, {2, 4}}), "bidirectional span [2, 4) does not lie behind"));
  EXPECT_TRUE(absl::StrContains(message({{0, 2}}, 0), "prompt_logprobs cannot be given"));
}

TEST_F(SchedulerTest, AnAnswerBeginsATextAndAContinuationDoesNot) {
  class Spaced : public PieceTokenizer {
   public:
    using PieceTokenizer::PieceTokenizer;
    std::string TokenBytes(TokenId id) const override { return " " + PieceTokenizer::TokenBytes(id); }
    std::string FirstTokenBytes(TokenId id) const override { return PieceTokenizer::TokenBytes(id); }
  };
  const Spaced spaced(Pieces());
  model.script = {kEnd, 1, 2, 1, 3, 2, 1};  // a control token is no text, and so does not begin one
  Scheduler scheduler(model, spaced, {.end_tokens = {}});
  GenerationRequest request = Request({3}, 4);
  EXPECT_EQ(scheduler.Generate(request)->first, " a b a");
  request.begins_text = true;
  EXPECT_EQ(scheduler.Generate(request)->first, "a b a");
  request.options.stop = {"b"};
  EXPECT_EQ(scheduler.Generate(request)->first, "a ");
  request.options.stop = {" a"};
  EXPECT_EQ(scheduler.Generate(request)->first, "a b") << "the first token has no space";
  request.options.stop = {};
  request.options.num_beams = 2;
  EXPECT_EQ(scheduler.Generate(request)->first, "a b a");
}

TEST_F(SchedulerTest, SequencesJoinAndLeaveTheRunningBatch) {
  std::vector<TokenId> first_prompt = {1, 2}, second_prompt = {4, 5, 6};
  std::string first_alone, second_alone;
  {
    const auto scheduler = Start();
    GenerationRequest first = Request(first_prompt, 20), second = Request(second_prompt, 4);
    first.options.ignore_eos = second.options.ignore_eos = true;
    first_alone = scheduler->Generate(first)->first;
    second_alone = scheduler->Generate(second)->first;
  }
  auto first = std::make_shared<Recorder>(), second = std::make_shared<Recorder>();
  std::vector<size_t> batch_sizes;
  Scheduler* running = nullptr;
  Gate ready;
  model.on_forward = [&](absl::Span<const ModelInput> batch) {
    ready.Wait();
    batch_sizes.push_back(batch.size());
    if (batch_sizes.size() == 5) {  // in the middle of the first generation
      GenerationRequest request = Request(second_prompt, 4, second);
      request.options.ignore_eos = true;
      EXPECT_TRUE(running->Submit(request).ok());
    }
  };
  const auto scheduler = Start();
  running = scheduler.get();
  GenerationRequest request = Request(first_prompt, 20, first);
  request.options.ignore_eos = true;
  ASSERT_TRUE(scheduler->Submit(request).ok());
  ready.Open();
  ASSERT_TRUE(second->Wait().ok());
  ASSERT_TRUE(first->Wait().ok());
  EXPECT_EQ(first->text(), first_alone);
  EXPECT_EQ(second->text(), second_alone);
  std::vector<size_t> expected(20, 1);
  std::fill(expected.begin() + 5, expected.begin() + 9, 2);  // joined at step 6, left after its fourth token
  EXPECT_EQ(batch_sizes, expected);
}

TEST_F(SchedulerTest, CancelStopsWithinOneStep) {
  auto sink = std::make_shared<Recorder>();
  int steps = 0;
  Scheduler::CancelFunction cancel;
  Gate ready;
  model.script.assign(kContext, 1);
  model.on_forward = [&](absl::Span<const ModelInput>) {
    ready.Wait();
    if (++steps == 4) cancel();
  };
  const auto scheduler = Start();
  auto submitted = scheduler->Submit(Request({1}, 90, sink));
  ASSERT_TRUE(submitted.ok());
  cancel = *submitted;
  ready.Open();
  const auto& result = sink->Wait();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(steps, 4);
  EXPECT_EQ(sink->text(), "aaaa");
  cancel();  // again, and after the end
}

TEST_F(SchedulerTest, ASinkThatIsGoneCancels) {
  auto sink = std::make_shared<Recorder>();
  sink->on_text = [&] { return sink->deltas.size() < 3; };
  model.script.assign(kContext, 1);
  const auto scheduler = Start();
  ASSERT_TRUE(scheduler->Submit(Request({1}, 90, sink)).ok());
  const auto& result = sink->Wait();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(sink->deltas.size(), 3u);
}

TEST_F(SchedulerTest, ADeadlineStopsWithinOneStep) {
  auto sink = std::make_shared<Recorder>();
  int steps = 0;
  Gate ready;
  GenerationRequest request = Request({1}, 90, sink);
  request.deadline = steady_clock::now() + std::chrono::milliseconds(50);
  model.script.assign(kContext, 1);
  model.on_forward = [&](absl::Span<const ModelInput>) {
    if (++steps == 3)
      while (steady_clock::now() < request.deadline) {
      }  // this step ends after the deadline
  };
  const auto scheduler = Start();
  ASSERT_TRUE(scheduler->Submit(request).ok());
  const auto& result = sink->Wait();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kDeadline);
  EXPECT_LE(steps, 3);
  EXPECT_EQ(sink->text(), std::string(result->tokens.size(), 'a'));

  auto late = std::make_shared<Recorder>();  // its deadline is over before it starts
  request.sink = late;
  ASSERT_TRUE(scheduler->Submit(request).ok());
  ASSERT_TRUE(late->Wait().ok());
  EXPECT_EQ(late->Wait()->finish_reason, FinishReason::kDeadline);
  EXPECT_TRUE(late->Wait()->tokens.empty());
}

TEST_F(SchedulerTest, AFullQueueRefusesAndWaitingRequestsCanBeCancelled) {
  Gate gate, started;
  model.on_forward = [&](absl::Span<const ModelInput>) {
    started.Open();
    gate.Wait();
  };
  const auto scheduler = Start({.max_sequences = 1, .max_queued = 2});
  auto first = std::make_shared<Recorder>(), second = std::make_shared<Recorder>(),
       third = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler->Submit(Request({1}, 3, first)).ok());
  started.Wait();  // the first runs; the next two wait
  auto cancel = scheduler->Submit(Request({1}, 3, second));
  ASSERT_TRUE(cancel.ok());
  ASSERT_TRUE(scheduler->Submit(Request({1}, 3, third)).ok());
  EXPECT_EQ(scheduler->running(), 1);
  EXPECT_EQ(scheduler->queued(), 2);
  auto refused = std::make_shared<Recorder>();
  const auto status = scheduler->Submit(Request({1}, 3, refused)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the queue is full: 2 generations wait; try again later");
  (*cancel)();
  gate.Open();
  EXPECT_EQ(second->Wait()->finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(second->Wait()->tokens.empty());
  EXPECT_TRUE(first->Wait().ok());
  EXPECT_TRUE(third->Wait().ok());
}

TEST_F(SchedulerTest, OnlyTheSequenceAtFaultFailsAndTheNextRequestWorks) {
  const auto scheduler = Start({.max_sequences = 4});
  const std::string alone = scheduler->Generate(Request({1, 2}, 8))->first;
  Gate gate;
  model.on_forward = [&](absl::Span<const ModelInput>) { gate.Wait(); };
  auto good = std::make_shared<Recorder>(), bad = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler->Submit(Request({1, 2}, 8, good)).ok());
  ASSERT_TRUE(scheduler->Submit(Request({5, static_cast<TokenId>(kPoison)}, 8, bad)).ok());
  gate.Open();
  EXPECT_EQ(bad->Wait().status().code(), absl::StatusCode::kInternal);
  ASSERT_TRUE(good->Wait().ok());
  EXPECT_EQ(good->text(), alone);
  int calls = 0;
  model.on_logits = [&] { TORCH_CHECK(++calls != 3, "fails once, half-way through a step"); };
  auto generated = scheduler->Generate(Request({1, 2}, 8));
  EXPECT_EQ(generated.status().code(), absl::StatusCode::kInternal);
  generated = scheduler->Generate(Request({1, 2}, 8));
  ASSERT_TRUE(generated.ok());
  EXPECT_EQ(generated->first, alone);
}

// A step that fails after the states were extended is repeated without reading a token twice.
TEST_F(SchedulerTest, AFailedBatchIsRepeatedFromWhereItWas) {
  std::vector<std::string> alone;
  const auto request = [](TokenId first, std::shared_ptr<TextSink> sink) {
    GenerationRequest request = Request({first, 2}, 12, std::move(sink));
    request.options.ignore_eos = true;
    return request;
  };
  {
    const auto scheduler = Start();
    for (const TokenId first : {1, 2, 3}) alone.push_back(scheduler->Generate(request(first, nullptr))->first);
  }
  Gate gate;
  int calls = 0;
  model.on_forward = [&](absl::Span<const ModelInput>) { gate.Wait(); };
  model.on_logits = [&] { TORCH_CHECK(++calls % 7 != 4, "the batch fails, its sequences do not"); };
  const auto scheduler = Start();
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (const TokenId first : {1, 2, 3}) {
    sinks.push_back(std::make_shared<Recorder>());
    ASSERT_TRUE(scheduler->Submit(request(first, sinks.back())).ok());
  }
  gate.Open();
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok()) << sinks[i]->Wait().status();
    EXPECT_EQ(sinks[i]->text(), alone[i]);
  }
}

TEST_F(SchedulerTest, DestructionCancelsWhatRunsAndWhatWaits) {
  Gate started;
  model.script.assign(kContext, 1);
  auto first = std::make_shared<Recorder>(), second = std::make_shared<Recorder>();
  Scheduler::CancelFunction cancel;
  {
    Gate gate;
    model.on_forward = [&](absl::Span<const ModelInput>) {
      started.Open();
      gate.Wait();
    };
    const auto scheduler = Start({.max_sequences = 1});
    cancel = *scheduler->Submit(Request({1}, 90, first));
    ASSERT_TRUE(scheduler->Submit(Request({1}, 90, second)).ok());
    started.Wait();
    first->on_text = [] { return true; };
    gate.Open();
    // `gate` outlives the scheduler, which is destroyed first.
  }
  EXPECT_TRUE(first->Wait().ok());
  EXPECT_EQ(second->Wait()->finish_reason == FinishReason::kCancelled ||
                second->Wait()->finish_reason == FinishReason::kLength,
            true);
  cancel();  // may outlive the scheduler
}

TEST_F(SchedulerTest, TheHeartbeatIsYoungWhenIdleAndAgesInAStep) {
  Gate gate, started;
  model.on_forward = [&](absl::Span<const ModelInput>) {
    started.Open();
    gate.Wait();
  };
  const auto scheduler = Start();
  EXPECT_EQ(scheduler->heartbeat_age().count(), 0);
  auto sink = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler->Submit(Request({1}, 2, sink)).ok());
  started.Wait();
  const auto begin = steady_clock::now();
  while (steady_clock::now() - begin < std::chrono::milliseconds(20)) {
  }
  EXPECT_GE(scheduler->heartbeat_age().count(), 20);
  gate.Open();
  EXPECT_TRUE(sink->Wait().ok());
}

TEST_F(SchedulerTest, TheSameSeedGivesTheSameTextWhateverRunsBeside) {
  GenerationRequest request = Request({1, 2, 3}, 40);
  request.options.temperature = 1.2;
  request.options.seed = 7;
  request.options.ignore_eos = true;
  std::string alone;
  {
    const auto scheduler = Start();
    alone = scheduler->Generate(request)->first;
    EXPECT_EQ(scheduler->Generate(request)->first, alone);
    GenerationRequest other = request;
    other.options.seed = 8;
    EXPECT_NE(scheduler->Generate(other)->first, alone);
    other.options.seed.reset();
    const auto drawn = scheduler->Generate(other);
    other.options.seed = drawn->second.seed;
    EXPECT_EQ(scheduler->Generate(other)->first, drawn->first);
  }
  Gate gate;
  model.on_forward = [&](absl::Span<const ModelInput>) { gate.Wait(); };
  const auto scheduler = Start();
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int i = 0; i < 6; ++i) {
    GenerationRequest beside = request;
    sinks.push_back(std::make_shared<Recorder>());
    beside.sink = sinks.back();
    if (i != 3) beside.options.seed = 100 + i;
    ASSERT_TRUE(scheduler->Submit(beside).ok());
  }
  gate.Open();
  for (const auto& sink : sinks) ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sinks[3]->text(), alone);
}

// Whatever the tokens and the stop strings: the joined deltas are the text before the first stop string, and no delta
// ends in a part of one that follows.
TEST_F(SchedulerTest, StreamingShowsExactlyTheTextBeforeTheFirstStop) {
  std::mt19937 random(11);
  const std::vector<std::string> candidates = {"STOP", "a",   "ab",  "TOP", "\n", "é",
                                               "漢",   "bST", "OPS", "aa",  "SS", "S S"};
  int stopped = 0, characters_split = 0;
  const auto scheduler = Start();
  for (int round = 0; round < 400; ++round) {
    auto sink = std::make_shared<Recorder>();
    GenerationRequest request =
        Request({static_cast<TokenId>(1 + random() % 18), static_cast<TokenId>(1 + random() % 18)}, 30, sink);
    request.options.temperature = 2.0;
    request.options.seed = round;
    request.options.ignore_eos = true;
    std::string plain;  // without stop strings
    {
      GenerationRequest whole = request;
      const auto generated = scheduler->Generate(whole);
      ASSERT_TRUE(generated.ok());
      for (const TokenId id : generated->second.tokens) plain += id == kEnd ? "" : Pieces()[id];
      EXPECT_EQ(generated->first, ReplaceInvalidUtf8(plain));
    }
    for (uint64_t i = random() % 3 + 1; i > 0; --i)
      request.options.stop.push_back(candidates[random() % candidates.size()]);
    auto streamed = std::make_shared<Recorder>();
    request.sink = streamed;
    ASSERT_TRUE(scheduler->Submit(request).ok());
    const auto& result = streamed->Wait();
    ASSERT_TRUE(result.ok());
    size_t first = std::string::npos;
    for (const std::string& stop : request.options.stop) first = std::min(first, plain.find(stop));
    EXPECT_EQ(streamed->text(), ReplaceInvalidUtf8(plain.substr(0, first)))
        << "stops: " << absl::StrJoin(request.options.stop, "|");
    EXPECT_EQ(result->finish_reason, first == std::string::npos ? FinishReason::kLength : FinishReason::kStop);
    stopped += first != std::string::npos;
    characters_split += absl::StrContains(streamed->text(), "é");
  }
  EXPECT_GT(stopped, 100);  // the data is not trivial
  EXPECT_LT(stopped, 390);
  EXPECT_GT(characters_split, 20);
}

TEST(TextStreamTest, HoldsBackWhatMayBecomeAStopOrACharacter) {
  TextStream stream({"END", "ENOUGH"});
  EXPECT_EQ(stream.Push("the E"), "the ");
  EXPECT_EQ(stream.Push("N"), "");
  EXPECT_EQ(stream.Push("T"), "ENT");
  EXPECT_EQ(stream.Push("\xF0\x9F"), "");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80!E"), "😀!");
  EXPECT_EQ(stream.Push("NDING"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.Push("more"), "");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStreamTest, TheEndGivesWhatWasHeldBack) {
  TextStream stream({"END"});
  EXPECT_EQ(stream.Push("no EN"), "no ");
  EXPECT_EQ(stream.Finish(), "EN");
  TextStream broken({});
  EXPECT_EQ(broken.Push("x\xE6\xBC"), "x");
  EXPECT_EQ(broken.Finish(), "\xEF\xBF\xBD");  // U+FFFD
}

// With a real transformer: sequences that share a batch give the text that each gives alone.
TEST(LlamaSchedulerTest, BatchedTextIsUnbatchedText) {
  const LlamaConfig config = {.width = 64,
                              .layers = 3,
                              .heads = 4,
                              .key_heads = 2,
                              .mlp_width = 96,
                              .vocabulary_size = 199,
                              .context_length = 128};
  const auto model = LlamaModel::Create(config, FormulaLlama(config));
  ASSERT_TRUE(model.ok());
  std::vector<std::string> pieces;
  for (int i = 0; i < 199; ++i) pieces.push_back(absl::StrCat(i, " "));
  const PieceTokenizer tokenizer(pieces);
  Scheduler scheduler(**model, tokenizer, {.max_sequences = 3, .prefill_chunk = 7});
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 6; ++i) {
    std::vector<TokenId> prompt;
    for (int j = 0; j < 3 + 4 * i; ++j) prompt.push_back((j * 31 + i * 17) % 199);
    requests.push_back(Request(prompt, 20 + i));
  }
  std::vector<std::string> alone;
  for (const GenerationRequest& request : requests) alone.push_back(scheduler.Generate(request)->first);
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (GenerationRequest request : requests) {
    sinks.push_back(std::make_shared<Recorder>());
    request.sink = sinks.back();
    ASSERT_TRUE(scheduler.Submit(request).ok());
  }
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok());
    EXPECT_EQ(sinks[i]->text(), alone[i]) << "sequence " << i;
  }
}

}  // namespace
}  // namespace blazon::language
