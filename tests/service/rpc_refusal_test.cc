// Bad input of every kind: each a clear status that names what is wrong, and the next request works.
#include <limits>
#include <vector>

#include "retrieval/filter.h"
#include "service/rpc/checks.h"
#include "service/rpc/collection_store.h"
#include "service/rpc/status.h"
#include "tests/service/default_models.h"
#include "tests/service/rpc_fixture.h"

namespace blazon::service::rpc {
namespace {

using grpc::StatusCode;

class RpcRefusalTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new TestServer(Models()); }
  static void TearDownTestSuite() { delete server_; }
  static inline TestServer* server_ = nullptr;

  // Every test ends with a request that works.
  void TearDown() override {
    v1::GenerateResponse reply;
    const grpc::Status status =
        Unary(*server_->generation, &v1::GenerationService::Stub::Generate, Prompt("Two and two is", 2), &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(reply.usage().output_tokens(), 2);
  }

  grpc::Status Generate(const v1::GenerateRequest& request) {
    v1::GenerateResponse reply;
    return Unary(*server_->generation, &v1::GenerationService::Stub::Generate, request, &reply);
  }
  grpc::Status Caption(const v1::CaptionRequest& request) {
    v1::CaptionResponse reply;
    return Unary(*server_->caption, &v1::CaptionService::Stub::Caption, request, &reply);
  }
};

void ExpectRefused(const grpc::Status& status, const std::string& field, const std::string& what) {
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << what << ": " << status.error_message();
  EXPECT_FALSE(Reason(status).empty()) << what;
  EXPECT_EQ(Field(status), field) << what << ": " << status.error_message();
  EXPECT_FALSE(status.error_message().empty()) << what;
}

// Walks over GenerationOptions by reflection: a new field without a row here fails.
TEST_F(RpcRefusalTest, EveryOptionOutOfRange) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const std::map<std::string, std::vector<double>> bad = {
      {"max_new_tokens", {0, -1, 1e9}},
      {"temperature", {-0.1, 0.001, 10.5, kNan, kInf, -kInf}},
      {"top_k", {-1, 1e9}},
      {"top_p", {0, -1, 1.01, kNan, kInf}},
      {"min_p", {-0.1, 1, kNan, kInf}},
      {"typical_p", {0, -1, 1.01, kNan, kInf}},
      {"repetition_penalty", {0, 0.05, 11, kNan, kInf}},
      {"presence_penalty", {-2.1, 2.1, kNan, kInf}},
      {"frequency_penalty", {-2.1, 2.1, kNan, kInf}},
      {"no_repeat_ngram_size", {-1, 65}},
      {"stop_token_ids", {-1, 1e9}},
      {"num_sequences", {0, -1, 2, 65}},  // 2: at temperature 0
      {"num_beams", {0, -1, 65}},
      {"length_penalty", {-10.5, 2, 11, kNan, kInf}},
      {"diversity_penalty", {-1, 0.5, 101, kNan}},
      {"early_stopping", {3, 9}},
      {"num_beam_groups", {0, 2, 65}},
      {"top_logprobs", {-1, 21}},
      {"prompt_logprobs", {-1, 21}},
      {"explain", {-1, 21}},
      {"reasoning", {-1, 4, 9}},
  };
  const std::set<std::string> any_value = {"seed", "ignore_eos", "allow_repetition", "logprobs", "echo", "adapter"};
  const auto& type = *v1::GenerationOptions::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const auto& field = *type.field(i);
    if (any_value.contains(field.name()) || field.name() == "stop" || field.name() == "logit_bias") continue;
    ASSERT_TRUE(bad.contains(field.name())) << field.name() << " has no bad values in this test";
    for (double value : bad.at(field.name())) {
      v1::GenerateRequest request = Prompt("x");
      v1::GenerationOptions& options = *request.mutable_options();
      const auto& reflection = *options.GetReflection();
      if (field.is_repeated()) {
        reflection.AddInt32(&options, &field, static_cast<int32_t>(value));
      } else if (field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE) {
        reflection.SetDouble(&options, &field, value);
      } else if (field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_ENUM) {
        reflection.SetEnumValue(&options, &field, static_cast<int>(value));
      } else {
        reflection.SetInt32(&options, &field, static_cast<int32_t>(value));
      }
      const std::string what = field.name() + " = " + std::to_string(value);
      ExpectRefused(Generate(request), "options." + field.name(), what);
      v1::AskRequest ask;
      ask.set_question("x");
      ask.set_collection("none");
      *ask.mutable_options() = options;
      v1::AskResponse reply;
      ExpectRefused(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &reply), "options." + field.name(),
                    "ask: " + what);
      v1::CaptionRequest caption = Picture();
      *caption.mutable_options() = options;
      ExpectRefused(Caption(caption), "options." + field.name(), "caption: " + what);
    }
  }
  for (const std::vector<std::string>& stop :
       {std::vector<std::string>{""}, {std::string(257, 'x')}, std::vector<std::string>(17, "x")}) {
    v1::GenerateRequest request = Prompt("x");
    request.mutable_options()->mutable_stop()->Assign(stop.begin(), stop.end());
    ExpectRefused(Generate(request), "options.stop", "stop");
  }
}

