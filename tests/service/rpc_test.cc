// Every call once, over loopback and real weights; streams against their unary twins; many clients at once; health.
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "retrieval/filter.h"
#include "service/rpc/convert_retrieval.h"
#include "tests/service/rpc_fixture.h"

namespace blazon::service::rpc {
namespace {

using std::chrono::steady_clock;

class RpcTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new TestServer(Models()); }
  static void TearDownTestSuite() { delete server_; }
  static inline TestServer* server_ = nullptr;

  v1::GenerateResponse Generate(const v1::GenerateRequest& request) {
    v1::GenerateResponse reply;
    grpc::ClientContext context;
    const grpc::Status status = server_->generation->Generate(&context, request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return reply;
  }
};

TEST_F(RpcTest, StreamedTextIsTheUnaryText) {
  const v1::GenerateRequest request = Prompt("The capital of France is", 24);
  const v1::GenerateResponse whole = Generate(request);
  EXPECT_NE(whole.text().find("Paris"), std::string::npos) << whole.text();
  EXPECT_EQ(whole.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(whole.usage().output_tokens(), 24);
  EXPECT_GT(whole.usage().prompt_tokens(), 3);
  EXPECT_LT(whole.mean_logprob(), 0);
  EXPECT_GT(whole.timings().prefill_ms() + whole.timings().generate_ms(), 0);
  EXPECT_EQ(whole.model().name(), Models().Info(ModelRole::kLanguage).name);
  EXPECT_FALSE(whole.model().digest().empty());

  grpc::ClientContext context;
  auto reader = server_->generation->StreamGenerate(&context, ToStream<v1::StreamGenerateRequest>(request));
  std::string joined;
  int deltas = 0, ends = 0;
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) {
    EXPECT_EQ(ends, 0) << "something came after `done`";
    if (event.has_done()) {
      ++ends;
      EXPECT_EQ(event.done().text(), joined);
    } else {
      ++deltas;
      joined += event.text_delta();
    }
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(joined, whole.text());
  EXPECT_EQ(ends, 1);
  EXPECT_GT(deltas, 3);
}

TEST_F(RpcTest, SampledTextComesAgainWithItsSeed) {
  v1::GenerateRequest request = Prompt("Once upon a time", 24);
  request.mutable_options()->set_temperature(1.0);
  request.mutable_options()->set_top_k(50);
  const v1::GenerateResponse first = Generate(request);
  request.mutable_options()->set_seed(first.seed());
  const v1::GenerateResponse again = Generate(request);
  EXPECT_EQ(again.text(), first.text());
  EXPECT_EQ(again.seed(), first.seed());
}

// Streams a request and gathers the text of each sequence.
std::vector<std::string> Streamed(TestServer& server, const v1::GenerateRequest& request, v1::GenerateResponse* done) {
  grpc::ClientContext context;
  auto reader = server.generation->StreamGenerate(&context, ToStream<v1::StreamGenerateRequest>(request));
  std::vector<std::string> texts(std::max(1, request.options().num_sequences()));
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) {
    if (event.has_done()) *done = event.done();
    texts.at(event.sequence()) += event.text_delta();
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return texts;
}

TEST_F(RpcTest, SeveralSamplesShareAPromptAndStreamApart) {
  v1::GenerateRequest request = Prompt("Once upon a time", 12);
  v1::GenerationOptions& options = *request.mutable_options();
  options.set_temperature(1.0);
  options.set_seed(7);
  options.set_num_sequences(3);
  options.set_logprobs(true);
  const v1::GenerateResponse whole = Generate(request);
  ASSERT_EQ(whole.sequences_size(), 3);
  EXPECT_EQ(whole.text(), whole.sequences(0).text());
  EXPECT_NE(whole.text(), whole.sequences(1).text());
  int tokens = 0;
  for (const v1::GeneratedSequence& sequence : whole.sequences()) {
    tokens += sequence.token_ids_size();
    ASSERT_EQ(sequence.logprobs_size(), sequence.token_ids_size());
    double sum = 0;
    for (const v1::TokenLogprob& token : sequence.logprobs()) sum += token.logprob();
    EXPECT_NEAR(sequence.score(), sum, 1e-6);
    EXPECT_NE(sequence.finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
  }
  EXPECT_EQ(whole.usage().output_tokens(), tokens);

  v1::GenerateResponse done;
  const std::vector<std::string> texts = Streamed(*server_, request, &done);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(texts[i], whole.sequences(i).text()) << i;
  EXPECT_EQ(done.text(), whole.text());

  options.set_num_sequences(1);  // the third alone, by its own seed
  options.set_seed(9);
  const v1::GenerateResponse third = Generate(request);
  EXPECT_EQ(third.text(), whole.sequences(2).text());
  EXPECT_EQ(third.sequences_size(), 0);
}

TEST_F(RpcTest, BeamSearchFindsMoreProbableText) {
  v1::GenerateRequest request = Prompt("The sea was", 10);
  request.mutable_options()->set_ignore_eos(true);
  request.mutable_options()->set_logprobs(true);
  const v1::GenerateResponse greedy = Generate(request);
  request.mutable_options()->set_num_beams(4);
  request.mutable_options()->set_num_sequences(2);
  v1::GenerateResponse best;
  const std::vector<std::string> texts = Streamed(*server_, request, &best);
  ASSERT_EQ(best.sequences_size(), 2);
  EXPECT_GE(best.mean_logprob(), greedy.mean_logprob() - 1e-6);
  EXPECT_NEAR(best.sequences(0).score(), best.mean_logprob(), 1e-5);
  EXPECT_GE(best.sequences(0).score(), best.sequences(1).score());
  EXPECT_EQ(texts[0], best.text());
  EXPECT_EQ(texts[1], best.sequences(1).text());
}

TEST_F(RpcTest, PromptsComeAsTokenIdsAndComeBack) {
  const v1::GenerateRequest request = Prompt("The capital of France is", 8);
  v1::TokenizeRequest tokenize;
  tokenize.set_text("The capital of France is");
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Tokenize, tokenize, &tokens).ok());
  v1::GenerateRequest by_ids = request;
  by_ids.clear_prompt();
  v1::ScoreRequest score;
  score.set_completion(" Paris");
  for (const v1::Token& token : tokens.tokens()) {
    by_ids.mutable_prompt()->add_token_ids(token.id());
    score.add_prompt_token_ids(token.id());
  }
  by_ids.mutable_options()->set_echo(true);
  by_ids.mutable_options()->set_prompt_logprobs(1);
  const v1::GenerateResponse reply = Generate(by_ids);
  EXPECT_EQ(reply.text(), Generate(request).text());
  EXPECT_EQ(reply.prompt_text(), tokenize.text());
  ASSERT_EQ(reply.prompt_token_ids_size(), tokens.tokens_size());
  ASSERT_EQ(reply.prompt_logprobs_size(), tokens.tokens_size() - 1);
  EXPECT_EQ(reply.prompt_logprobs(0).id(), tokens.tokens(1).id());
  EXPECT_EQ(reply.prompt_logprobs(0).top_size(), 1);

  // Score says the same of the prompt's last token as prompt_logprobs does.
  v1::ScoreResponse scored;
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Score, score, &scored).ok());
  EXPECT_EQ(scored.usage().prompt_tokens(), tokens.tokens_size());
  score.clear_completion();
  const int last = score.prompt_token_ids(score.prompt_token_ids_size() - 1);
  score.mutable_prompt_token_ids()->RemoveLast();
  score.add_completion_token_ids(last);
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Score, score, &scored).ok());
  ASSERT_EQ(scored.tokens_size(), 1);
  EXPECT_NEAR(scored.logprob(), reply.prompt_logprobs(reply.prompt_logprobs_size() - 1).logprob(), 1e-3);
}

