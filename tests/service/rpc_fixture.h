// A server over the real models on a free port of loopback, and clients of it in the same process.
#pragma once

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "blazon/v1/answer.grpc.pb.h"
#include "blazon/v1/caption.grpc.pb.h"
#include "blazon/v1/generation.grpc.pb.h"
#include "blazon/v1/index.grpc.pb.h"
#include "blazon/v1/model.grpc.pb.h"
#include "service/model_store.h"
#include "service/rpc/server.h"
#include "tests/service/default_models.h"

namespace blazon::service::rpc {

inline std::filesystem::path SourceFolder() { return BLAZON_SOURCE_DIR; }

// Where the store's adapters are loaded from.
inline const std::filesystem::path& AdaptersFolder();

// One store for all tests of a process: loading takes seconds. Of adapters it takes 3, and 20,000 bytes.
inline ModelStore& Models(int max_sequences = 16) {
  static ModelStore& models = *[max_sequences] {
    ModelStoreOptions options = DefaultModelOptions();
    options.adapters = {.folders = {AdaptersFolder()}, .max_adapters = 3, .max_bytes = 20'000};
    options.max_sequences = max_sequences;
    auto store = ModelStore::Open(options);
    if (!store.ok()) throw std::runtime_error(std::string(store.status().message()));
    return store->release();  // lives as long as the process: tests end while threads of OpenMP still wait
  }();
  return models;
}

inline std::string ReadFile(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A folder of its own, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("blazon-rpc-" + std::to_string(getpid()) + "-" + std::to_string(++count_))) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  static inline int count_ = 0;
  std::filesystem::path path_;
};

inline const std::filesystem::path& AdaptersFolder() {
  static const TemporaryFolder folder;
  return folder.path();
}

// Writes AdaptersFolder()/NAME: an adapter of the default model's first query projection, of 4,608 bytes a rank, in
// PEFT's layout. `phase` tells its values from others'.
inline void WriteSmallAdapter(const std::string& name, double phase, int rank = 1) {
  constexpr int kWidth = 576;
  const std::filesystem::path folder = AdaptersFolder() / name;
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "adapter_config.json")
      << R"({"peft_type": "LORA", "r": )" << rank << R"(, "lora_alpha": 8, "target_modules": ["q_proj"]})";
  const std::string module = "base_model.model.model.layers.0.self_attn.q_proj",
                    end = std::to_string(rank * kWidth * 4);
  const auto entry = [&](const std::string& half, const std::string& shape, const std::string& offsets) {
    return "\"" + module + "." + half + ".weight\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" +
           offsets + "]}";
  };
  const std::string r = std::to_string(rank),
                    header = "{" + entry("lora_A", r + ",576", "0," + end) + "," +
                             entry("lora_B", "576," + r, end + "," + std::to_string(2 * rank * kWidth * 4)) + "}";
  std::ofstream file(folder / "adapter_model.safetensors", std::ios::binary);
  const uint64_t size = header.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof(size));
  file << header;
  for (int i = 0; i < 2 * rank * kWidth; ++i) {
    const auto value = static_cast<float>(std::sin(phase + 0.7 * i));
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

// A server and its stubs. Further options by the constructor's argument.
class TestServer {
 public:
  explicit TestServer(ModelStore& models, ServerOptions options = {}, grpc::ChannelArguments arguments = {}) {
    options.address = "127.0.0.1:0";
    options.data_folder = data_.path();
    auto started = Server::Start(options, models);
    if (!started.ok()) throw std::runtime_error(std::string(started.status().message()));
    server = *std::move(started);
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own for each channel
    channel = grpc::CreateCustomChannel(server->address(), grpc::InsecureChannelCredentials(), arguments);
    caption = v1::CaptionService::NewStub(channel);
    answer = v1::AnswerService::NewStub(channel);
    generation = v1::GenerationService::NewStub(channel);
    index = v1::IndexService::NewStub(channel);
    model = v1::ModelService::NewStub(channel);
  }

  std::unique_ptr<Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::CaptionService::Stub> caption;
  std::unique_ptr<v1::AnswerService::Stub> answer;
  std::unique_ptr<v1::GenerationService::Stub> generation;
  std::unique_ptr<v1::IndexService::Stub> index;
  std::unique_ptr<v1::ModelService::Stub> model;

 private:
  TemporaryFolder data_;
};

// ---- What errors carry.

template <typename Detail>
Detail FindDetail(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  Detail detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) break;
  }
  return detail;
}

inline std::string Reason(const grpc::Status& status) {
  const auto info = FindDetail<google::rpc::ErrorInfo>(status);
  EXPECT_TRUE(status.ok() || info.domain() == "blazon.v1") << status.error_message();
  return info.reason();
}

inline std::string Field(const grpc::Status& status) {
  const auto bad = FindDetail<google::rpc::BadRequest>(status);
  return bad.field_violations_size() > 0 ? bad.field_violations(0).field() : "";
}

// ---- Requests.

inline v1::GenerateRequest Prompt(const std::string& text, int max_new_tokens = 16) {
  v1::GenerateRequest request;
  request.mutable_prompt()->add_parts()->set_text(text);
  request.mutable_options()->set_max_new_tokens(max_new_tokens);
  return request;
}

// The streaming twin of a request: their fields are the same.
template <typename Stream, typename Unary>
Stream ToStream(const Unary& request) {
  Stream stream;
  EXPECT_TRUE(stream.ParseFromString(request.SerializeAsString()));
  return stream;
}

inline v1::CaptionRequest Picture(const std::string& name = "cat.jpg") {
  v1::CaptionRequest request;
  request.mutable_image()->set_data(ReadFile(SourceFolder() / "assets/photos" / name));
  return request;
}

template <typename Stub, typename Method, typename Request, typename Response>
grpc::Status Unary(Stub& stub, Method method, const Request& request, Response* response) {
  grpc::ClientContext context;
  return (stub.*method)(&context, request, response);
}

// Documents by path and bytes, into a collection.
inline grpc::Status Put(v1::IndexService::Stub& stub, const std::string& collection,
                        const std::vector<std::pair<std::string, std::string>>& documents,
                        v1::PutDocumentsResponse* response, const std::string& json_text = "") {
  grpc::ClientContext context;
  auto writer = stub.PutDocuments(&context, response);
  v1::PutDocumentsRequest request;
  request.set_collection(collection);
  bool open = writer->Write(request);
  for (const auto& [path, bytes] : documents) {
    request.mutable_document()->set_path(path);
    request.mutable_document()->set_json_text(json_text);
    request.mutable_document()->set_size_bytes(static_cast<int>(bytes.size()));
    open = open && writer->Write(request);
    for (size_t begin = 0; begin < bytes.size(); begin += 1000) {  // small pieces: more than one message a document
      request.set_data(bytes.substr(begin, 1000));
      open = open && writer->Write(request);
    }
  }
  writer->WritesDone();
  return writer->Finish();
}

}  // namespace blazon::service::rpc