TEST_F(RpcRefusalTest, OptionsThatMakeNoSenseTogether) {
  const auto refuse = [&](const std::string& field, const auto& change) {
    v1::GenerateRequest request = Prompt("x");
    change(*request.mutable_options());
    ExpectRefused(Generate(request), "options." + field, request.options().ShortDebugString());
  };
  using Options = v1::GenerationOptions;
  refuse("logit_bias", [](Options& o) { (*o.mutable_logit_bias())[60000] = 1; });
  refuse("logit_bias", [](Options& o) { (*o.mutable_logit_bias())[-1] = 1; });
  refuse("logit_bias", [](Options& o) { (*o.mutable_logit_bias())[5] = 100.5; });
  refuse("logit_bias", [](Options& o) { (*o.mutable_logit_bias())[5] = std::numeric_limits<double>::quiet_NaN(); });
  refuse("num_beams", [](Options& o) { o.set_num_beams(4), o.set_temperature(1); });
  refuse("num_sequences", [](Options& o) { o.set_num_beams(2), o.set_num_sequences(3); });
  refuse("num_sequences", [](Options& o) { o.set_num_sequences(17), o.set_temperature(1); });  // 16 run at once
  refuse("num_beams", [](Options& o) { o.set_num_beams(17); });
  refuse("num_beam_groups", [](Options& o) { o.set_num_beams(4), o.set_num_beam_groups(3); });
  refuse("num_beam_groups", [](Options& o) { o.set_num_beams(4), o.set_num_beam_groups(2); });
  refuse("diversity_penalty", [](Options& o) { o.set_num_beams(4), o.set_diversity_penalty(1); });
  refuse("early_stopping", [](Options& o) { o.set_early_stopping(v1::EARLY_STOPPING_NEVER); });
  refuse("logprobs", [](Options& o) { o.set_logprobs(false), o.set_top_logprobs(2); });

  for (const auto& report : {+[](Options& o) { o.set_logprobs(true); }, +[](Options& o) { o.set_top_logprobs(1); },
                             +[](Options& o) { o.set_explain(1); }}) {
    refuse("reasoning", [&](Options& o) { o.set_reasoning(v1::REASONING_MODE_HIDDEN), report(o); });
  }

  // What has no place in a caption or an answer.
  v1::CaptionRequest caption = Picture();
  caption.mutable_options()->set_echo(true);
  ExpectRefused(Caption(caption), "options.echo", "a caption's prompt");
  v1::AskRequest ask;
  ask.set_question("x");
  ask.set_collection("none");
  ask.mutable_options()->set_temperature(1);
  ask.mutable_options()->set_num_sequences(2);
  v1::AskResponse reply;
  ExpectRefused(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &reply), "options.num_sequences",
                "two answers");
}

TEST_F(RpcRefusalTest, TokenIds) {
  v1::GenerateRequest request;
  request.mutable_prompt()->add_token_ids(5);
  request.mutable_prompt()->add_token_ids(49152);
  const grpc::Status status = Generate(request);
  ExpectRefused(status, "prompt", "an id past the vocabulary");
  EXPECT_EQ(status.error_message(),
            "prompt token 1 has id 49152, which is out of range; the vocabulary has ids 0 to 49151");
  request.mutable_prompt()->set_token_ids(1, -1);
  ExpectRefused(Generate(request), "prompt", "a negative id");
  request = Prompt("x");
  request.mutable_prompt()->add_token_ids(5);
  ExpectRefused(Generate(request), "prompt.token_ids", "text and ids");
  request.mutable_prompt()->clear_parts();
  for (int i = 0; i < 8192; ++i) request.mutable_prompt()->add_token_ids(5);
  const grpc::Status too_long = Generate(request);
  EXPECT_NE(too_long.error_message().find("8192"), std::string::npos) << too_long.error_message();

  v1::ScoreRequest score;
  score.set_prompt("x");
  score.add_prompt_token_ids(5);
  score.set_completion("y");
  v1::ScoreResponse reply;
  const auto scored = [&] { return Unary(*server_->generation, &v1::GenerationService::Stub::Score, score, &reply); };
  ExpectRefused(scored(), "prompt_token_ids", "text and ids");
  score.clear_prompt_token_ids();
  score.add_prompt_parts()->set_text("x");
  ExpectRefused(scored(), "prompt_parts", "a text twice");
  score.clear_prompt();
  score.mutable_prompt_parts(0)->mutable_image()->set_data("no picture");
  EXPECT_NE(scored().error_message().find("takes no pictures"), std::string::npos) << scored().error_message();
  score.clear_prompt_parts();
  score.add_prompt_token_ids(5);
  score.clear_prompt();
  score.add_completion_token_ids(5);
  ExpectRefused(scored(), "completion_token_ids", "text and ids");
  score.clear_completion();
  score.set_completion_token_ids(0, 70000);
  ExpectRefused(scored(), "completion", "an id past the vocabulary");
}