TEST_F(RpcTest, ExplainsEachStep) {
  v1::GenerateRequest request;
  request.mutable_prompt()->add_parts()->set_text("The capital of France is");
  v1::GenerationOptions& options = *request.mutable_options();
  options.set_max_new_tokens(3);
  options.set_temperature(1);
  options.set_top_k(5);
  options.set_seed(3);
  const v1::GenerateResponse plain = Generate(request);
  EXPECT_EQ(plain.steps_size(), 0);
  options.set_explain(4);
  const v1::GenerateResponse reply = Generate(request);
  EXPECT_EQ(reply.text(), plain.text());  // explaining changes nothing
  ASSERT_EQ(reply.steps_size(), 3);
  std::string chosen;
  for (const v1::SamplingStep& step : reply.steps()) {
    ASSERT_EQ(step.stages_size(), 3);
    EXPECT_EQ(step.stages(2).rule(), "top_k");
    EXPECT_EQ(step.stages(2).candidates(), 5);
    EXPECT_GE(step.tokens_size(), 4);
    EXPECT_EQ(step.stages(0).probabilities_size(), step.tokens_size());
    for (const v1::Token& token : step.tokens()) {
      if (token.id() == step.chosen()) chosen += token.bytes();
    }
  }
  EXPECT_EQ(chosen, reply.text());
}

TEST_F(RpcTest, ChatStopsAndReportsTokens) {
  v1::GenerateRequest request;
  v1::Message& message = *request.mutable_chat()->add_messages();
  message.set_role(v1::ROLE_USER);
  message.add_parts()->set_text("Reply with the names of three colours, <|im_end|> separated by commas.");
  request.mutable_options()->set_top_logprobs(2);
  request.mutable_options()->add_stop(",");
  const v1::GenerateResponse reply = Generate(request);
  EXPECT_EQ(reply.text().find(','), std::string::npos) << reply.text();
  ASSERT_GT(reply.logprobs_size(), 0);
  for (const v1::TokenLogprob& token : reply.logprobs()) {
    ASSERT_EQ(token.top_size(), 2);
    EXPECT_NEAR(token.logprob(), token.top(0).logprob(), 1e-5);  // greedy: the best one was taken
    EXPECT_GE(token.top(0).logprob(), token.top(1).logprob());
    EXPECT_FALSE(token.bytes().empty());
  }
}

// What a model writes that goes on as its prompt began: " <think>\nTwo and two ...\n</think>\n\nIt is ...".
v1::GenerateRequest Reasoned(v1::ReasoningMode mode, int max_new_tokens = 40) {
  v1::GenerateRequest request = Prompt(
      "Question: 2 + 2?\nReply: <think>\n2 and 2 make 4.\n</think>\n\nIt is 4.\n\n"
      "Question: 3 + 5?\nReply: <think>\n3 and 5 make 8.\n</think>\n\nIt is 8.\n\n"
      "Question: 1 + 6?\nReply:",
      max_new_tokens);
  request.mutable_options()->add_stop("\n\nQuestion");
  request.mutable_options()->set_reasoning(mode);
  return request;
}

