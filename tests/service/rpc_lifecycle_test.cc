// Calls that end before their time, and servers that start and stop: cancel, deadline, slow readers, full servers,
// health.
//
// The language model runs one sequence at a time here: a generation that is not stopped holds up the next one, which is
// how the tests see that it was.
#include <grpcpp/impl/codegen/client_unary_call.h>

#include <chrono>
#include <future>
#include <thread>

#include "tests/service/rpc_fixture.h"

namespace blazon::service::rpc {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kForever = 6000;  // tokens: minutes

v1::StreamGenerateRequest Endless() {
  v1::GenerateRequest request = Prompt("Count: one, two, three,", kForever);
  request.mutable_options()->set_ignore_eos(true);
  return ToStream<v1::StreamGenerateRequest>(request);
}

double Seconds(steady_clock::time_point since) {
  return std::chrono::duration<double>(steady_clock::now() - since).count();
}

// A short request works now: nothing else holds the model. Endless ones would hold it for minutes.
void ExpectFree(TestServer& server, const char* after) {
  const auto start = steady_clock::now();
  v1::GenerateResponse reply;
  grpc::Status status;
  do {  // a call that was cancelled leaves within one step
    status = Unary(*server.generation, &v1::GenerationService::Stub::Generate, Prompt("Two and two is", 2), &reply);
  } while (status.error_code() == StatusCode::RESOURCE_EXHAUSTED && Seconds(start) < 20);
  EXPECT_TRUE(status.ok()) << after << ": " << status.error_message();
  EXPECT_LT(Seconds(start), 20) << after;
}

// grpc.health.v1.Health/Check, by its bytes (its .proto is not installed): 1 SERVING, 2 NOT_SERVING, -1: an error.
int Health(TestServer& server, const std::string& service = "") {
  const std::string bytes = service.empty() ? "" : std::string("\x0a") + static_cast<char>(service.size()) + service;
  grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer reply;
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check", grpc::internal::RpcMethod::NORMAL_RPC,
                                         server.channel);
  const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      server.channel.get(), method, &context, request, &reply);
  std::vector<grpc::Slice> slices;
  if (!status.ok() || !reply.Dump(&slices).ok() || slices.empty() || slices[0].size() < 2) return -1;
  return slices[0].begin()[1];
}

bool HealthBecomes(TestServer& server, int wanted, const std::string& service, seconds limit) {
  const auto start = steady_clock::now();
  while (Health(server, service) != wanted) {
    if (steady_clock::now() - start > limit) return false;
    std::this_thread::sleep_for(milliseconds(50));
  }
  return true;
}

ModelStore& OneAtATime() { return Models(/*max_sequences=*/1); }

TEST(RpcLifecycleTest, HealthFollowsTheModels) {
  TestServer server(OneAtATime());
  EXPECT_TRUE(HealthBecomes(server, 1, "", seconds(120)));
  EXPECT_EQ(Health(server, "blazon.v1.GenerationService"), 1);
  EXPECT_EQ(Health(server, "blazon.v1.IndexService"), 1);
  EXPECT_EQ(Health(server, "no.such.Service"), -1);
  ExpectFree(server, "loading");
}

TEST(RpcLifecycleTest, CancelStopsTheGeneration) {
  TestServer server(OneAtATime());
  for (int round = 0; round < 3; ++round) {
    grpc::ClientContext context;
    auto reader = server.generation->StreamGenerate(&context, Endless());
    v1::StreamGenerateResponse event;
    ASSERT_TRUE(reader->Read(&event));
    context.TryCancel();
    while (reader->Read(&event)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
    ExpectFree(server, "cancel");
  }
  // While it waits for its turn, too.
  grpc::ClientContext first_context;
  auto first = server.generation->StreamGenerate(&first_context, Endless());
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(first->Read(&event));
  grpc::ClientContext second_context;
  auto second = server.generation->StreamGenerate(&second_context, Endless());
  std::this_thread::sleep_for(milliseconds(100));
  second_context.TryCancel();
  EXPECT_EQ(second->Finish().error_code(), StatusCode::CANCELLED);
  first_context.TryCancel();
  ExpectFree(server, "cancel in the queue");
}

TEST(RpcLifecycleTest, DeadlineStopsTheGeneration) {
  TestServer server(OneAtATime());
  const auto start = steady_clock::now();
  ExpectFree(server, "start");
  // For the first tokens, however busy the machine is.
  const milliseconds enough(1000 + static_cast<int>(5000 * Seconds(start)));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + enough);
  auto reader = server.generation->StreamGenerate(&context, Endless());
  v1::StreamGenerateResponse event;
  std::string text;
  while (reader->Read(&event)) text += event.text_delta();
  const grpc::Status status = reader->Finish();
  EXPECT_FALSE(text.empty());
  if (status.ok()) {
    EXPECT_EQ(event.done().finish_reason(), v1::FINISH_REASON_DEADLINE);
    EXPECT_EQ(event.done().text(), text);
  } else {
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED) << status.error_message();
  }
  ExpectFree(server, "deadline");
}