TEST_F(RpcRefusalTest, PromptsAndMessages) {
  ExpectRefused(Generate({}), "prompt", "nothing");
  ExpectRefused(Generate(Prompt("")), "prompt.parts", "empty");
  ExpectRefused(Generate(Prompt(std::string(5 << 20, 'x'))), "prompt.parts", "5 MB");
  v1::GenerateRequest no_part;
  no_part.mutable_prompt()->add_parts();
  ExpectRefused(Generate(no_part), "prompt.parts[0]", "a part without content");
  std::string long_text;
  for (int i = 0; i < 9000; ++i) long_text += "word ";
  const grpc::Status too_long = Generate(Prompt(long_text));
  EXPECT_EQ(too_long.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(too_long.error_message().find("8192"), std::string::npos) << too_long.error_message();

  const auto chat = [](std::vector<v1::Role> roles) {
    v1::GenerateRequest request;
    request.mutable_chat();
    for (v1::Role role : roles) {
      v1::Message& message = *request.mutable_chat()->add_messages();
      message.set_role(role);
      message.add_parts()->set_text("x");
    }
    return request;
  };
  ExpectRefused(Generate(chat({})), "chat.messages", "no message");
  ExpectRefused(Generate(chat({v1::ROLE_UNSPECIFIED})), "chat.messages[0].role", "nobody");
  ExpectRefused(Generate(chat({static_cast<v1::Role>(77)})), "chat.messages[0].role", "unknown role");
  ExpectRefused(Generate(chat({v1::ROLE_USER, v1::ROLE_SYSTEM, v1::ROLE_USER})), "chat.messages[1].role",
                "late system");
  ExpectRefused(Generate(chat({v1::ROLE_USER, v1::ROLE_ASSISTANT})), "chat.messages", "the assistant last");
  ExpectRefused(Generate(chat(std::vector<v1::Role>(1025, v1::ROLE_USER))), "chat.messages", "too many");
  v1::GenerateRequest silent = chat({v1::ROLE_USER, v1::ROLE_ASSISTANT, v1::ROLE_USER});
  silent.mutable_options()->set_max_new_tokens(1);
  silent.mutable_chat()->mutable_messages(1)->mutable_parts(0)->set_text("");
  EXPECT_TRUE(Generate(silent).ok()) << "the model may have had nothing to say";
  silent.mutable_chat()->mutable_messages(2)->mutable_parts(0)->set_text("");
  ExpectRefused(Generate(silent), "chat.messages[2].parts", "an empty question");
}

TEST_F(RpcRefusalTest, WhatTheServerDoesNotKnow) {
  v1::GenerateRequest request = Prompt("x");
  v1::GenerationOptions& options = *request.mutable_options();
  options.GetReflection()->MutableUnknownFields(&options)->AddVarint(24, 1);  // grammar, reserved
  const grpc::Status unknown = Generate(request);
  ExpectRefused(unknown, "options.24", "a field of a newer client");
  EXPECT_EQ(Reason(unknown), "UNKNOWN_FIELD");

  request = Prompt("x");
  request.set_model("gpt-5");
  grpc::Status status = Generate(request);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "MODEL_NOT_FOUND");
  request.set_model(Models().Info(ModelRole::kEmbedder).name);
  status = Generate(request);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND) << "an embedder does not generate";

  v1::SearchRequest search;
  search.set_collection("nowhere");
  search.set_query("x");
  v1::SearchResponse found;
  status = Unary(*server_->index, &v1::IndexService::Stub::Search, search, &found);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "COLLECTION_NOT_FOUND");
  search.set_mode(static_cast<v1::SearchMode>(9));
  ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::Search, search, &found), "mode", "mode 9");
  v1::GetModelRequest get;
  v1::GetModelResponse model;
  ExpectRefused(Unary(*server_->model, &v1::ModelService::Stub::GetModel, get, &model), "name", "no name");
}

