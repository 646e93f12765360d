#include "service/cli/context.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "service/hub/cache.h"
#include "service/rpc/convert.h"

namespace blazon::service::cli {

absl::Status Context::CheckOptions() const {
  if (server.empty()) return absl::OkStatus();
  const ModelStoreOptions defaults;
  if (!models.models_folder.empty() || !models.language_model.empty() || !models.tokenizer.empty() ||
      (!models.adapter.empty() && !names_adapter) || !models.assets_folder.empty() || models.dtype != defaults.dtype ||
      models.device != defaults.device || models.threads != defaults.threads) {
    return absl::InvalidArgumentError(
        "--models, --assets, --model, --adapter, --tokenizer, --dtype, --device and --threads are the server's to "
        "choose: give them to 'blazon serve', or leave out --server. (generate, chat and score take the name of an "
        "adapter that the server has loaded.)");
  }
  if (!reranker.empty()) {
    return absl::InvalidArgumentError(
        "--reranker is the server's to choose: give it to 'blazon serve', and ask for it here with --rerank");
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelStore*> Context::OpenModels() {
  if (store_ == nullptr) {
    absl::StatusOr<std::filesystem::path> model =
        hub::FindModel(models.language_model, hub::Cache::FromEnvironment(std::getenv));
    if (!model.ok()) return model.status();
    // A folder of the hub's cache is named after a commit.
    if (*model != models.language_model) models.language_name = models.language_model.string();
    models.language_model = *std::move(model);
    absl::StatusOr<std::unique_ptr<ModelStore>> store = ModelStore::Open(models);
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
  }
  return store_.get();
}

absl::StatusOr<Backend*> Context::OpenBackend() {
  if (backend_ != nullptr) return backend_.get();
  if (!server.empty()) {
    backend_ = MakeRemoteBackend(server);
  } else {
    absl::StatusOr<ModelStore*> store = OpenModels();
    if (!store.ok()) return store.status();
    std::unique_ptr<Reranker> opened;
    if (!reranker.empty()) {
      absl::StatusOr<std::unique_ptr<Reranker>> made = Reranker::Open(reranker);
      if (!made.ok()) return made.status();
      opened = *std::move(made);
    }
    backend_ = MakeLocalBackend(**store, std::move(opened));
  }
  return backend_.get();
}

int Fail(const absl::Status& status, int exit_status) {
  std::cout.flush();
  std::cerr << absl::StrCat("blazon: ", status.message(), "\n");
  return exit_status;
}

void PrintJson(const google::protobuf::Message& message) { std::cout << rpc::ToJson(message) << std::endl; }

void PrintJson(std::string_view field, std::string_view value, const google::protobuf::Message& message) {
  const std::string json = rpc::ToJson(message);  // "{...}"
  const auto quote = [](std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  std::cout << "{" << quote(field) << ":" << quote(value) << (json == "{}" ? "" : ",") << json.substr(1) << std::endl;
}

std::string Citation(const v1::ScoredChunk& chunk, int32_t line) {
  return chunk.place().empty() ? absl::StrCat(chunk.path(), ":", line) : absl::StrCat(chunk.path(), "#", chunk.place());
}

bool OutputIsTerminal() { return isatty(STDOUT_FILENO) == 1; }
bool ErrorIsTerminal() { return isatty(STDERR_FILENO) == 1; }

}  // namespace blazon::service::cli
