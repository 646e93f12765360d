#include "service/checkpoint/language_model_loader.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/checkpoint/checkpoint_folder.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_language_model.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/language_families.h"
#include "service/checkpoint/mapped_file.h"
#include "service/checkpoint/tokenizer_loader.h"

namespace blazon::service {
namespace {

using language::Dtype;
using language::QuantFormat;
using nlohmann::json;

absl::Status AtPath(const std::filesystem::path& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
}

// The format that most matrices of the file have, or the dense type that was asked for.
std::string FormatName(const language::StateDict& weights, Dtype dtype, at::Device device) {
  if (dtype == Dtype::kFp32) return "fp32";
  if (dtype == Dtype::kBf16) return "bf16";
  if (dtype == Dtype::kFp16) return "fp16";
  if (!device.is_cpu()) return "fp32";
  std::map<QuantFormat, int> count;
  for (const auto& [name, weight] : weights) {
    if (const auto* quantised = std::get_if<language::QuantizedTensor>(&weight)) ++count[quantised->format];
  }
  if (count.empty()) return "fp32";
  const auto most =
      std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  switch (most->first) {
    case QuantFormat::kQ4_0:
      return "Q4_0";
    case QuantFormat::kQ4_1:
      return "Q4_1";
    case QuantFormat::kQ8_0:
      return "Q8_0";
  }
  return "unknown";
}

// Ids at which generation stops, each once; those outside the vocabulary are left out.
class EndTokens {
 public:
  explicit EndTokens(const language::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void Add(std::optional<int64_t> id) {
    if (!id || *id < 0 || *id >= tokenizer_.vocabulary_size()) return;
    const auto token = static_cast<language::TokenId>(*id);
    if (std::find(ids_.begin(), ids_.end(), token) == ids_.end()) ids_.push_back(token);
  }
  // A number or a list of them; anything else is left out.
  void Add(const json& ids) {
    if (ids.is_number_integer()) Add(std::optional(ids.get<int64_t>()));
    if (!ids.is_array()) return;
    for (const json& id : ids) {
      if (id.is_number_integer()) Add(std::optional(id.get<int64_t>()));
    }
  }
  // That ends the assistant's turn.
  void Add(const absl::StatusOr<language::ChatTemplate>& chat) {
    if (chat.ok()) Add(chat->EndOfTurn(tokenizer_));
  }
  std::vector<language::TokenId> Take() { return std::move(ids_); }

 private:
  const language::Tokenizer& tokenizer_;
  std::vector<language::TokenId> ids_;
};

absl::Status CheckVocabulary(const language::Tokenizer& tokenizer, const language::LanguageModel& model) {
  if (tokenizer.vocabulary_size() <= model.config().vocabulary_size) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the tokenizer has ", tokenizer.vocabulary_size(),
                                          " tokens, more than the embedding's ", model.config().vocabulary_size,
                                          " rows"));
}

absl::Status NoChatTemplate(const std::string& name) {
  return absl::FailedPreconditionError(absl::StrCat(
      name, " has no chat template: it was made to write on from a text. Give it a prompt, not a message."));
}

// ---- GGUF.

// The special tokens that chat templates know by name.
language::ChatTemplateTokens NamedTokens(const GgufFile& file, const language::Tokenizer& tokenizer) {
  constexpr std::pair<const char*, const char*> kNames[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                            {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                            {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                                            {"pad_token", "tokenizer.ggml.padding_token_id"}};
  language::ChatTemplateTokens tokens;
  for (const auto& [name, key] : kNames) {
    const auto id = file.Integer(key);
    if (!id.ok() || *id < 0 || *id >= tokenizer.vocabulary_size()) continue;
    tokens.emplace_back(name, tokenizer.TokenBytes(static_cast<language::TokenId>(*id)));
  }
  return tokens;
}

absl::StatusOr<LoadedLanguageModel> LoadGguf(const std::filesystem::path& path,
                                             const LanguageModelLoadOptions& options) {
  absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<json> config = ReadGgufConfig(**file);
  if (!config.ok()) return config.status();
  absl::StatusOr<language::StateDict> weights = ReadGgufWeights(**file);
  if (!weights.ok()) return weights.status();
  const WeightsDigest digest({path});
  const std::string format = FormatName(*weights, options.dtype, options.device);
  auto tokenizer = options.tokenizer.empty() ? LoadGgufTokenizer(**file) : LoadTokenizer(options.tokenizer);
  if (!tokenizer.ok()) return tokenizer.status();
  auto model = CreateLanguageModel(*config, *std::move(weights), {options.dtype, options.device});
  if (!model.ok()) return AtPath(path, model.status());
  if (absl::Status status = CheckVocabulary(**tokenizer, **model); !status.ok()) return AtPath(path, status);
  const auto general_name = (*file)->String("general.name");
  const std::string name =
      general_name.ok() && !general_name->empty() ? std::string(*general_name) : path.stem().string();
  const auto jinja = (*file)->String("tokenizer.chat_template");
  absl::StatusOr<language::ChatTemplate> chat =
      jinja.ok() ? language::ChatTemplate::Parse(*jinja, NamedTokens(**file, **tokenizer)) : NoChatTemplate(name);
  EndTokens ends(**tokenizer);
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (const auto id = (*file)->Integer(key); id.ok()) ends.Add(std::optional(*id));
  }
  ends.Add(chat);
  ends.Add((*tokenizer)->FindToken("<|endoftext|>"));
  return LoadedLanguageModel{.model = *std::move(model),
                             .tokenizer = *std::move(tokenizer),
                             .chat_template = std::move(chat),
                             .end_tokens = ends.Take(),
                             .name = name,
                             .digest = digest,
                             .format = format};
}

// ---- A Hugging Face folder.

// A special token as tokenizer_config.json spells it: a text, or an object that has it as "content".
std::string Spelling(const json& token) {
  if (token.is_string()) return token.get<std::string>();
  const auto content = token.is_object() ? token.find("content") : token.end();
  return token.is_object() && content != token.end() && content->is_string() ? content->get<std::string>() : "";
}

// Every "..._token" of tokenizer_config.json.
language::ChatTemplateTokens NamedTokens(const json& tokenizer_config) {
  language::ChatTemplateTokens tokens;
  for (const auto& [key, value] : tokenizer_config.items()) {
    const std::string spelling = key.ends_with("_token") ? Spelling(value) : "";
    if (!spelling.empty()) tokens.emplace_back(key, spelling);
  }
  return tokens;
}

// A text, or a list of named ones of which "default" counts; empty: none.
std::string DefaultTemplate(const json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return "";
  for (const json& each : *found) {
    if (each.is_object() && each.value("name", json()) == "default" && each.contains("template") &&
        each["template"].is_string()) {
      return each["template"].get<std::string>();
    }
  }
  return "";
}

// chat_template.jinja, or what tokenizer_config.json or chat_template.json hold; empty: none of them does.
absl::StatusOr<std::string> FindChatTemplate(const std::filesystem::path& folder, const json& tokenizer_config) {
  std::error_code error;
  if (std::filesystem::exists(folder / "chat_template.jinja", error)) {
    const auto file = MappedFile::Open(folder / "chat_template.jinja");
    if (!file.ok()) return file.status();
    return std::string(reinterpret_cast<const char*>((*file)->bytes().data()), (*file)->bytes().size());
  }
  std::string jinja = DefaultTemplate(tokenizer_config);
  if (!jinja.empty() || !std::filesystem::exists(folder / "chat_template.json", error)) return jinja;
  const absl::StatusOr<json> read = ReadJsonFile(folder / "chat_template.json");
  if (!read.ok()) return read.status();
  return DefaultTemplate(*read);
}

// tokenizer_config.json; an empty object when there is none.
absl::StatusOr<json> ReadTokenizerConfig(const std::filesystem::path& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder / "tokenizer_config.json", error)) return json::object();
  return ReadJsonFile(folder / "tokenizer_config.json");
}