TEST_F(RpcRefusalTest, NamesThatArePaths) {
  for (const std::string& name :
       std::vector<std::string>{"", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\\b", std::string("a\0b", 3), "a b",
                                "ä", "-x", std::string(65, 'a'), "a\n"}) {
    v1::CreateCollectionRequest create;
    create.set_collection(name);
    v1::CreateCollectionResponse created;
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::CreateCollection, create, &created), "collection",
                  name);
    v1::DeleteCollectionRequest drop;
    drop.set_collection(name);
    v1::DeleteCollectionResponse dropped;
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::DeleteCollection, drop, &dropped), "collection",
                  name);
  }
  for (const char* name : {"a", "notes-2026.v1_x"}) EXPECT_TRUE(CollectionStore::CheckName(name).ok()) << name;
}

TEST_F(RpcRefusalTest, Adapters) {
  using Stub = v1::ModelService::Stub;
  v1::LoadAdapterResponse reply;
  const auto load = [&](const std::string& source, const std::string& name = "", bool replace = false) {
    v1::LoadAdapterRequest request;
    request.set_source(source);
    request.set_name(name);
    request.set_replace(replace);
    return Unary(*server_->model, &Stub::LoadAdapter, request, &reply);
  };
  for (const std::string& source : std::vector<std::string>{"", ".", "..", "../x", "small/..", "/etc", "a//b/.",
                                                            "small/", std::string("a\0b", 3), std::string(1025, 'a')}) {
    ExpectRefused(load(source), "source", source);
  }
  WriteSmallAdapter("small", 0);
  for (const std::string& name : std::vector<std::string>{".hidden", "a/b", "a b", std::string(129, 'a')})
    ExpectRefused(load("small", name), "name", name);

  grpc::Status status = load("missing");
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(),
            "source \"missing\" is no folder of those that adapters are loaded from; there are small");
  const TemporaryFolder elsewhere;
  std::filesystem::create_directory_symlink(elsewhere.path(), AdaptersFolder() / "way-out");
  EXPECT_EQ(load("way-out").error_code(), StatusCode::PERMISSION_DENIED);
  std::filesystem::create_directories(AdaptersFolder() / "empty");
  status = load("empty");
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND) << status.error_message();
  EXPECT_EQ(status.error_message().find(AdaptersFolder().string()), std::string::npos) << status.error_message();
  WriteSmallAdapter("broken", 0);
  std::filesystem::resize_file(AdaptersFolder() / "broken/adapter_model.safetensors", 1000);
  status = load("broken");
  EXPECT_EQ(status.error_code(), StatusCode::DATA_LOSS) << status.error_message();
  EXPECT_EQ(status.error_message().find(AdaptersFolder().string()), std::string::npos) << status.error_message();

  // The same again is no mistake; other contents under its name are, unless they are to replace it.
  ASSERT_TRUE(load("small").ok());
  const std::string digest = reply.adapter().digest();
  ASSERT_TRUE(load("small").ok());
  EXPECT_EQ(reply.adapter().digest(), digest);
  WriteSmallAdapter("small", 1);
  status = load("small");
  EXPECT_EQ(status.error_code(), StatusCode::ALREADY_EXISTS) << status.error_message();
  ASSERT_TRUE(load("small", "", true).ok());
  EXPECT_NE(reply.adapter().digest(), digest);

  // The store takes 20,000 bytes and three adapters.
  WriteSmallAdapter("large", 0, /*rank=*/4);
  status = load("large");
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "adapter \"large\" takes 18432 bytes, the others 4608, and the limit of all is 20000; unload one, or start "
            "the server with a larger --max-adapter-mib");
  ASSERT_TRUE(load("small", "b").ok());
  ASSERT_TRUE(load("small", "c").ok());
  status = load("small", "d");
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "3 adapters are loaded, and the limit is 3; unload one, or start the server with a larger --max-adapters");

  v1::UnloadAdapterRequest unload;
  v1::UnloadAdapterResponse unloaded;
  ExpectRefused(Unary(*server_->model, &Stub::UnloadAdapter, unload, &unloaded), "name", "no name");
  for (const char* name : {"small", "b", "c"}) {
    unload.set_name(name);
    EXPECT_TRUE(Unary(*server_->model, &Stub::UnloadAdapter, unload, &unloaded).ok()) << name;
  }

  v1::CaptionRequest caption = Picture();
  caption.mutable_options()->set_adapter("small");
  v1::CaptionResponse captioned;
  ExpectRefused(Unary(*server_->caption, &v1::CaptionService::Stub::Caption, caption, &captioned), "options.adapter",
                "captions have an adapter of their own");
}