// The end of a stream whose deltas of the first sequence, joined, are what it says; reasoning comes first, without
// marks.
v1::GenerateResponse StreamedReasoning(TestServer& server, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  auto reader = server.generation->StreamGenerate(&context, ToStream<v1::StreamGenerateRequest>(request));
  std::string text, reasoning;
  v1::StreamGenerateResponse event;
  v1::GenerateResponse done;
  while (reader->Read(&event)) {
    if (event.has_done()) done = event.done();
    if (event.sequence() != 0) continue;
    EXPECT_TRUE(event.reasoning_delta().empty() || text.empty()) << "reasoning after the answer: " << text;
    EXPECT_EQ(event.reasoning_delta().find_first_of("<>"), std::string::npos) << event.reasoning_delta();
    reasoning += event.reasoning_delta();
    text += event.text_delta();
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(done.text(), text);
  EXPECT_EQ(done.reasoning(), reasoning);
  return done;
}

TEST_F(RpcTest, ReasoningIsToldApartOrHidden) {
  const v1::GenerateResponse whole = Generate(Reasoned(v1::REASONING_MODE_INLINE));
  ASSERT_EQ(whole.text(), " <think>\n1 and 6 make 7.\n</think>\n\nIt is 7.");
  EXPECT_EQ(whole.reasoning(), "");
  v1::GenerateRequest request = Reasoned(v1::REASONING_MODE_SEPARATE);
  request.mutable_options()->set_logprobs(true);
  for (const v1::GenerateResponse& apart : {Generate(request), StreamedReasoning(*server_, request)}) {
    EXPECT_EQ(apart.reasoning(), "1 and 6 make 7.");
    EXPECT_EQ(apart.text(), "It is 7.");
    EXPECT_EQ(apart.finish_reason(), v1::FINISH_REASON_STOP);
    EXPECT_EQ(apart.usage().output_tokens(), whole.usage().output_tokens());
    EXPECT_GT(apart.logprobs_size(), 12);  // of all tokens
  }
  const v1::GenerateResponse hidden = StreamedReasoning(*server_, Reasoned(v1::REASONING_MODE_HIDDEN));
  EXPECT_EQ(hidden.reasoning(), "");
  EXPECT_EQ(hidden.text(), "It is 7.");
  EXPECT_EQ(hidden.usage().output_tokens(), whole.usage().output_tokens());
  EXPECT_EQ(hidden.mean_logprob(), whole.mean_logprob());
}

TEST_F(RpcTest, ReasoningMayBeCutOffOrOpenedByThePrompt) {
  const v1::GenerateResponse short_one = StreamedReasoning(*server_, Reasoned(v1::REASONING_MODE_SEPARATE, 8));
  EXPECT_EQ(short_one.text(), "");
  EXPECT_GT(short_one.reasoning().size(), 3u);
  EXPECT_TRUE(std::string("1 and 6 make 7.").starts_with(short_one.reasoning())) << short_one.reasoning();
  EXPECT_EQ(short_one.finish_reason(), v1::FINISH_REASON_LENGTH);
  const v1::GenerateResponse nothing = StreamedReasoning(*server_, Reasoned(v1::REASONING_MODE_HIDDEN, 8));
  EXPECT_EQ(nothing.text() + nothing.reasoning(), "");
  EXPECT_EQ(nothing.usage().output_tokens(), 8);

  // A stop string within the reasoning, and one that is the end of it.
  for (const auto& [stop, reasoning] : {std::pair(" make", "1 and 6"), std::pair("</think>", "1 and 6 make 7.")}) {
    v1::GenerateRequest request = Reasoned(v1::REASONING_MODE_SEPARATE);
    request.mutable_options()->set_stop(0, stop);
    const v1::GenerateResponse stopped = StreamedReasoning(*server_, request);
    EXPECT_EQ(stopped.reasoning(), reasoning);
    EXPECT_EQ(stopped.text(), "");
    EXPECT_EQ(stopped.finish_reason(), v1::FINISH_REASON_STOP);
  }

  v1::GenerateRequest opened = Reasoned(v1::REASONING_MODE_SEPARATE);
  opened.mutable_prompt()->mutable_parts(0)->mutable_text()->append(" <think>\n");
  const v1::GenerateResponse rest = StreamedReasoning(*server_, opened);
  EXPECT_EQ(rest.reasoning(), "1 and 6 make 7.");
  EXPECT_EQ(rest.text(), "It is 7.");
}

TEST_F(RpcTest, ReasoningOfSeveralSequencesIsToldApart) {
  v1::GenerateRequest request = Reasoned(v1::REASONING_MODE_SEPARATE, 24);
  request.mutable_options()->set_num_sequences(2);
  request.mutable_options()->set_temperature(0.3);
  request.mutable_options()->set_seed(3);
  v1::GenerateRequest beams = Reasoned(v1::REASONING_MODE_SEPARATE, 24);
  beams.mutable_options()->set_num_sequences(2);
  beams.mutable_options()->set_num_beams(2);
  for (v1::GenerateRequest each : {request, beams}) {
    const v1::GenerateResponse apart = StreamedReasoning(*server_, each);
    each.mutable_options()->set_reasoning(v1::REASONING_MODE_INLINE);
    const v1::GenerateResponse whole = Generate(each);
    each.mutable_options()->set_reasoning(v1::REASONING_MODE_HIDDEN);
    const v1::GenerateResponse hidden = Generate(each);
    ASSERT_EQ(whole.sequences_size(), 2);
    ASSERT_EQ(apart.sequences_size(), 2);
    ASSERT_EQ(hidden.sequences_size(), 2);
    EXPECT_EQ(apart.text(), apart.sequences(0).text());
    EXPECT_EQ(apart.reasoning(), apart.sequences(0).reasoning());
    for (int i = 0; i < 2; ++i) {
      const v1::GeneratedSequence &told = apart.sequences(i), &kept = hidden.sequences(i);
      EXPECT_EQ(" <think>\n" + told.reasoning() + "\n</think>\n\n" + told.text(), whole.sequences(i).text()) << i;
      EXPECT_EQ(told.token_ids_size(), whole.sequences(i).token_ids_size());
      EXPECT_EQ(kept.text(), told.text());
      EXPECT_EQ(kept.reasoning(), "");
      EXPECT_EQ(kept.token_ids_size(), 0);
    }
    EXPECT_EQ(hidden.usage().output_tokens(), whole.usage().output_tokens());
  }
}

TEST_F(RpcTest, ScoreTokenizeDetokenizeEmbed) {
  const auto score = [this](const std::string& completion) {
    v1::ScoreRequest request;
    request.set_prompt("The capital of France is");
    request.set_completion(completion);
    v1::ScoreResponse reply;
    const grpc::Status status = Unary(*server_->generation, &v1::GenerationService::Stub::Score, request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    double sum = 0;
    for (const v1::TokenLogprob& token : reply.tokens()) sum += token.logprob();
    EXPECT_NEAR(sum, reply.logprob(), 1e-6);
    return reply.mean_logprob();
  };
  EXPECT_GT(score(" Paris"), score(" Oslo"));

  const std::string text = "Grüße, 世界! 👩‍🔬 <|im_start|> a  12\n\n5";
  v1::TokenizeRequest tokenize;
  tokenize.set_text(text);
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Tokenize, tokenize, &tokens).ok());
  v1::DetokenizeRequest detokenize;
  std::string bytes;
  for (const v1::Token& token : tokens.tokens()) {
    detokenize.add_ids(token.id());
    bytes += token.bytes();
  }
  EXPECT_EQ(bytes, text);
  v1::DetokenizeResponse back;
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Detokenize, detokenize, &back).ok());
  EXPECT_EQ(back.text(), text);

  v1::EmbedRequest embed;
  for (const char* each : {"A cat sleeps on the sofa.", "A kitten naps on the couch.", "The stock market fell."})
    embed.add_texts(each);
  v1::EmbedResponse vectors;
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Embed, embed, &vectors).ok());
  ASSERT_EQ(vectors.embeddings_size(), 3);
  EXPECT_EQ(vectors.dimension(), 384);
  const auto cosine = [&](int a, int b) {
    double sum = 0;
    for (int i = 0; i < vectors.dimension(); ++i)
      sum += vectors.embeddings(a).values(i) * vectors.embeddings(b).values(i);
    return sum;
  };
  EXPECT_NEAR(cosine(0, 0), 1, 1e-4);
  EXPECT_GT(cosine(0, 1), cosine(0, 2) + 0.2);
}

