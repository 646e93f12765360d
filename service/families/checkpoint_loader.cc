#include "service/families/checkpoint_loader.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/preprocessor_config.h"
#include "service/families/nanovlm.h"
#include "service/families/vision_language_models.h"
#include "vision/preprocessor.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The member `name`, a text; empty where there is none.
std::string TextMember(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// The template of the processor, which counts before the tokenizer's; empty: it has none of its own.
absl::StatusOr<std::string> ProcessorChatTemplate(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / "chat_template.jinja", error)) return std::string();  // found by LoadLanguageModel
  for (const char* name : {"chat_template.json", "processor_config.json"}) {
    if (!fs::exists(folder / name, error)) continue;
    const absl::StatusOr<json> file = ReadJsonFile(folder / name);
    if (!file.ok()) return file.status();
    if (std::string jinja = TextMember(*file, "chat_template"); !jinja.empty()) return jinja;
  }
  return std::string();
}

// The values of vlm_extra_tokens in the order of the file, which is that of their ids.
std::vector<std::string> ExtraTokens(const fs::path& config_file) {
  std::ifstream stream(config_file, std::ios::binary);
  const auto config = nlohmann::ordered_json::parse(stream, nullptr, /*allow_exceptions=*/false);
  std::vector<std::string> tokens;
  if (!config.is_object() || !config.contains("vlm_extra_tokens")) return tokens;
  for (const auto& [name, token] : config["vlm_extra_tokens"].items()) {
    if (token.is_string()) tokens.push_back(token.get<std::string>());
  }
  return tokens;
}

// Ids at which generation stops that the config of the language model's part names, and where nothing names any, the
// tokenizer's end of text.
absl::Status AddEndTokens(const json& config, const fs::path& tokenizer_folder, LoadedLanguageModel& loaded) {
  const auto add = [&](const json& ids) {
    for (const json& id : ids.is_array() ? ids : json::array({ids})) {
      if (!id.is_number_integer() || id < 0 || id >= loaded.tokenizer->vocabulary_size()) continue;
      const auto token = id.get<language::TokenId>();
      auto& ends = loaded.end_tokens;
      if (std::find(ends.begin(), ends.end(), token) == ends.end()) ends.push_back(token);
    }
  };
  const json text_config = config.value("text_config", json::object());
  if (config.value("model_type", json()) == "blip") {
    loaded.end_tokens.clear();  // its decoder ends at [SEP] alone
    add(text_config.is_object() ? text_config.value("sep_token_id", json(102)) : json(102));
  } else if (text_config.is_object()) {
    add(text_config.value("eos_token_id", json()));
  }
  std::error_code error;
  if (!loaded.end_tokens.empty() || !fs::exists(tokenizer_folder / "tokenizer_config.json", error)) {
    return absl::OkStatus();
  }
  const absl::StatusOr<json> file = ReadJsonFile(tokenizer_folder / "tokenizer_config.json");
  if (!file.ok()) return file.status();
  const json eos = file->value("eos_token", json());
  const std::string spelling = eos.is_object() ? TextMember(eos, "content") : TextMember(*file, "eos_token");
  if (const auto id = loaded.tokenizer->FindToken(spelling)) add(*id);
  return absl::OkStatus();
}

// The config of a vision-language model in `path`; nullopt: it is something else, or cannot be read.
std::optional<json> VisionLanguageConfig(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return std::nullopt;
  absl::StatusOr<json> config = ReadJsonFile(path / "config.json");
  if (!config.ok() || !IsVisionLanguageConfig(*config)) return std::nullopt;
  return *std::move(config);
}

}  // namespace

bool SeesPictures(const fs::path& path) { return VisionLanguageConfig(path).has_value(); }

absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const fs::path& path, const LanguageModelLoadOptions& options) {
  const std::optional<json> config = VisionLanguageConfig(path);
  if (!config) {
    absl::StatusOr<LoadedLanguageModel> text = LoadLanguageModel(path, options);
    if (!text.ok()) return text.status();
    return LoadedCheckpoint{*std::move(text), nullptr};
  }
  const absl::StatusOr<vision::PreprocessorConfig> pixels = ReadPreprocessorConfig(path);
  if (!pixels.ok()) return pixels.status();
  absl::StatusOr<vision::Preprocessor> preprocessor = vision::Preprocessor::Create(*pixels);
  if (!preprocessor.ok()) return preprocessor.status();

  const fs::path tokenizer_folder = options.tokenizer.empty() ? path : options.tokenizer;
  std::unique_ptr<const ImageTokenEncoder> images;
  ImageLayout layout;
  LanguageModelLoadOptions whole = options;
  whole.create = [&](const json& config, language::StateDict weights,
                     const language::Placement& placement) -> absl::StatusOr<std::unique_ptr<language::LanguageModel>> {
    absl::StatusOr<VisionLanguageModel> model = CreateVisionLanguageModel(config, weights, placement);
    if (!model.ok()) return model.status();
    images = std::move(model->images);
    layout = std::move(model->layout);
    return std::move(model->language);
  };
  if (IsNanoVlmConfig(*config)) {
    whole.control_tokens = ExtraTokens(path / "config.json");
    whole.chat_template = TextMember(*config, "lm_chat_template");
  } else {
    absl::StatusOr<std::string> jinja = ProcessorChatTemplate(tokenizer_folder);
    if (!jinja.ok()) return jinja.status();
    whole.chat_template = *std::move(jinja);
  }
  absl::StatusOr<LoadedLanguageModel> language = LoadLanguageModel(path, whole);
  if (!language.ok()) return language.status();
  if (absl::Status status = AddEndTokens(*config, tokenizer_folder, *language); !status.ok()) return status;
  auto family = CheckpointFamily::Create(std::move(images), std::move(layout), *std::move(preprocessor),
                                         *language->tokenizer, language->chat_template);
  if (!family.ok())
    return absl::Status(family.status().code(), absl::StrCat(path.string(), ": ", family.status().message()));
  return LoadedCheckpoint{*std::move(language), *std::move(family)};
}

}  // namespace blazon::service
