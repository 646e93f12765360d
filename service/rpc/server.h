// The gRPC service of proto/blazon/v1 over a store of models and a folder of collections; with grpc.health.v1 and
// reflection.
//
// Callbacks of gRPC check, enqueue and write; a pool of workers decodes, encodes, embeds and searches; the scheduler's
// thread generates. No authentication and no TLS yet: listen on loopback, or behind a proxy that has them.
//
// Thread safety: all methods may be called from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/model_store.h"

namespace blazon::service::rpc {

inline constexpr int kMaxMessageBytes = 32 << 20;  // of a request; gRPC refuses more with RESOURCE_EXHAUSTED

struct ServerOptions {
  std::string address = "127.0.0.1:50051";  // HOST:PORT; [::1]:PORT for IPv6; port 0: a free one
  // Collections are folders in data_folder/collections; created when missing. Required.
  std::filesystem::path data_folder;
  // A cross-encoder for searches that ask for one (service/reranker.h), loaded at the start. Empty: none.
  std::filesystem::path reranker;
  int max_requests = 128;                  // under way at once; more are refused with RESOURCE_EXHAUSTED. 1 .. 65536
  int workers = 0;                         // threads of the pool, 1 .. 256; 0: one for each core, at least 2
  size_t stream_buffer_bytes = 256 << 10;  // unread text of one stream; a reader who is further behind is cancelled
  std::chrono::milliseconds shutdown_grace{20000};   // what runs may finish within it
  std::chrono::milliseconds heartbeat_limit{30000};  // a scheduler that is silent for longer makes health NOT_SERVING
  bool preload = true;  // load all models that are present at once; health is NOT_SERVING until then
};

class Server {
 public:
  // Listens when it returns. `models` must outlive the server.
  // kUnavailable: the address is in use (the message names it); kInvalidArgument: an option out of range, or no such
  // address; kPermissionDenied or kNotFound: the data folder cannot be made. What Reranker::Open says.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options, ModelStore& models);
  ~Server();  // as Shutdown
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // "127.0.0.1:50051", with the port that was chosen.
  const std::string& address() const;
  int port() const;

  // Health says NOT_SERVING and new calls are refused with UNAVAILABLE at once; what runs may finish within
  // shutdown_grace, the rest ends with UNAVAILABLE. Returns when all is over; may be called twice.
  void Shutdown();

  // Returns once Shutdown has ended.
  void Wait();

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Waits for SIGINT or SIGTERM, then shuts the server down. A second signal while it does so ends the process at once.
// Call it from one thread, once.
absl::Status RunUntilSignal(Server& server);

}  // namespace blazon::service::rpc