TEST_F(RpcTest, CaptionsOnceStreamedAndInBulk) {
  ASSERT_TRUE(Models().Info(ModelRole::kCaptioner).present) << "assets/captioner/captioner.safetensors is missing";
  const v1::CaptionRequest request = Picture();
  v1::CaptionResponse whole;
  const grpc::Status status = Unary(*server_->caption, &v1::CaptionService::Stub::Caption, request, &whole);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(whole.text().empty());
  EXPECT_GT(whole.labels_size(), 0);
  EXPECT_GT(whole.usage().image_tokens(), 0);
  EXPECT_GT(whole.usage().prompt_tokens(), whole.usage().image_tokens());
  EXPECT_GT(whole.timings().encode_ms(), 0);
  EXPECT_EQ(whole.model().name(), Models().Info(ModelRole::kCaptioner).name);

  grpc::ClientContext context;
  auto reader = server_->caption->StreamCaption(&context, ToStream<v1::StreamCaptionRequest>(request));
  std::string joined;
  v1::StreamCaptionResponse event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_TRUE(event.has_labels());
  EXPECT_EQ(event.labels().labels(0).name(), whole.labels(0).name());
  while (reader->Read(&event)) joined += event.text_delta();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(event.has_done());
  EXPECT_EQ(joined, whole.text());

  // In bulk: each answer under its id; a bad picture and a doubled id hurt nobody else.
  grpc::ClientContext bulk_context;
  auto bulk = server_->caption->CaptionImages(&bulk_context);
  const std::vector<std::string> photos = {"cat.jpg", "coffee.jpg", "flower.jpg", "rocket.jpg", "temple.jpg"};
  std::thread writer([&] {
    for (const std::string& photo : photos) {
      v1::CaptionImagesRequest each;
      each.set_id(photo);
      each.mutable_image()->set_data(ReadFile(SourceFolder() / "assets/photos" / photo));
      bulk->Write(each);
    }
    v1::CaptionImagesRequest bad;
    bad.set_id("bad");
    bad.mutable_image()->set_data("this is no picture");
    bulk->Write(bad);
    bad.set_id("");
    bulk->Write(bad);
    bulk->WritesDone();
  });
  std::map<std::string, v1::CaptionImagesResponse> answers;
  v1::CaptionImagesResponse answer;
  while (bulk->Read(&answer)) answers[answer.id()] = answer;
  writer.join();
  EXPECT_TRUE(bulk->Finish().ok());
  ASSERT_EQ(answers.size(), photos.size() + 2);
  EXPECT_EQ(answers["cat.jpg"].caption().text(), whole.text());
  for (const std::string& photo : photos) EXPECT_FALSE(answers[photo].caption().text().empty()) << photo;
  EXPECT_EQ(answers["bad"].error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_GT(answers["bad"].error().details_size(), 0);
  EXPECT_EQ(answers[""].error().code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RpcTest, DocumentsBringTheirChunksAndVectors) {
  using Index = v1::IndexService::Stub;
  const auto create = [](const std::string& name) {
    v1::CreateCollectionRequest request;
    request.set_collection(name);
    v1::CreateCollectionResponse created;
    EXPECT_TRUE(Unary(*server_->index, &Index::CreateCollection, request, &created).ok());
  };
  const std::string text = "Tea is steeped. Bees fly far.";
  struct Piece {
    int begin, end;
    std::vector<float> vector;
  };
  const auto put = [&](const std::string& collection, const std::string& embedder, const std::vector<Piece>& pieces) {
    grpc::ClientContext context;
    v1::PutDocumentsResponse response;
    auto writer = server_->index->PutDocuments(&context, &response);
    v1::PutDocumentsRequest request;
    request.set_collection(collection);
    writer->Write(request);
    v1::DocumentHeader& header = *request.mutable_document();
    header.set_path("given.txt");
    header.set_size_bytes(static_cast<int>(text.size()));
    header.set_chunk_count(static_cast<int>(pieces.size()));
    header.set_embedder(embedder);
    writer->Write(request);
    for (const Piece& piece : pieces) {
      v1::GivenChunk& chunk = *request.mutable_chunks()->add_chunks();
      chunk.set_begin(piece.begin);
      chunk.set_end(piece.end);
      chunk.set_headings("Small things");
      chunk.mutable_vector()->Assign(piece.vector.begin(), piece.vector.end());
      writer->Write(request);
      request.mutable_chunks()->clear_chunks();
    }
    request.set_data(text);
    writer->Write(request);
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.results_size(), 1);
    return response.results_size() == 1 ? response.results(0) : v1::PutResult();
  };
  const auto search = [](const std::string& collection, const std::vector<float>& vector) {
    v1::SearchRequest request;
    request.set_collection(collection);
    request.set_query("insects that fly");
    request.set_mode(v1::SEARCH_MODE_VECTOR);
    request.mutable_vector()->Assign(vector.begin(), vector.end());
    v1::SearchResponse found;
    const grpc::Status status = Unary(*server_->index, &Index::Search, request, &found);
    return !status.ok() ? status.error_message() : found.results_size() == 0 ? "" : found.results(0).text();
  };

  create("own-chunks");
  EXPECT_EQ(put("own-chunks", "", {{0, 15, {}}, {16, 29, {}}}).state(), v1::PUT_STATE_ADDED);
  EXPECT_EQ(search("own-chunks", {}), "Bees fly far.");
  v1::PutResult refused = put("own-chunks", "", {{0, 15, {}}, {16, 99, {}}});
  EXPECT_EQ(refused.state(), v1::PUT_STATE_REFUSED);
  EXPECT_TRUE(absl::StrContains(refused.error().message(), "chunk 1 spans [16, 99)")) << refused.error().message();
  refused = put("own-chunks", "three-axes", {{0, 15, {1, 0, 0}}});
  EXPECT_TRUE(absl::StrContains(refused.error().message(), "they cannot be compared")) << refused.error().message();
  EXPECT_EQ(refused.error().code(), grpc::StatusCode::FAILED_PRECONDITION);

  create("german");
  const auto put_as = [&](const std::string& language) {
    grpc::ClientContext context;
    v1::PutDocumentsResponse response;
    auto writer = server_->index->PutDocuments(&context, &response);
    v1::PutDocumentsRequest request;
    request.set_collection("german");
    writer->Write(request);
    request.mutable_document()->set_path("de.txt");
    request.mutable_document()->set_size_bytes(21);
    request.mutable_document()->set_language(language);
    writer->Write(request);
    request.set_data("Die H\xc3\xa4user der Stadt");
    writer->Write(request);
    writer->WritesDone();
    EXPECT_TRUE(writer->Finish().ok());
    return response.results_size() == 1 ? response.results(0) : v1::PutResult();
  };
  refused = put_as("xq");
  EXPECT_EQ(refused.state(), v1::PUT_STATE_REFUSED);
  EXPECT_TRUE(absl::StrContains(refused.error().message(), "language 'xq' is not known")) << refused.error().message();
  EXPECT_EQ(put_as("de").state(), v1::PUT_STATE_ADDED);
  v1::ListDocumentsRequest list;
  list.set_collection("german");
  v1::ListDocumentsResponse listed;
  EXPECT_TRUE(Unary(*server_->index, &Index::ListDocuments, list, &listed).ok());
  ASSERT_EQ(listed.documents_size(), 1);
  EXPECT_EQ(listed.documents(0).language(), "de");

  create("own-vectors");
  refused = put("own-vectors", "three-axes", {{0, 15, {1, 0, 0}}, {16, 29, {}}});
  EXPECT_TRUE(absl::StrContains(refused.error().message(), "or none has")) << refused.error().message();
  refused = put("own-vectors", "", {{0, 15, {1, 0, 0}}});
  EXPECT_TRUE(absl::StrContains(refused.error().message(), "nothing says which embedder")) << refused.error().message();
  EXPECT_EQ(put("own-vectors", "three-axes", {{0, 15, {1, 0, 0}}, {16, 29, {0, 3, 4}}}).state(), v1::PUT_STATE_ADDED);
  EXPECT_EQ(search("own-vectors", {0, 0, 0.5f}), "Bees fly far.");
  EXPECT_TRUE(absl::StrContains(search("own-vectors", {}), "given:three-axes")) << search("own-vectors", {});
  EXPECT_TRUE(absl::StrContains(search("own-vectors", {1, 2}), "2 dimensions")) << search("own-vectors", {1, 2});
  EXPECT_TRUE(absl::StrContains(search("own-vectors", {0, 0, 0}), "not all zeros")) << search("own-vectors", {0, 0, 0});
  for (const char* name : {"own-chunks", "german", "own-vectors"}) {
    v1::DeleteCollectionRequest remove;
    remove.set_collection(name);
    v1::DeleteCollectionResponse removed;
    EXPECT_TRUE(Unary(*server_->index, &Index::DeleteCollection, remove, &removed).ok()) << name;
  }
}

TEST_F(RpcTest, CollectionFromPutToAnswerToDelete) {
  using Index = v1::IndexService::Stub;
  v1::CreateCollectionRequest create;
  create.set_collection("notes");
  v1::CreateCollectionResponse created;
  grpc::Status status = Unary(*server_->index, &Index::CreateCollection, create, &created);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(created.collection().name(), "notes");
  status = Unary(*server_->index, &Index::CreateCollection, create, &created);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Reason(status), "COLLECTION_EXISTS");

  const std::filesystem::path documents = SourceFolder() / "assets/documents";
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& entry : std::filesystem::directory_iterator(documents)) {
    files.emplace_back(entry.path().filename().string(), ReadFile(entry.path()));
  }
  files.emplace_back("broken.html", std::string("\0\1\2\3", 4));
  files.emplace_back("strange.xyz", "unknown kind");
  v1::PutDocumentsResponse put;
  status = Put(*server_->index, "notes", files, &put);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(put.results_size(), static_cast<int>(files.size()));
  for (int i = 0; i < put.results_size(); ++i) {
    const bool bad = files[i].first == "broken.html" || files[i].first == "strange.xyz";
    EXPECT_EQ(put.results(i).path(), files[i].first);
    EXPECT_EQ(put.results(i).state(), bad ? v1::PUT_STATE_REFUSED : v1::PUT_STATE_ADDED) << files[i].first;
    EXPECT_EQ(put.results(i).error().details_size() > 0, bad);
  }
  ASSERT_TRUE(Put(*server_->index, "notes", {files[0]}, &put).ok());
  EXPECT_EQ(put.results(0).state(), v1::PUT_STATE_UNCHANGED);

  // Pages: all documents, none twice.
  v1::ListDocumentsRequest list;
  list.set_collection("notes");
  list.set_page_size(5);
  std::map<std::string, std::string> ids;  // path -> id
  do {
    v1::ListDocumentsResponse page;
    ASSERT_TRUE(Unary(*server_->index, &Index::ListDocuments, list, &page).ok());
    EXPECT_LE(page.documents_size(), 5);
    for (const v1::Document& document : page.documents())
      EXPECT_TRUE(ids.emplace(document.path(), document.id()).second);
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_EQ(ids.size(), files.size() - 2);

  v1::VerifyCollectionRequest verify;
  verify.set_collection("notes");
  v1::VerifyCollectionResponse verified;
  ASSERT_TRUE(Unary(*server_->index, &Index::VerifyCollection, verify, &verified).ok());
  EXPECT_EQ(verified.damage_size(), 0);
  EXPECT_EQ(verified.documents(), static_cast<int>(ids.size()));
  EXPECT_GT(verified.pages(), 0);
  v1::SnapshotCollectionRequest snapshot;
  snapshot.set_collection("notes");
  snapshot.set_snapshot("before");
  v1::SnapshotCollectionResponse copied;
  ASSERT_TRUE(Unary(*server_->index, &Index::SnapshotCollection, snapshot, &copied).ok());
  EXPECT_EQ(copied.documents(), verified.documents());
  EXPECT_EQ(Unary(*server_->index, &Index::SnapshotCollection, snapshot, &copied).error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
  snapshot.set_snapshot("../elsewhere");
  EXPECT_EQ(Unary(*server_->index, &Index::SnapshotCollection, snapshot, &copied).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  // A result's span is what it says it is.
  v1::SearchRequest search;
  search.set_collection("notes");
  search.set_query("how long is the kettle's warranty?");
  search.set_count(3);
  v1::SearchResponse found;
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  ASSERT_GT(found.results_size(), 0);
  EXPECT_EQ(found.results(0).path(), "kettle-warranty.txt");
  v1::GetDocumentRequest get;
  get.set_collection("notes");
  get.set_id(found.results(0).document_id());
  v1::GetDocumentResponse document;
  ASSERT_TRUE(Unary(*server_->index, &Index::GetDocument, get, &document).ok());
  const v1::ScoredChunk& chunk = found.results(0);
  EXPECT_EQ(document.text().substr(chunk.begin_byte(), chunk.end_byte() - chunk.begin_byte()), chunk.text());
  search.mutable_filter()->set_path_prefix("lentil");
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  for (const v1::ScoredChunk& each : found.results()) EXPECT_EQ(each.path(), "lentil-soup.md");

  // An answer: sources first, sentences verbatim, deltas joined equal the whole.
  v1::AskRequest ask;
  ask.set_collection("notes");
  ask.set_question("How long is the kettle's warranty?");
  v1::AskResponse whole;
  status = Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_GT(whole.sources_size(), 0);
  ASSERT_GT(whole.sentences_size(), 0);
  for (const v1::SupportingSentence& sentence : whole.sentences()) {
    ASSERT_LT(sentence.source(), whole.sources_size());
    get.set_id(whole.sources(sentence.source()).document_id());
    ASSERT_TRUE(Unary(*server_->index, &Index::GetDocument, get, &document).ok());
    EXPECT_EQ(document.text().substr(sentence.begin_byte(), sentence.end_byte() - sentence.begin_byte()),
              sentence.text());
  }
  grpc::ClientContext context;
  auto reader = server_->answer->StreamAsk(&context, ToStream<v1::StreamAskRequest>(ask));
  v1::StreamAskResponse event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_TRUE(event.has_sources());
  EXPECT_EQ(event.sources().sources_size(), whole.sources_size());
  std::string joined;
  while (reader->Read(&event)) joined += event.text_delta();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(joined, whole.text());
  EXPECT_EQ(whole.asked(), ask.question());
  EXPECT_EQ(whole.drop_reasons_size(), whole.dropped_size());
  // What bears the answer out is what is stored, byte for byte.
  const auto expect_support = [&](const v1::AskResponse& answer) {
    ASSERT_GT(answer.support_size(), 0);
    for (const v1::AnswerSentence& sentence : answer.support()) {
      EXPECT_EQ(answer.text().substr(sentence.begin_byte(), sentence.end_byte() - sentence.begin_byte()),
                sentence.text());
      EXPECT_TRUE(sentence.supported() && sentence.citations_size() > 0) << sentence.text();
      for (const v1::Citation& citation : sentence.citations()) {
        get.set_id(citation.document_id());
        ASSERT_TRUE(Unary(*server_->index, &Index::GetDocument, get, &document).ok());
        EXPECT_EQ(document.text().substr(citation.begin_byte(), citation.end_byte() - citation.begin_byte()),
                  citation.text());
        const v1::ScoredChunk& piece = citation.piece() < answer.sources_size()
                                           ? answer.sources(citation.piece())
                                           : answer.dropped(citation.piece() - answer.sources_size());
        EXPECT_EQ(piece.document_id(), citation.document_id());
        EXPECT_LE(piece.begin_byte(), citation.begin_byte());
        EXPECT_GE(piece.end_byte(), citation.end_byte());
      }
    }
  };
  expect_support(whole);
  // A threshold: of one request, and kept with the collection for those that have none.
  const double confidence = whole.confidence(), usual = whole.refuse_below();
  EXPECT_GT(usual, 0);
  ask.set_refuse_below(1);
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).ok());
  EXPECT_EQ(whole.outcome(), v1::ANSWER_OUTCOME_NO_ANSWER);
  EXPECT_EQ(whole.confidence(), confidence);
  ask.clear_refuse_below();
  v1::UpdateCollectionRequest update;
  update.set_collection("notes");
  update.set_refuse_below(1);
  v1::UpdateCollectionResponse updated;
  ASSERT_TRUE(Unary(*server_->index, &Index::UpdateCollection, update, &updated).ok());
  EXPECT_EQ(updated.collection().refuse_below(), 1);
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).ok());
  EXPECT_EQ(whole.outcome(), v1::ANSWER_OUTCOME_NO_ANSWER);
  EXPECT_EQ(whole.refuse_below(), 1);
  update.clear_refuse_below();
  ASSERT_TRUE(Unary(*server_->index, &Index::UpdateCollection, update, &updated).ok());
  EXPECT_FALSE(updated.collection().has_refuse_below());
  ask.set_extractive(true);
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).ok());
  EXPECT_FALSE(whole.has_model());
  expect_support(whole);
  EXPECT_EQ(whole.support(0).citations(0).text(), whole.sentences(0).text());

  // A question that goes on from another is completed, unless that is switched off.
  v1::Message& earlier = *ask.add_conversation();
  earlier.set_role(v1::ROLE_USER);
  earlier.add_parts()->set_text("How long is the kettle's warranty?");
  v1::Message& said = *ask.add_conversation();
  said.set_role(v1::ROLE_ASSISTANT);
  said.add_parts()->set_text("Three years");
  ask.set_question("And for the heating element?");
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).ok());
  EXPECT_EQ(whole.asked(), "How long is the kettle's warranty for the heating element?");
  ASSERT_GT(whole.sentences_size(), 0);
  EXPECT_EQ(whole.sentences(0).text(), "For the heating element it lasts five years.");
  ask.set_rewrite(false);
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).ok());
  EXPECT_EQ(whole.asked(), ask.question());
  ask.clear_conversation();
  ask.clear_rewrite();

  // A picture of the question: what it shows is put behind the question.
  ask.add_images()->set_data(ReadFile(SourceFolder() / "assets/photos/coffee.jpg"));
  ask.set_question("How is scale removed from the machine that makes this?");
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).ok());
  ASSERT_EQ(whole.image_captions_size(), 1);
  EXPECT_TRUE(absl::StartsWith(whole.asked(), ask.question() + " (")) << whole.asked();
  ASSERT_GT(whole.sources_size(), 0) << whole.asked();
  EXPECT_EQ(whole.sources(0).path(), "coffee-machine.txt") << whole.asked();
  EXPECT_GT(whole.timings().encode_ms(), 0);
  ask.mutable_images(0)->set_data("no picture");
  EXPECT_EQ(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  ask.clear_images();
  ask.set_extractive(false);
  ask.set_question("What is the mass of the Higgs boson?");
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &whole).ok());
  EXPECT_EQ(whole.outcome(), v1::ANSWER_OUTCOME_NO_ANSWER) << whole.text();

  // Away again.
  v1::DeleteDocumentsRequest remove;
  remove.set_collection("notes");
  remove.add_ids(ids["lentil-soup.md"]);
  remove.add_ids("never-there");
  v1::DeleteDocumentsResponse removed;
  ASSERT_TRUE(Unary(*server_->index, &Index::DeleteDocuments, remove, &removed).ok());
  EXPECT_EQ(removed.deleted(), 1);
  v1::GetCollectionRequest look;
  look.set_collection("notes");
  v1::GetCollectionResponse collection;
  ASSERT_TRUE(Unary(*server_->index, &Index::GetCollection, look, &collection).ok());
  EXPECT_EQ(collection.collection().documents(), static_cast<int>(files.size()) - 3);
  v1::ListCollectionsRequest names;
  v1::ListCollectionsResponse all;
  ASSERT_TRUE(Unary(*server_->index, &Index::ListCollections, names, &all).ok());
  ASSERT_EQ(all.collections_size(), 1);
  EXPECT_EQ(all.collections(0), "notes");
  v1::DeleteCollectionRequest drop;
  drop.set_collection("notes");
  v1::DeleteCollectionResponse dropped;
  ASSERT_TRUE(Unary(*server_->index, &Index::DeleteCollection, drop, &dropped).ok());
  status = Unary(*server_->index, &Index::GetCollection, look, &collection);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "COLLECTION_NOT_FOUND");
}