TEST(AdapterStoreTest, WithoutFoldersNothingIsLoaded) {
  const auto store = ModelStore::Open(DefaultModelOptions());
  ASSERT_TRUE(store.ok());
  const absl::Status status = (*store)->LoadAdapter("small", "", false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("--adapters DIR"), std::string::npos) << status.message();
  ModelStoreOptions options = DefaultModelOptions();
  options.adapters.folders = {"/no/such/folder"};
  EXPECT_EQ(ModelStore::Open(options).status().code(), absl::StatusCode::kNotFound);
  options.adapters = {.folders = {}, .max_adapters = 0};
  EXPECT_EQ(ModelStore::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RpcRefusalTest, Numbers) {
  v1::AskRequest ask;
  v1::AskResponse answer;
  const auto asked = [&] { return Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &answer); };
  ask.set_collection("none");
  ExpectRefused(asked(), "question", "no question");
  ask.set_question(std::string(8193, 'x'));
  ExpectRefused(asked(), "question", "a long question");
  ask.set_question("x");
  for (int count : {0, -1, 51}) {
    ask.set_count(count);
    ExpectRefused(asked(), "count", "count");
  }
  ask.set_count(5);
  for (int tokens : {15, -1, 4097}) {
    ask.set_context_tokens(tokens);
    ExpectRefused(asked(), "context_tokens", "context_tokens");
  }
  ask.clear_context_tokens();
  ask.add_images();
  ExpectRefused(asked(), "images[0].data", "an empty picture");
  for (int i = 0; i < 5; ++i) *(i == 0 ? ask.mutable_images(0) : ask.add_images())->mutable_data() = "x";
  ExpectRefused(asked(), "images", "five pictures");
  ask.clear_images();
  v1::Message& turn = *ask.add_conversation();
  turn.add_parts()->set_text("x");
  ExpectRefused(asked(), "conversation[0].role", "a turn of nobody");
  turn.set_role(v1::ROLE_SYSTEM);
  ExpectRefused(asked(), "conversation[0].role", "the system's turn");
  turn.set_role(v1::ROLE_USER);
  turn.add_parts()->mutable_image()->set_data("x");
  ExpectRefused(asked(), "conversation[0].parts", "a turn with a picture");
  turn.mutable_parts()->RemoveLast();
  turn.mutable_parts(0)->set_text(std::string(8193, 'x'));
  ExpectRefused(asked(), "conversation[0]", "a long turn");
  turn.mutable_parts(0)->set_text("x");
  for (int i = 0; i < 64; ++i) *ask.add_conversation() = ask.conversation(0);
  ExpectRefused(asked(), "conversation", "65 turns");
  ask.clear_conversation();
  ask.set_context_tokens(256);
  v1::UpdateCollectionRequest update;
  v1::UpdateCollectionResponse updated;
  update.set_collection("none");
  for (double threshold : {-0.1, 1.1, std::nan("")}) {
    ask.set_refuse_below(threshold);
    ExpectRefused(asked(), "refuse_below", "refuse_below");
    update.set_refuse_below(threshold);
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::UpdateCollection, update, &updated), "refuse_below",
                  "a kept refuse_below");
  }
  v1::SearchRequest search;
  v1::SearchResponse found;
  search.set_collection("none");
  search.set_query("x");
  for (int count : {0, -1, 1001}) {
    search.set_count(count);
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::Search, search, &found), "count", "search count");
  }
  v1::CreateCollectionRequest create;
  v1::CreateCollectionResponse created;
  create.set_collection("none");
  create.set_index(static_cast<v1::IndexKind>(77));
  ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::CreateCollection, create, &created), "index",
                "kind 77");
  const auto refuse_search = [&](const std::string& field, const auto& change) {
    v1::SearchRequest wrong;
    wrong.set_collection("none");
    wrong.set_query("x");
    change(wrong);
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::Search, wrong, &found), field,
                  wrong.ShortDebugString());
  };
  using Search = v1::SearchRequest;
  refuse_search("max_per_document", [](Search& s) { s.set_max_per_document(-1); });
  refuse_search("neighbours", [](Search& s) { s.set_neighbours(9); });
  refuse_search("neighbours", [](Search& s) { s.set_neighbours(-1); });
  refuse_search("fusion", [](Search& s) { s.set_fusion(static_cast<v1::Fusion>(7)); });
  refuse_search("word_weight", [](Search& s) { s.set_word_weight(1.5); });
  refuse_search("word_weight", [](Search& s) { s.set_word_weight(std::numeric_limits<double>::quiet_NaN()); });
  refuse_search("word_weight", [](Search& s) { s.set_word_weight(0.5), s.set_mode(v1::SEARCH_MODE_LEXICAL); });
  refuse_search("word_weight", [](Search& s) { s.set_word_weight(0.5), s.set_fusion(v1::FUSION_RECIPROCAL_RANK); });
  for (int depth : {-1, 7, 1001})  // 8 results are asked for when nothing is said
    refuse_search("rerank", [depth](Search& s) { s.set_rerank(depth); });
  refuse_search("vector", [](Search& s) { s.add_vector(std::numeric_limits<float>::infinity()); });
  refuse_search("vector", [](Search& s) { s.add_vector(0); });
  refuse_search("vector", [](Search& s) { s.mutable_vector()->Resize(16385, 1); });
  refuse_search("vector", [](Search& s) { s.add_vector(1), s.set_mode(v1::SEARCH_MODE_LEXICAL); });
  for (int size : {-1, 1001}) {
    v1::ListDocumentsRequest list;
    v1::ListDocumentsResponse page;
    list.set_collection("none");
    list.set_page_size(size);
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::ListDocuments, list, &page), "page_size",
                  "page_size");
  }
  for (int id : {-1, 1 << 30}) {
    v1::DetokenizeRequest detokenize;
    v1::DetokenizeResponse text;
    detokenize.add_ids(id);
    ExpectRefused(Unary(*server_->generation, &v1::GenerationService::Stub::Detokenize, detokenize, &text), "ids",
                  "token id");
  }
  v1::EmbedRequest embed;
  v1::EmbedResponse vectors;
  const auto embedded = [&] {
    return Unary(*server_->generation, &v1::GenerationService::Stub::Embed, embed, &vectors);
  };
  ExpectRefused(embedded(), "texts", "no text");
  embed.add_texts("");
  ExpectRefused(embedded(), "texts", "an empty text");
  std::string long_text;
  for (int i = 0; i < 400; ++i) long_text += "word ";
  embed.set_texts(0, long_text);
  ExpectRefused(embedded(), "texts", "a long text");
  v1::ScoreRequest score;
  v1::ScoreResponse scored;
  ExpectRefused(Unary(*server_->generation, &v1::GenerationService::Stub::Score, score, &scored), "completion",
                "nothing to score");
}

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