// given: the template; empty: what FindChatTemplate finds.
absl::StatusOr<language::ChatTemplate> ReadChatTemplate(const std::filesystem::path& folder, const std::string& given) {
  const absl::StatusOr<json> config = ReadTokenizerConfig(folder);
  if (!config.ok()) return config.status();
  const absl::StatusOr<std::string> jinja = given.empty() ? FindChatTemplate(folder, *config) : given;
  if (!jinja.ok()) return jinja.status();
  if (jinja->empty()) return NoChatTemplate(folder.string());
  auto chat = language::ChatTemplate::Parse(*jinja, NamedTokens(*config));
  if (!chat.ok()) return AtPath(folder, chat.status());
  return chat;
}

absl::StatusOr<LoadedLanguageModel> LoadFolder(const std::filesystem::path& path,
                                               const LanguageModelLoadOptions& options) {
  absl::StatusOr<CheckpointFolder> folder = ReadCheckpointFolder(path);
  if (!folder.ok()) return folder.status();
  const WeightsDigest digest(folder->weight_files);
  const std::string format = FormatName(folder->weights, options.dtype, options.device);
  auto model = options.create
                   ? options.create(folder->config, std::move(folder->weights), {options.dtype, options.device})
                   : CreateLanguageModel(folder->config, std::move(folder->weights), {options.dtype, options.device});
  if (!model.ok()) return AtPath(path, model.status());
  const std::filesystem::path tokenizer_folder = options.tokenizer.empty() ? path : options.tokenizer;
  auto tokenizer = LoadTokenizer(tokenizer_folder, options.control_tokens);
  if (!tokenizer.ok()) return tokenizer.status();
  // Beside pictures a token that stands for one may lie behind the embedding: it is never read as a word.
  if (!options.create) {
    if (absl::Status status = CheckVocabulary(**tokenizer, **model); !status.ok()) return AtPath(path, status);
  }
  absl::StatusOr<language::ChatTemplate> chat = ReadChatTemplate(tokenizer_folder, options.chat_template);
  EndTokens ends(**tokenizer);
  for (const json* config : {&folder->generation_config, &folder->config}) {
    if (const auto found = config->find("eos_token_id"); found != config->end()) ends.Add(*found);
  }
  ends.Add(chat);
  return LoadedLanguageModel{.model = *std::move(model),
                             .tokenizer = *std::move(tokenizer),
                             .chat_template = std::move(chat),
                             .end_tokens = ends.Take(),
                             .name = std::filesystem::absolute(path / ".").parent_path().filename().string(),
                             .digest = digest,
                             .format = format};
}