TEST(RpcLifecycleTest, ASlowReaderIsCutOff) {
  ServerOptions options;
  options.stream_buffer_bytes = 300;
  grpc::ChannelArguments arguments;  // so that the connection itself holds as little as it can
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  TestServer server(OneAtATime(), options, arguments);
  grpc::ClientContext context;
  auto reader = server.generation->StreamGenerate(&context, Endless());
  reader->WaitForInitialMetadata();
  std::this_thread::sleep_for(seconds(1));  // reads nothing
  ExpectFree(server, "a reader who does not read");
  v1::StreamGenerateResponse event;
  int deltas = 0;
  while (reader->Read(&event)) ++deltas;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED)
      << status.error_message() << " after " << deltas << " deltas";
  EXPECT_NE(status.error_message().find("too slowly"), std::string::npos);
  EXPECT_LT(deltas, kForever);
}

TEST(RpcLifecycleTest, AFullServerSaysWhenToComeAgain) {
  ServerOptions options;
  options.max_requests = 1;
  TestServer server(OneAtATime(), options);
  grpc::ClientContext context;
  auto reader = server.generation->StreamGenerate(&context, Endless());
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));  // it is under way
  v1::CaptionRequest picture;
  picture.mutable_image()->set_data("never looked at");
  v1::CaptionResponse caption;
  const grpc::Status status = Unary(*server.caption, &v1::CaptionService::Stub::Caption, picture, &caption);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_EQ(Reason(status), "TOO_MANY_REQUESTS");
  EXPECT_GT(FindDetail<google::rpc::RetryInfo>(status).retry_delay().seconds(), 0);
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
  ExpectFree(server, "fullness");
}

TEST(RpcLifecycleTest, ShutdownLetsCallsFinishAndThenEndsThem) {
  auto server = std::make_unique<TestServer>(OneAtATime());
  ASSERT_TRUE(HealthBecomes(*server, 1, "", seconds(120)));
  auto short_call = std::async(std::launch::async, [&] {
    v1::GenerateResponse reply;
    return Unary(*server->generation, &v1::GenerationService::Stub::Generate, Prompt("Two and two is", 30), &reply);
  });
  std::this_thread::sleep_for(milliseconds(200));
  auto shutdown = std::async(std::launch::async, [&] { server->server->Shutdown(); });
  EXPECT_TRUE(short_call.get().ok()) << "a call that was under way";
  shutdown.get();
  server.reset();

  ServerOptions options;
  options.shutdown_grace = milliseconds(300);
  server = std::make_unique<TestServer>(OneAtATime(), options);
  grpc::ClientContext context;
  auto reader = server->generation->StreamGenerate(&context, Endless());
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  const auto start = steady_clock::now();
  shutdown = std::async(std::launch::async, [&] { server->server->Shutdown(); });
  std::this_thread::sleep_for(milliseconds(100));
  v1::GenerateResponse reply;
  const grpc::Status refused =
      Unary(*server->generation, &v1::GenerationService::Stub::Generate, Prompt("x", 2), &reply);
  EXPECT_EQ(refused.error_code(), StatusCode::UNAVAILABLE) << refused.error_message();
  while (reader->Read(&event)) {
  }
  const grpc::Status ended = reader->Finish();
  EXPECT_EQ(ended.error_code(), StatusCode::UNAVAILABLE) << ended.error_message();
  EXPECT_EQ(Reason(ended), "SHUTTING_DOWN");
  shutdown.get();
  EXPECT_LT(Seconds(start), 10);
}