TEST_F(RpcRefusalTest, Filters) {
  const auto refuse = [&](const auto& change) {
    v1::Filter filter;
    change(*filter.mutable_where());
    v1::SearchRequest search;
    search.set_collection("none");
    search.set_query("x");
    *search.mutable_filter() = filter;
    v1::SearchResponse found;
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::Search, search, &found), "filter.where",
                  filter.ShortDebugString());
    v1::ListDocumentsRequest list;
    list.set_collection("none");
    *list.mutable_filter() = filter;
    v1::ListDocumentsResponse page;
    ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::ListDocuments, list, &page), "filter.where",
                  "list: " + filter.ShortDebugString());
    v1::AskRequest ask;
    ask.set_collection("none");
    ask.set_question("x");
    *ask.mutable_filter() = filter;
    v1::AskResponse answer;
    ExpectRefused(Unary(*server_->answer, &v1::AnswerService::Stub::Ask, ask, &answer), "filter.where",
                  "ask: " + filter.ShortDebugString());
  };
  using Where = v1::Condition;
  refuse([](Where&) {});
  refuse([](Where& w) { w.mutable_all()->add_conditions(); });
  refuse([](Where& w) { w.mutable_negated(); });
  refuse([](Where& w) { w.set_exists(""); });
  refuse([](Where& w) { w.mutable_in()->add_values()->set_number(1); });  // no name
  const auto field = [](Where& w) -> v1::FieldCondition& {
    w.mutable_field()->set_name("year");
    w.mutable_field()->set_comparison(v1::COMPARISON_LESS);
    w.mutable_field()->mutable_value()->set_number(1);
    return *w.mutable_field();
  };
  refuse([&](Where& w) { field(w).clear_comparison(); });
  refuse([&](Where& w) { field(w).set_comparison(static_cast<v1::Comparison>(99)); });
  refuse([&](Where& w) { field(w).clear_value(); });
  refuse([&](Where& w) { field(w).mutable_value()->set_number(std::numeric_limits<double>::quiet_NaN()); });
  refuse([&](Where& w) { field(w).mutable_value()->set_date("31 May"); });
  refuse([&](Where& w) { field(w).set_comparison(v1::COMPARISON_PREFIX); });  // of a number
  // One level more than is read, and the most that is: that one's collection does not exist.
  Where deep;
  field(deep);
  for (int level = 1; level < retrieval::kMaxConditionDepth; ++level) {
    Where outer;
    *outer.mutable_all()->add_conditions() = deep;
    deep = outer;
  }
  v1::ListDocumentsRequest list;
  list.set_collection("none");
  *list.mutable_filter()->mutable_where() = deep;
  v1::ListDocumentsResponse page;
  EXPECT_EQ(Unary(*server_->index, &v1::IndexService::Stub::ListDocuments, list, &page).error_code(),
            StatusCode::NOT_FOUND);
  refuse([&](Where& w) { *w.mutable_any()->add_conditions() = deep; });
}