// Whether the processor multiplies bf16 itself; without it LibTorch's bf16 products are about 100 times slower than
// fp32 ones.
bool MultipliesBf16() {
#if defined(__x86_64__)
  unsigned int a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & (1u << 22)) != 0) return true;  // AMX-BF16
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 5)) != 0;             // AVX512-BF16
#else
  return true;  // nothing is known against it
#endif
}

}  // namespace

absl::StatusOr<std::string> ReadChatTemplateText(const std::filesystem::path& folder) {
  const absl::StatusOr<json> config = ReadTokenizerConfig(folder);
  if (!config.ok()) return config.status();
  return FindChatTemplate(folder, *config);
}

absl::StatusOr<Dtype> ParseDtype(std::string_view name) {
  if (name == "auto") return Dtype::kAuto;
  if (name == "fp32") return Dtype::kFp32;
  if (name == "bf16") return Dtype::kBf16;
  if (name == "fp16") return Dtype::kFp16;
  return absl::InvalidArgumentError(
      absl::StrCat("dtype \"", std::string(name), "\" is unknown; use auto, fp32, bf16 or fp16"));
}

absl::StatusOr<std::filesystem::path> FindGguf(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".gguf") names.push_back(entry.path().filename().string());
  }
  if (names.empty()) return absl::NotFoundError(absl::StrCat(folder.string(), " has no GGUF file"));
  std::sort(names.begin(), names.end());
  if (names.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder.string(), " has several GGUF files; name one of ", absl::StrJoin(names, ", ")));
  }
  return folder / names[0];
}

absl::StatusOr<LoadedLanguageModel> LoadLanguageModel(const std::filesystem::path& path,
                                                      const LanguageModelLoadOptions& options) {
  std::error_code error;
  absl::StatusOr<LoadedLanguageModel> loaded;
  if (!std::filesystem::is_directory(path, error)) {
    loaded = LoadGguf(path, options);
  } else if (std::filesystem::exists(path / "config.json", error)) {
    loaded = LoadFolder(path, options);
  } else {
    const absl::StatusOr<std::filesystem::path> gguf = FindGguf(path);
    if (!gguf.ok()) {
      return absl::Status(gguf.status().code(),
                          absl::StrCat(gguf.status().message(), " and no config.json: it is no checkpoint"));
    }
    loaded = LoadGguf(*gguf, options);
  }
  if (loaded.ok() && options.dtype == Dtype::kBf16 && options.device.is_cpu() && !MultipliesBf16()) {
    loaded->warning =
        "this processor has no bf16 arithmetic; bf16 will be about 100 times slower than fp32. Use dtype auto or fp32.";
  }
  return loaded;
}

}  // namespace blazon::service
