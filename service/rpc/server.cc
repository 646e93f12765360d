#include "service/rpc/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "service/reranker.h"
#include "service/rpc/health_monitor.h"
#include "service/rpc/runtime.h"
#include "service/rpc/services.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr int kMaxConcurrentStreams = 128;  // of one connection
constexpr int kKeepaliveMs = 60'000;        // a peer that is silent for so long is asked whether it lives
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kMinPingIntervalMs = 10'000;  // clients may ask as often
constexpr int kMaxIdleMs = 30 * 60'000;     // a connection without calls is closed
constexpr std::chrono::seconds kCloseTime(5);

struct Address {
  std::string host;
  int port = 0;
};

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  Address address;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &address.port) ||
      address.port < 0 || address.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("address \"", text, "\" is not HOST:PORT with a port of 0 to 65535"));
  }
  address.host = text.substr(0, colon);
  return address;
}

// Whether the address can be listened on: gRPC does not say why not, so this tries the same itself, before.
absl::Status TryAddress(const Address& address) {
  std::string host = address.host;
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const std::string name = absl::StrCat(address.host, ":", address.port);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(address.port).c_str(), &hints, &found) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("address ", name, " cannot be resolved; give HOST:PORT of this machine"));
  }
  int error = 0;
  for (const addrinfo* each = found; each != nullptr && error == 0; each = each->ai_next) {
    const int socket_fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
    if (socket_fd < 0) continue;
    const int yes = 1;  // as gRPC: connections that ended a moment ago do not count
    setsockopt(socket_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(socket_fd, each->ai_addr, each->ai_addrlen) != 0) error = errno;
    close(socket_fd);
  }
  freeaddrinfo(found);
  if (error == EADDRINUSE) {
    return absl::UnavailableError(
        absl::StrCat("address ", name, " is in use by another process; end it, or give another port"));
  }
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("address ", name, " cannot be listened on: ", std::strerror(error), ". Give another."));
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const ServerOptions& options) {
  if (options.max_requests < 1 || options.max_requests > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_requests is ", options.max_requests, "; its range is 1 to 65536"));
  }
  if (options.workers < 0 || options.workers > 256) {
    return absl::InvalidArgumentError(absl::StrCat("workers is ", options.workers, "; its range is 0 to 256"));
  }
  if (options.data_folder.empty())
    return absl::InvalidArgumentError("data_folder is empty; say where collections are kept");
  return absl::OkStatus();
}

// Each connection is a file: with the usual soft limit of 1,024 a flood of idle ones stops gRPC 1.51's listener for
// good.
void RaiseFileLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);  // best effort
  }
}

void Configure(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(-1);
  // gRPC 1.51 inflates a message before it checks the size limit.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second server on the port is an error, not a partner
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxIdleMs);
}

}  // namespace

class Server::Impl {
 public:
  Impl(ServerOptions options, ModelStore& models, std::unique_ptr<CollectionStore> collections,
       std::unique_ptr<Reranker> reranker)
      : runtime_(std::move(options), models, std::move(collections), std::move(reranker)),
        caption_(runtime_),
        answer_(runtime_),
        generation_(runtime_),
        index_(runtime_),
        model_(runtime_) {}

  absl::Status Listen(const Address& address) {
    if (absl::Status status = TryAddress(address); !status.ok()) return status;
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    Configure(builder);
    builder.AddListeningPort(absl::StrCat(address.host, ":", address.port), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&caption_);
    builder.RegisterService(&answer_);
    builder.RegisterService(&generation_);
    builder.RegisterService(&index_);
    builder.RegisterService(&model_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(
          absl::StrCat("address ", address.host, ":", address.port, " was taken a moment ago; try again"));
    }
    address_ = absl::StrCat(address.host, ":", port_);
    monitor_ = std::make_unique<HealthMonitor>(*server_->GetHealthCheckService(), runtime_);
    return absl::OkStatus();
  }

  void Shutdown() {
    std::call_once(shutdown_once_, [this] { ShutdownOnce(); });
    Wait();  // for another thread's
  }

  void Wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return is_down_; });
  }

  const std::string& address() const { return address_; }
  int port() const { return port_; }

 private:
  void ShutdownOnce() {
    if (server_ != nullptr) {
      runtime_.Drain();
      monitor_->ShutDown();
      if (!runtime_.WaitUntilIdle(std::chrono::steady_clock::now() + runtime_.options().shutdown_grace)) {
        runtime_.StopAll(
            WithReason(absl::UnavailableError("the server shut down before this was done"), "SHUTTING_DOWN"));
      }
      server_->Shutdown(std::chrono::system_clock::now() + kCloseTime);
      server_->Wait();
      monitor_.reset();
    }
    std::lock_guard lock(mutex_);
    is_down_ = true;
    ended_.notify_all();
  }

  Runtime runtime_;
  CaptionService caption_;
  AnswerService answer_;
  GenerationService generation_;
  IndexService index_;
  ModelService model_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<HealthMonitor> monitor_;
  std::string address_;
  int port_ = 0;

  std::once_flag shutdown_once_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_down_ = false;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { impl_->Shutdown(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options, ModelStore& models) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const absl::StatusOr<Address> address = ParseAddress(options.address);
  if (!address.ok()) return address.status();
  auto collections = CollectionStore::Open(options.data_folder, options.address, models);
  if (!collections.ok()) return collections.status();
  std::unique_ptr<Reranker> reranker;
  if (!options.reranker.empty()) {
    absl::StatusOr<std::unique_ptr<Reranker>> opened = Reranker::Open(options.reranker);
    if (!opened.ok()) return opened.status();
    reranker = *std::move(opened);
  }
  RaiseFileLimit();
  auto impl = std::make_unique<Impl>(std::move(options), models, *std::move(collections), std::move(reranker));
  if (absl::Status status = impl->Listen(*address); !status.ok()) return status;
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

const std::string& Server::address() const { return impl_->address(); }
int Server::port() const { return impl_->port(); }
void Server::Shutdown() { impl_->Shutdown(); }
void Server::Wait() { impl_->Wait(); }

namespace {

int signal_pipe[2] = {-1, -1};
volatile sig_atomic_t signals_seen = 0;

void OnSignal(int number) {
  signals_seen = signals_seen + 1;
  if (signals_seen > 1) _exit(128 + number);
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = write(signal_pipe[1], &byte, 1);
}

}  // namespace

absl::Status RunUntilSignal(Server& server) {
  if (pipe2(signal_pipe, O_CLOEXEC) != 0)
    return absl::InternalError(absl::StrCat("no pipe for signals: ", std::strerror(errno)));
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  char byte = 0;
  while (read(signal_pipe[0], &byte, 1) < 0 && errno == EINTR) {
  }
  server.Shutdown();
  return absl::OkStatus();
}

}  // namespace blazon::service::rpc
