// blazon serve: the gRPC server.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/rpc/server.h"

namespace blazon::service::cli {
namespace {

int RunServe(const rpc::ServerOptions& options, Context& context) {
  if (!context.server.empty()) {
    return Fail(absl::InvalidArgumentError("--server is for clients; say where to listen with --address"), kWrongUsage);
  }
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return Fail(models.status());
  absl::StatusOr<std::unique_ptr<rpc::Server>> server = rpc::Server::Start(options, **models);
  if (!server.ok()) return Fail(server.status());
  std::cerr << "blazon: listening on " << (*server)->address() << "; Ctrl-C stops" << std::endl;
  if (absl::Status status = rpc::RunUntilSignal(**server); !status.ok()) return Fail(status);
  std::cerr << "blazon: stopped" << std::endl;
  return kDone;
}

}  // namespace

void AddServe(CLI::App& app, Context& context) {
  auto options = std::make_shared<rpc::ServerOptions>();
  CLI::App* command = app.add_subcommand("serve", "Run the gRPC server");
  command->add_option("--address", options->address, "Where to listen; port 0 takes a free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  command->add_option("--data", options->data_folder, "Where collections are kept; made when missing")
      ->type_name("DIR")
      ->required();
  command
      ->add_option("--reranker", options->reranker,
                   "A cross-encoder, which orders the results of searches anew that ask for it (SearchRequest.rerank, "
                   "'index search --rerank')")
      ->type_name("DIR");
  command->add_option("--max-requests", options->max_requests, "Requests under way at once; more are refused")
      ->capture_default_str();
  command
      ->add_option("--workers", options->workers, "Threads that decode, encode, embed and search; 0: one for each core")
      ->capture_default_str();
  command
      ->add_option(
          "--adapters", context.models.adapters.folders,
          "A folder that 'models load-adapter' may load adapters from while the server runs; may be given again")
      ->type_name("DIR")
      ->allow_extra_args(false);
  command
      ->add_option("--max-adapters", context.models.adapters.max_adapters, "Adapters loaded at once; more are refused")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      ->add_option_function<int64_t>(
          "--max-adapter-mib", [&context](int64_t mib) { context.models.adapters.max_bytes = mib << 20; },
          "Memory of all loaded adapters together, in MiB (default 1024)")
      ->check(CLI::Range(1, 1 << 20));
  command->add_flag("!--no-preload", options->preload, "Load each model at its first request instead of at once");
  command->footer(
      R"(There is no authentication and no encryption yet: listen on loopback, or behind a proxy that has them. The services are
described in proto/blazon/v1; reflection and grpc.health.v1 are on.

Clients choose adapters by name. Which files become adapters is for who starts the server to say: without --adapters none
is loaded, from loopback neither, and with it those that lie in DIR alone.

Examples:
  blazon serve --data ./data
  blazon serve --data ./data --adapters ./adapters
  blazon serve --data ./data --address 127.0.0.1:0 --threads 2)");
  command->callback([options, &context] {
    context.handles_signals = true;
    context.run = [options, &context] { return RunServe(*options, context); };
  });
}

}  // namespace blazon::service::cli