TEST(RpcLifecycleTest, CollectionsOutliveTheServer) {
  TemporaryFolder data;
  for (int round = 0; round < 2; ++round) {
    ServerOptions options;
    options.address = "127.0.0.1:0";
    options.data_folder = data.path();
    auto server = Server::Start(options, OneAtATime());
    ASSERT_TRUE(server.ok()) << server.status();
    auto stub =
        v1::IndexService::NewStub(grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials()));
    if (round == 0) {
      v1::CreateCollectionRequest create;
      create.set_collection("kept");
      v1::CreateCollectionResponse created;
      grpc::Status status = Unary(*stub, &v1::IndexService::Stub::CreateCollection, create, &created);
      ASSERT_TRUE(status.ok()) << status.error_message();
      v1::PutDocumentsResponse put;
      status = Put(*stub, "kept", {{"a.txt", "The lighthouse keeper's name is Orla."}}, &put);
      ASSERT_TRUE(status.ok()) << status.error_message();
    } else {
      v1::SearchRequest search;
      search.set_collection("kept");
      search.set_query("Who keeps the lighthouse?");
      v1::SearchResponse found;
      const grpc::Status status = Unary(*stub, &v1::IndexService::Stub::Search, search, &found);
      ASSERT_TRUE(status.ok()) << status.error_message();
      ASSERT_EQ(found.results_size(), 1);
      EXPECT_EQ(found.results(0).path(), "a.txt");
    }
  }
}

TEST(RpcLifecycleTest, WhatServersAreRefusedFor) {
  TestServer server(OneAtATime());
  TemporaryFolder data;
  ServerOptions options;
  options.data_folder = data.path();
  const auto start = [&](const std::string& address) {
    options.address = address;
    return Server::Start(options, OneAtATime()).status();
  };
  const absl::Status taken = start(server.server->address());
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable) << taken;
  EXPECT_NE(std::string(taken.message()).find("in use"), std::string::npos) << taken;
  EXPECT_NE(std::string(taken.message()).find(server.server->address()), std::string::npos) << taken;
  for (const char* bad : {"", "nowhere", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x", ":"}) {
    EXPECT_EQ(start(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  options.address = "127.0.0.1:0";
  options.max_requests = 0;
  EXPECT_EQ(Server::Start(options, OneAtATime()).status().code(), absl::StatusCode::kInvalidArgument);
  options.max_requests = 1;
  options.data_folder = SourceFolder() / "LICENSE";  // a file
  EXPECT_EQ(Server::Start(options, OneAtATime()).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST(RpcLifecycleTest, MissingModelsAreSaid) {
  TemporaryFolder empty;
  ModelStoreOptions store_options;
  store_options.models_folder = empty.path();
  store_options.assets_folder = empty.path();
  auto store = ModelStore::Open(store_options);
  if (!store.ok()) {
    EXPECT_EQ(store.status().code(), absl::StatusCode::kNotFound) << store.status();
    return;
  }
  TestServer server(**store);
  EXPECT_EQ(Health(server), 2);
  v1::GenerateResponse generated;
  grpc::Status status = Unary(*server.generation, &v1::GenerationService::Stub::Generate, Prompt("x"), &generated);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND) << status.error_message();
  EXPECT_FALSE(Reason(status).empty());
  EXPECT_NE(status.error_message().find("make setup"), std::string::npos) << status.error_message();
  v1::CreateCollectionRequest create;
  create.set_collection("x");
  v1::CreateCollectionResponse created;
  status = Unary(*server.index, &v1::IndexService::Stub::CreateCollection, create, &created);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND) << status.error_message();
  v1::ListModelsRequest list;
  v1::ListModelsResponse models;
  ASSERT_TRUE(Unary(*server.model, &v1::ModelService::Stub::ListModels, list, &models).ok());
  for (const v1::Model& model : models.models()) EXPECT_NE(model.state(), v1::MODEL_STATE_LOADED);
}

}  // namespace
}  // namespace blazon::service::rpc