TEST_F(RpcTest, SearchIsNarrowedSpreadAndGivenContext) {
  using Index = v1::IndexService::Stub;
  v1::CreateCollectionRequest create;
  create.set_collection("records");
  create.set_index(v1::INDEX_KIND_HNSW);
  v1::CreateCollectionResponse created;
  ASSERT_TRUE(Unary(*server_->index, &Index::CreateCollection, create, &created).ok());
  EXPECT_EQ(created.collection().index().kind(), v1::INDEX_KIND_HNSW);
  EXPECT_EQ(created.collection().index().used(), v1::INDEX_KIND_EXACT);  // it is small
  std::string manual = "# Pump manual\n";
  for (int part = 1; part <= 12; ++part) {
    manual += absl::StrCat("\n## Part ", part, "\n\n");
    for (int line = 0; line < 20; ++line) manual += absl::StrCat("Pump part ", part, " is oiled on day ", line, ".\n");
  }
  v1::PutDocumentsResponse put;
  ASSERT_TRUE(Put(*server_->index, "records",
                  {{"a.json", R"({"year": 1999, "due": "2024-05-31", "draft": "true", "text": "pump oil"})"},
                   {"b.json", R"({"year": 2021, "due": "2024-06-01", "lang": "de", "text": "pump oil"})"},
                   {"c.json", R"({"year": 2022, "lang": "en", "text": "Pump part 6 is oiled on day 40."})"},
                   {"manual.md", manual}},
                  &put, "/text")
                  .ok());
  for (const v1::PutResult& result : put.results()) EXPECT_EQ(result.state(), v1::PUT_STATE_ADDED) << result.path();

  // What the shell's text and the wire's messages say is the same, there and back.
  const auto where = [](const std::string& text) {
    const absl::StatusOr<retrieval::Condition> parsed = retrieval::ParseCondition(text);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    const v1::Condition message = ToProto(*parsed);
    const absl::StatusOr<retrieval::Condition> back = FromProto(message);
    EXPECT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(retrieval::ConditionText(*back), retrieval::ConditionText(*parsed));
    return message;
  };
  const auto list = [&](const std::string& text) {
    v1::ListDocumentsRequest request;
    request.set_collection("records");
    *request.mutable_filter()->mutable_where() = where(text);
    v1::ListDocumentsResponse page;
    const grpc::Status status = Unary(*server_->index, &Index::ListDocuments, request, &page);
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::string paths;
    for (const v1::Document& document : page.documents()) paths += document.path().substr(0, 1);
    return paths;
  };
  EXPECT_EQ(list("year >= 2020"), "bc");
  EXPECT_EQ(list("year == 1999 or lang in (\"en\", \"fr\")"), "ac");
  EXPECT_EQ(list("year < 2022 and not draft == true"), "b");
  EXPECT_EQ(list("due <= 2024-05-31"), "a");
  EXPECT_EQ(list("due > 2024-05-31T12:00:00Z"), "b");
  EXPECT_EQ(list("@path prefix \"man\" or lang != \"de\" and year exists"), "acm");
  EXPECT_EQ(list("not lang exists"), "am");
  EXPECT_EQ(list("lang not in ()"), "abcm");

  v1::SearchRequest search;
  search.set_collection("records");
  search.set_query("pump oil");
  search.set_count(100);
  *search.mutable_filter()->mutable_where() = where("year > 1000");
  v1::SearchResponse found;
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  EXPECT_EQ(found.results_size(), 3);

  search.clear_filter();
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  EXPECT_GT(found.results_size(), 6);
  search.set_max_per_document(1);
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  EXPECT_EQ(found.results_size(), 4);

  search.set_query("pump part 6 is oiled");
  search.mutable_filter()->set_path_prefix("manual");
  search.set_neighbours(2);
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  ASSERT_EQ(found.results_size(), 1);
  const v1::ScoredChunk& chunk = found.results(0);
  ASSERT_EQ(chunk.before_size(), 2) << chunk.text();
  ASSERT_EQ(chunk.after_size(), 2) << chunk.text();
  EXPECT_LT(chunk.before(0).begin_byte(), chunk.before(1).begin_byte());
  EXPECT_LT(chunk.before(1).begin_byte(), chunk.begin_byte());
  EXPECT_LT(chunk.end_byte(), chunk.after(0).end_byte());
  v1::GetDocumentRequest get;
  get.set_collection("records");
  get.set_id(chunk.document_id());
  v1::GetDocumentResponse whole;
  ASSERT_TRUE(Unary(*server_->index, &Index::GetDocument, get, &whole).ok());
  EXPECT_EQ(chunk.after(0).text(),
            whole.text().substr(chunk.after(0).begin_byte(), chunk.after(0).end_byte() - chunk.after(0).begin_byte()));

  // Both ways to join two rankings; all weight on words is the search by words.
  search = {};
  search.set_collection("records");
  search.set_query("pump part 6 is oiled");
  search.set_fusion(v1::FUSION_RECIPROCAL_RANK);
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  ASSERT_EQ(found.results_size(), 8);
  EXPECT_LT(found.results(0).score(), 2 / 61.0 + 1e-9);
  search.clear_fusion();
  search.set_word_weight(1);
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, search, &found).ok());
  v1::SearchRequest words = search;
  words.clear_word_weight();
  words.set_mode(v1::SEARCH_MODE_LEXICAL);
  v1::SearchResponse by_words;
  ASSERT_TRUE(Unary(*server_->index, &Index::Search, words, &by_words).ok());
  ASSERT_EQ(found.results_size(), by_words.results_size());
  EXPECT_EQ(found.results(0).begin_byte(), by_words.results(0).begin_byte());

  v1::AskRequest ask;
  ask.set_collection("records");
  ask.set_question("On which day is pump part 6 oiled?");
  ask.set_extractive(true);
  *ask.mutable_filter()->mutable_where() = where("lang == \"en\"");
  v1::AskResponse answer;
  ASSERT_TRUE(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &answer).ok());
  EXPECT_EQ(answer.sources_size(), 1) << answer.text();
  for (const auto& sources : {answer.sources(), answer.dropped()})
    for (const v1::ScoredChunk& source : sources) EXPECT_EQ(source.path(), "c.json");
}