TEST_F(RpcRefusalTest, Pictures) {
  const std::string cat = ReadFile(SourceFolder() / "assets/photos/cat.jpg");
  ASSERT_GT(cat.size(), 1000u);
  const std::string png = "\x89PNG\r\n\x1a\n" + BigEndian(13) + "IHDR" + BigEndian(32768) + BigEndian(32768) +
                          std::string("\1\0\0\0\0", 5) + BigEndian(0) + std::string(100'000, '\0');
  std::string animated = std::string("RIFF") + std::string("\x1e\0\0\0", 4) + "WEBPVP8X" +
                         std::string("\x0a\0\0\0\x02\0\0\0\x0f\0\0\x0f\0\0", 14);
  animated += std::string("ANIM") + std::string("\0\0\0\0", 4);
  const std::map<std::string, std::string> bad = {
      {"empty", ""},
      {"one byte", "x"},
      {"text", "this is no picture, but a sentence of some length"},
      {"truncated", cat.substr(0, cat.size() / 3)},
      {"only a header", cat.substr(0, 100)},
      {"huge", png},
      {"animated WebP", animated},
      {"GIF", "GIF89a" + std::string(100, '\0')},
      {"TIFF", std::string("II*\0", 4) + std::string(100, '\0')},
      {"SVG", "<svg xmlns='http://www.w3.org/2000/svg'/>"},
  };
  for (const auto& [what, bytes] : bad) {
    v1::CaptionRequest request;
    request.mutable_image()->set_data(bytes);
    const grpc::Status status = Caption(request);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << what << ": " << status.error_message();
    EXPECT_FALSE(Reason(status).empty()) << what;
    EXPECT_EQ(Field(status), "image.data") << what << ": " << status.error_message();
  }
  v1::CaptionRequest request = Picture();
  request.set_instruction(std::string(4097, 'x'));
  ExpectRefused(Caption(request), "instruction", "a long instruction");
}

TEST_F(RpcRefusalTest, MessagesOver32MiB) {
  v1::CaptionRequest request;
  request.mutable_image()->set_data(std::string(kMaxMessageBytes + 1, 'x'));
  EXPECT_EQ(Caption(request).error_code(), StatusCode::RESOURCE_EXHAUSTED);  // gRPC's own refusal
  request.mutable_image()->set_data(std::string(kMaxMessageBytes - 100, 'x'));
  ExpectRefused(Caption(request), "image.data", "just within the limit, but no picture");
}

TEST_F(RpcRefusalTest, CompressedMessages) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::GenerateResponse reply;
  const grpc::Status status = server_->generation->Generate(&context, Prompt(std::string(10'000, 'x')), &reply);
  EXPECT_EQ(status.error_code(), StatusCode::UNIMPLEMENTED) << status.error_message();
}

TEST_F(RpcRefusalTest, StreamsOfDocumentsOutOfOrder) {
  v1::CreateCollectionRequest create;
  create.set_collection("order");
  v1::CreateCollectionResponse created;
  ASSERT_TRUE(Unary(*server_->index, &v1::IndexService::Stub::CreateCollection, create, &created).ok());
  const auto collection = [](const std::string& name) {
    v1::PutDocumentsRequest request;
    request.set_collection(name);
    return request;
  };
  const auto header = [](const std::string& path, int bytes) {
    v1::PutDocumentsRequest request;
    request.mutable_document()->set_path(path);
    request.mutable_document()->set_size_bytes(bytes);
    return request;
  };
  const auto data = [](const std::string& bytes) {
    v1::PutDocumentsRequest request;
    request.set_data(bytes);
    return request;
  };
  const auto put = [](const std::vector<v1::PutDocumentsRequest>& requests) {
    grpc::ClientContext context;
    v1::PutDocumentsResponse response;
    auto writer = server_->index->PutDocuments(&context, &response);
    for (const v1::PutDocumentsRequest& request : requests) {
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  };
  ExpectRefused(put({}), "collection", "nothing at all");
  ExpectRefused(put({header("a.txt", 1)}), "collection", "no collection first");
  ExpectRefused(put({data("x")}), "data", "data first");
  ExpectRefused(put({collection("../order")}), "collection", "a path");
  EXPECT_EQ(put({collection("nowhere")}).error_code(), StatusCode::NOT_FOUND);
  ExpectRefused(put({collection("order"), collection("order")}), "collection", "twice");
  ExpectRefused(put({collection("order"), data("x")}), "data", "data without a header");
  ExpectRefused(put({collection("order"), v1::PutDocumentsRequest()}), "item", "an empty message");
  ExpectRefused(put({collection("order"), header("", 1)}), "document.path", "no path");
  ExpectRefused(put({collection("order"), header("a\nb", 1)}), "document.path", "a line break in the path");
  ExpectRefused(put({collection("order"), header(std::string(1025, 'a'), 1)}), "document.path", "a long path");
  ExpectRefused(put({collection("order"), header("a.txt", 0)}), "document.size_bytes", "no bytes");
  ExpectRefused(put({collection("order"), header("a.txt", (32 << 20) + 1)}), "document.size_bytes", "too many bytes");
  ExpectRefused(put({collection("order"), header("a.txt", 3), data("abcd")}), "data", "more than announced");
  ExpectRefused(put({collection("order"), header("a.txt", 3), data("ab")}), "data", "less than announced");
  ExpectRefused(put({collection("order"), header("a.txt", 3), header("b.txt", 3)}), "data", "a header too early");
  const auto with_chunks = [&](int count) {
    v1::PutDocumentsRequest request = header("a.txt", 3);
    request.mutable_document()->set_chunk_count(count);
    return request;
  };
  const auto chunk = [](int begin, int end) {
    v1::PutDocumentsRequest request;
    v1::GivenChunk* piece = request.mutable_chunks()->add_chunks();
    piece->set_begin(begin);
    piece->set_end(end);
    return request;
  };
  v1::PutDocumentsRequest no_chunks;
  no_chunks.mutable_chunks();
  ExpectRefused(put({collection("order"), chunk(0, 1)}), "chunks", "chunks without a header");
  ExpectRefused(put({collection("order"), with_chunks(1), no_chunks}), "chunks", "no chunks");
  ExpectRefused(put({collection("order"), header("a.txt", 3), chunk(0, 1)}), "chunks", "chunks without a count");
  ExpectRefused(put({collection("order"), with_chunks(1), chunk(0, 1), chunk(1, 2)}), "chunks", "one too many");
  ExpectRefused(put({collection("order"), with_chunks(2), chunk(0, 1), data("abc")}), "data", "one too few");
  ExpectRefused(put({collection("order"), with_chunks(1), data("a")}), "data", "chunks after data");
  ExpectRefused(put({collection("order"), with_chunks(-1)}), "document.chunk_count", "a count below 0");
  ExpectRefused(put({collection("order"), with_chunks(65537)}), "document.chunk_count", "a large count");
  EXPECT_TRUE(put({collection("order"), header("a.txt", 9), data("The fine "), header("a.txt", 12), data("A new one."),
                   data("!!")})
                  .ok())
      << "a document given twice: the later one stays";
  v1::DeleteDocumentsRequest remove;
  remove.set_collection("order");
  v1::DeleteDocumentsResponse removed;
  ExpectRefused(Unary(*server_->index, &v1::IndexService::Stub::DeleteDocuments, remove, &removed), "ids", "no ids");
}

// ---- Without a server.

TEST(StatusTest, ErrorsCarryReasonFieldAndTimeToWait) {
  const absl::Status status =
      WithRetry(FieldError("top_k", "is -1; its range is 0 to 5"), std::chrono::milliseconds(1500));
  const grpc::Status wire = ToGrpcStatus(status);
  EXPECT_EQ(wire.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(wire.error_message(), "top_k is -1; its range is 0 to 5");
  EXPECT_EQ(Reason(wire), "INVALID_FIELD");
  EXPECT_EQ(Field(wire), "top_k");
  const auto retry = FindDetail<google::rpc::RetryInfo>(wire);
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
  EXPECT_EQ(FromGrpcStatus(wire).message(), status.message());
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  for (int code = 1; code <= 16; ++code) {  // one to one
    const grpc::Status each = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "x"));
    EXPECT_EQ(static_cast<int>(each.error_code()), code);
    EXPECT_FALSE(Reason(each).empty());
  }
}

TEST(ChecksTest, BlamesTheFieldThatAMessageBeginsWith) {
  const auto& type = *v1::GenerateRequest::descriptor();
  EXPECT_EQ(Field(ToGrpcStatus(BlameField(absl::InvalidArgumentError("top_p is 2; it must be less"), type))),
            "options.top_p");
  EXPECT_EQ(Field(ToGrpcStatus(BlameField(absl::InvalidArgumentError("prompt has too much"), type))), "prompt");
  EXPECT_EQ(Field(ToGrpcStatus(BlameField(absl::InvalidArgumentError("something else is wrong"), type))), "");
  EXPECT_EQ(Field(ToGrpcStatus(BlameField(absl::NotFoundError("prompt is gone"), type))), "");
}

}  // namespace
}  // namespace blazon::service::rpc
