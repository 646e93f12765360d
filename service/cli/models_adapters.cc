// blazon models adapters, load-adapter, unload-adapter: which adapters requests to a server can name.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "absl/strings/str_format.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

void PrintAdapter(const v1::Adapter& adapter) {
  std::cout << absl::StrFormat("%-26s rank %-4d %4d layers %9.1f MiB  %s%s\n", adapter.name(), adapter.rank(),
                               adapter.layers(), static_cast<double>(adapter.bytes()) / (1 << 20), adapter.source(),
                               adapter.is_default() ? "  (default)" : "");
}

// Prints a reply that holds one adapter.
template <typename Response>
int PrintOneAdapter(const absl::StatusOr<Response>& response, const Context& context) {
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
  } else {
    PrintAdapter(response->adapter());
  }
  return kDone;
}

int RunListAdapters(Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::ListAdaptersRequest request;
  do {
    absl::StatusOr<v1::ListAdaptersResponse> page = (*backend)->ListAdapters(request);
    if (!page.ok()) return Fail(page.status());
    request.set_page_token(page->next_page_token());
    if (context.json) {
      PrintJson(*page);
      continue;
    }
    for (const v1::Adapter& adapter : page->adapters()) PrintAdapter(adapter);
    if (!page->next_page_token().empty()) continue;
    for (const std::string& source : page->sources()) std::cout << "can be loaded: " << source << "\n";
  } while (!request.page_token().empty());
  return kDone;
}

int RunLoadAdapter(const v1::LoadAdapterRequest& request, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  return PrintOneAdapter((*backend)->LoadAdapter(request), context);
}

int RunUnloadAdapter(const v1::UnloadAdapterRequest& request, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  return PrintOneAdapter((*backend)->UnloadAdapter(request), context);
}

}  // namespace

void AddModelsAdapters(CLI::App& models, Context& context) {
  models.add_subcommand("adapters", "List the adapters that a server has loaded, and those that it could load")
      ->callback([&context] { context.run = [&context] { return RunListAdapters(context); }; });

  auto load = std::make_shared<v1::LoadAdapterRequest>();
  CLI::App* command = models.add_subcommand("load-adapter", "Load an adapter into a running server");
  command
      ->add_option_function<std::string>(
          "source", [load](const std::string& source) { load->set_source(source); },
          "The adapter's folder, relative to the server's --adapters folder")
      ->required()
      ->type_name("DIR");
  command
      ->add_option_function<std::string>(
          "--name", [load](const std::string& name) { load->set_name(name); },
          "What requests are to call it (default: the folder's name)")
      ->type_name("NAME");
  command->add_flag_function(
      "--replace", [load](int64_t) { load->set_replace(true); },
      "Exchange an adapter of this name that has other contents; requests that run go on with the old one");
  command->footer(R"(Examples:
  blazon serve --data ./data --adapters ./adapters
  blazon models load-adapter summaries --server 127.0.0.1:50051
  blazon generate --adapter summaries --server 127.0.0.1:50051 "The minutes of the meeting:"
  blazon models unload-adapter summaries --server 127.0.0.1:50051)");
  command->callback([&context, load] { context.run = [&context, load] { return RunLoadAdapter(*load, context); }; });

  auto unload = std::make_shared<v1::UnloadAdapterRequest>();
  command = models.add_subcommand("unload-adapter",
                                  "Unload an adapter from a running server; requests that run with it go on");
  command
      ->add_option_function<std::string>(
          "name", [unload](const std::string& name) { unload->set_name(name); }, "Its name")
      ->required()
      ->type_name("NAME");
  command->callback(
      [&context, unload] { context.run = [&context, unload] { return RunUnloadAdapter(*unload, context); }; });
}

}  // namespace blazon::service::cli