TEST_F(RpcTest, ModelsAreListedAndFound) {
  v1::ListModelsRequest list;
  list.set_page_size(1);
  std::vector<std::string> names;
  do {
    v1::ListModelsResponse page;
    ASSERT_TRUE(Unary(*server_->model, &v1::ModelService::Stub::ListModels, list, &page).ok());
    for (const v1::Model& model : page.models()) names.push_back(model.name());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_EQ(names.size(), Models().List().size());
  for (const std::string& name : names) {
    v1::GetModelRequest get;
    get.set_name(name);
    v1::GetModelResponse model;
    ASSERT_TRUE(Unary(*server_->model, &v1::ModelService::Stub::GetModel, get, &model).ok());
    EXPECT_EQ(model.model().name(), name);
  }
}

v1::GenerateRequest With(const std::string& adapter, v1::GenerateRequest request) {
  request.mutable_options()->set_adapter(adapter);
  return request;
}

TEST_F(RpcTest, AdaptersAreLoadedChosenAndUnloadedWhileRequestsRun) {
  WriteSmallAdapter("north", 0);
  WriteSmallAdapter("south", 2);
  using Stub = v1::ModelService::Stub;
  const auto load = [&](const std::string& source, const std::string& name, v1::LoadAdapterResponse* reply) {
    v1::LoadAdapterRequest request;
    request.set_source(source);
    request.set_name(name);
    return Unary(*server_->model, &Stub::LoadAdapter, request, reply);
  };
  v1::LoadAdapterResponse north, south;
  grpc::Status status = load("north", "", &north);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(load("south", "sud-2", &south).ok());
  EXPECT_EQ(north.adapter().name(), "north");
  EXPECT_EQ(south.adapter().name(), "sud-2");
  EXPECT_EQ(south.adapter().source(), "south");
  EXPECT_EQ(north.adapter().bytes(), 4608);
  EXPECT_EQ(north.adapter().rank(), 1);
  EXPECT_EQ(north.adapter().layers(), 1);
  EXPECT_NE(north.adapter().digest(), south.adapter().digest());
  EXPECT_FALSE(north.adapter().is_default());
  v1::ListAdaptersResponse list;
  ASSERT_TRUE(Unary(*server_->model, &Stub::ListAdapters, v1::ListAdaptersRequest(), &list).ok());
  ASSERT_EQ(list.adapters_size(), 2);
  EXPECT_EQ(list.adapters(1).DebugString(), south.adapter().DebugString());
  EXPECT_EQ(std::vector<std::string>(list.sources().begin(), list.sources().end()),
            (std::vector<std::string>{"north", "south"}));

  // Each adapter by itself, then all at once in one batch.
  const v1::GenerateRequest prompt = Prompt("The capital of France is", 12);
  const std::vector<v1::GenerateRequest> requests = {prompt, With("north", prompt), With("sud-2", prompt),
                                                     With("", prompt)};
  std::vector<v1::GenerateResponse> alone;
  for (const v1::GenerateRequest& request : requests) alone.push_back(Generate(request));
  EXPECT_FALSE(alone[0].has_adapter());
  EXPECT_EQ(alone[1].adapter().name(), "north");
  EXPECT_EQ(alone[1].adapter().digest(), north.adapter().digest());
  EXPECT_EQ(alone[2].adapter().digest(), south.adapter().digest());
  EXPECT_FALSE(alone[3].has_adapter());
  EXPECT_NE(alone[1].text(), alone[0].text());
  EXPECT_NE(alone[2].text(), alone[0].text());
  EXPECT_NE(alone[1].text(), alone[2].text());
  EXPECT_EQ(alone[3].text(), alone[0].text());
  std::vector<std::thread> clients;
  std::vector<v1::GenerateResponse> together(8);
  for (size_t i = 0; i < together.size(); ++i)
    clients.emplace_back([&, i] { together[i] = Generate(requests[i % requests.size()]); });
  for (std::thread& client : clients) client.join();
  for (size_t i = 0; i < together.size(); ++i) {
    EXPECT_EQ(together[i].text(), alone[i % requests.size()].text()) << i;
    EXPECT_EQ(together[i].adapter().name(), alone[i % requests.size()].adapter().name()) << i;
  }

  v1::ScoreRequest score;
  score.set_prompt("The capital of France is");
  score.set_completion(" Paris");
  v1::ScoreResponse plain, adapted;
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Score, score, &plain).ok());
  score.set_adapter("north");
  ASSERT_TRUE(Unary(*server_->generation, &v1::GenerationService::Stub::Score, score, &adapted).ok());
  EXPECT_FALSE(plain.has_adapter());
  EXPECT_EQ(adapted.adapter().name(), "north");
  EXPECT_GT(std::abs(plain.logprob() - adapted.logprob()), 0.01);

  // What runs with an adapter goes on when it is unloaded.
  v1::GenerateRequest longer = With("north", Prompt("Once upon a time", 150));
  longer.mutable_options()->set_ignore_eos(true);
  longer.mutable_options()->set_allow_repetition(true);
  grpc::ClientContext context;
  auto reader = server_->generation->StreamGenerate(&context, ToStream<v1::StreamGenerateRequest>(longer));
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  ASSERT_FALSE(event.has_done());
  v1::UnloadAdapterRequest unload;
  v1::UnloadAdapterResponse unloaded;
  unload.set_name("north");
  status = Unary(*server_->model, &Stub::UnloadAdapter, unload, &unloaded);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(unloaded.adapter().DebugString(), north.adapter().DebugString());
  v1::GenerateResponse refused;
  status = Unary(*server_->generation, &v1::GenerationService::Stub::Generate, requests[1], &refused);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "adapter \"north\" is not loaded; loaded are sud-2");
  EXPECT_EQ(Reason(status), "ADAPTER_NOT_FOUND");
  EXPECT_EQ(Field(status), "options.adapter");
  status = Unary(*server_->generation, &v1::GenerationService::Stub::Score, score, &adapted);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Field(status), "adapter");
  while (reader->Read(&event)) {
  }
  status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(event.done().finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(event.done().usage().output_tokens(), 150);
  EXPECT_EQ(event.done().adapter().name(), "north");
  status = Unary(*server_->model, &Stub::UnloadAdapter, unload, &unloaded);
  EXPECT_EQ(Reason(status), "ADAPTER_NOT_FOUND");

  unload.set_name("sud-2");
  ASSERT_TRUE(Unary(*server_->model, &Stub::UnloadAdapter, unload, &unloaded).ok());
  status = Unary(*server_->generation, &v1::GenerationService::Stub::Generate, requests[2], &refused);
  EXPECT_EQ(status.error_message(), "adapter \"sud-2\" is not loaded; none is");
}

