// blazon health: whether a server is ready, by grpc.health.v1.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"
#include "service/rpc/status.h"

namespace blazon::service::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kCallTimeout = std::chrono::seconds(5);
constexpr auto kPeriod = std::chrono::milliseconds(100);

struct HealthFlags {
  double wait_seconds = 0;
};

// True when the server says SERVING. The messages of grpc.health.v1 are small enough to be written by hand: the request
// is empty for the whole server, the answer is field 1 (tag 0x08) with the status, and SERVING is 1.
absl::StatusOr<bool> IsServing(grpc::GenericStub& stub) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&done](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  grpc::Slice bytes;
  if (!response.DumpToSingleSlice(&bytes).ok())
    return absl::InternalError("the server's answer about its health cannot be read");
  return std::string_view(reinterpret_cast<const char*>(bytes.begin()), bytes.size()) == "\x08\x01";
}

int RunHealth(const HealthFlags& flags, Context& context) {
  if (context.server.empty())
    return Fail(absl::InvalidArgumentError("say which server with --server HOST:PORT"), kWrongUsage);
  grpc::GenericStub stub(grpc::CreateChannel(context.server, grpc::InsecureChannelCredentials()));
  const Clock::time_point end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(flags.wait_seconds));
  absl::StatusOr<bool> serving = IsServing(stub);
  while (!(serving.ok() && *serving) && Clock::now() < end && !Interrupted()) {
    std::this_thread::sleep_for(kPeriod);
    serving = IsServing(stub);
  }
  if (!serving.ok()) return Fail(serving.status());
  std::cout << (context.json ? (*serving ? R"({"status":"SERVING"})" : R"({"status":"NOT_SERVING"})")
                             : (*serving ? "serving" : "not serving"))
            << "\n";
  return *serving ? kDone : kFailed;
}

}  // namespace

void AddHealth(CLI::App& app, Context& context) {
  auto flags = std::make_shared<HealthFlags>();
  CLI::App* command = app.add_subcommand("health", "Ask a server whether it is ready");
  command->add_option("--wait", flags->wait_seconds, "Seconds to wait for it to become ready")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command->footer(
      R"(A server is ready when its models are loaded and its scheduler is alive. The exit status is 0 when it is, 1 when not.

Example:
  blazon health --server 127.0.0.1:50051 --wait 30)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunHealth(*flags, context); }; });
}

}  // namespace blazon::service::cli
