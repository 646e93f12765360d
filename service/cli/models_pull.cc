// blazon models pull: fetches a model from a hub into the hub's usual cache. The only command that asks other machines
// for anything unasked by --server.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/download_progress.h"
#include "service/cli/interrupt.h"
#include "service/hub/environment.h"
#include "service/hub/pull.h"
#include "service/hub/token.h"

namespace blazon::service::cli {
namespace {

constexpr char kDefaultEndpoint[] = "https://huggingface.co";

struct PullFlags {
  std::string model;
  std::string endpoint;
  int files_at_once = 4;
};

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void SayWhatItIs(const hub::HubModel& model) {
  std::cerr << absl::StrCat(model.repository, " at ", model.revision, ", commit ", model.commit, "\nlicence: ",
                            model.licence.empty() ? "none stated; ask its makers before you use it" : model.licence,
                            model.licence_link.empty() ? "" : absl::StrCat(", ", model.licence_link),
                            model.gated ? " (for those who accepted its terms)" : "", "\n");
}

nlohmann::json ToJson(const hub::PulledModel& pulled) {
  nlohmann::json files = nlohmann::json::array();
  int64_t bytes = 0, fetched = 0;
  for (const hub::PulledFile& file : pulled.files) {
    files.push_back({{"name", file.name},
                     {"bytes", file.bytes},
                     {"fetched_bytes", file.fetched_bytes},
                     {"path", file.path.string()}});
    bytes += file.bytes;
    fetched += file.fetched_bytes;
  }
  return {{"repository", pulled.model.repository},
          {"revision", pulled.model.revision},
          {"commit", pulled.model.commit},
          {"licence", pulled.model.licence},
          {"licence_link", pulled.model.licence_link},
          {"gated", pulled.model.gated},
          {"path", pulled.path.string()},
          {"bytes", bytes},
          {"fetched_bytes", fetched},
          {"files", files}};
}

int RunPull(const PullFlags& flags, const Context& context) {
  if (!context.server.empty()) {
    return Fail(absl::InvalidArgumentError("pull fetches onto this machine, not a server's; leave out --server"),
                kWrongUsage);
  }
  const absl::StatusOr<hub::ModelReference> reference = hub::ParseModelReference(flags.model);
  if (!reference.ok()) return Fail(reference.status(), kWrongUsage);
  if (hub::Environment(std::getenv).IsSwitchedOn("HF_HUB_OFFLINE")) {
    return Fail(absl::FailedPreconditionError(
        "HF_HUB_OFFLINE is set, so nothing is fetched; unset it, or use what the cache has with --model"));
  }
  std::string endpoint = flags.endpoint.empty() ? FromEnvironment("HF_ENDPOINT") : flags.endpoint;
  if (endpoint.empty()) endpoint = kDefaultEndpoint;
  const std::unique_ptr<hub::HttpClient> http = hub::MakeCurlClient(Interrupted);
  const absl::StatusOr<hub::HubToken> token = hub::FindToken(std::getenv);
  if (!token.ok()) return Fail(token.status());
  absl::StatusOr<hub::HubClient> client = hub::HubClient::Create(endpoint, *token, http.get());
  if (!client.ok()) return Fail(client.status(), kWrongUsage);
  const hub::Cache cache = hub::Cache::FromEnvironment(std::getenv);

  DownloadProgress progress;
  const auto note = [&](const std::string& text) {
    progress.Clear();
    std::cerr << absl::StrCat("blazon: ", text, "\n");
  };
  if (client->withholds_token()) note("the token is not sent: the hub is spoken to over plain http on another machine");
  hub::PullOptions options;
  options.interrupted = Interrupted;
  options.on_model = SayWhatItIs;
  options.on_plan = [](int64_t all, int64_t to_fetch) {
    std::cerr << absl::StrCat(ByteSize(all), ", of which ", ByteSize(to_fetch), " must be fetched\n");
  };
  options.on_progress = [&](const hub::PullProgress& at) { progress.Show(at.done, at.total, std::string(at.file)); };
  options.on_note = note;
  options.files_at_once = flags.files_at_once;
  options.connect = [] { return hub::MakeCurlClient(Interrupted); };
  const absl::StatusOr<hub::PulledModel> pulled = hub::Pull(*reference, *client, cache, options);
  progress.Clear();
  if (absl::IsCancelled(pulled.status())) {
    note("stopped; what was fetched is kept, and the same command goes on from there");
    return kInterrupted;
  }
  if (!pulled.ok()) return Fail(pulled.status());
  std::cout << (context.json ? ToJson(*pulled).dump() : pulled->path.string()) << "\n";
  return kDone;
}

}  // namespace

void AddModelsPull(CLI::App& models, Context& context) {
  auto flags = std::make_shared<PullFlags>();
  CLI::App* command = models.add_subcommand("pull", "Fetch a model from a hub into the hub's usual cache");
  command->add_option("model", flags->model, "What to fetch; without FILE all that a checkpoint needs")
      ->required()
      ->type_name("REPO[@REVISION][:FILE]");
  command
      ->add_option("--endpoint", flags->endpoint,
                   absl::StrCat("The hub's address (default: HF_ENDPOINT, or ", kDefaultEndpoint, ")"))
      ->type_name("URL");
  command->add_option("--parallel", flags->files_at_once, "Files that are fetched at once, 1 to 16")
      ->capture_default_str()
      ->check(CLI::Range(1, 16));
  command->footer(
      R"(Prints where the model lies. Afterwards its name is enough: --model REPO finds it without the network.
A token for models that need one is read from HF_TOKEN, or the file that HF_TOKEN_PATH names, or HF_HOME/token, as the
hub's Python client keeps it, and sent to the hub alone. The cache is where that client has it (HF_HUB_CACHE, HF_HOME,
~/.cache/huggingface/hub): what lies there is not fetched again. Interrupted or cut off, the same command goes on where
it ended.

Examples:
  blazon models pull HuggingFaceTB/SmolLM2-360M-Instruct
  blazon models pull openai-community/gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e
  blazon models pull ggml-org/gemma-3-270m-it-GGUF:gemma-3-270m-it-Q8_0.gguf
  blazon chat --model HuggingFaceTB/SmolLM2-360M-Instruct)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunPull(*flags, context); }; });
}

}  // namespace blazon::service::cli