TEST_F(RpcTest, EightClientsAtOnceGetWhatOneGets) {
  const std::vector<std::string> prompts = {"The capital of France is", "Water boils at", "My favourite colour is",
                                            "def add(a, b):"};
  std::vector<std::string> alone;
  for (const std::string& prompt : prompts) alone.push_back(Generate(Prompt(prompt, 12)).text());
  std::vector<std::thread> clients;
  std::atomic<int> different{0}, failed{0};
  for (int client = 0; client < 8; ++client) {
    clients.emplace_back([&, client] {
      auto channel = grpc::CreateChannel(server_->server->address(), grpc::InsecureChannelCredentials());
      auto stub = v1::GenerationService::NewStub(channel);
      for (int round = 0; round < 2; ++round) {
        const size_t which = (client + round) % prompts.size();
        v1::GenerateResponse reply;
        grpc::ClientContext context;
        if (!stub->Generate(&context, Prompt(prompts[which], 12), &reply).ok()) ++failed;
        if (reply.text() != alone[which]) ++different;
        v1::EmbedRequest embed;
        embed.add_texts(prompts[which]);
        v1::EmbedResponse vectors;
        grpc::ClientContext embed_context;
        if (!stub->Embed(&embed_context, embed, &vectors).ok()) ++failed;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(different, 0);
}

}  // namespace
}  // namespace blazon::service::rpc
