#include "service/checkpoint/model_folder.h"

#include <ATen/TensorOperators.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_language_model.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/checkpoint/quoted.h"
#include "service/checkpoint/safetensors.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What a Hugging Face folder may have beside weights and config.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "vocab.txt",
                                           "tokenizer.model",
                                           "chat_template.jinja",
                                           "chat_template.json",
                                           "generation_config.json"};

absl::Status WriteJson(const fs::path& file, const json& value) {
  std::ofstream out(file, std::ios::trunc);
  out << value.dump(2, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace) << "\n";
  out.flush();
  if (!out) return absl::UnavailableError(absl::StrCat(file.string(), " cannot be written; is the disk full?"));
  return absl::OkStatus();
}

void SetFp32(json& config) {
  config.erase("torch_dtype");
  config.erase("quantization_config");
  config["dtype"] = "float32";
}

absl::Status CopyFolder(const fs::path& base, const fs::path& folder) {
  absl::StatusOr<json> config = ReadJsonFile(base / "config.json");
  if (!config.ok()) return config.status();
  SetFp32(*config);
  if (absl::Status status = WriteJson(folder / "config.json", *config); !status.ok()) return status;
  for (const char* name : kTokenizerFiles) {
    std::error_code error;
    if (!fs::exists(base / name, error)) continue;
    fs::copy_file(base / name, folder / name, fs::copy_options::overwrite_existing, error);
    if (error)
      return absl::UnavailableError(absl::StrCat((folder / name).string(), " cannot be written: ", error.message()));
  }
  return absl::OkStatus();
}

// tokenizer.json of the byte-level BPE in a GGUF.
absl::StatusOr<json> ByteLevelTokenizer(const GgufFile& file) {
  const auto model = file.String("tokenizer.ggml.model"), pre = file.String("tokenizer.ggml.pre");
  if (!model.ok()) return model.status();
  if (!pre.ok()) return pre.status();
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  json steps;
  if (*model == "gpt2" && *pre == "gpt-2") {
    steps = bytes;
  } else if (*model == "gpt2" && *pre == "smollm") {
    steps = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, bytes}}};
  } else {
    return absl::UnimplementedError(
        absl::StrCat("the tokenizer ", Quoted(*model), " with ", Quoted(*pre),
                     " is not turned into tokenizer.json; train from the model's Hugging Face folder"));
  }
  const auto tokens = file.Strings("tokenizer.ggml.tokens"), merges = file.Strings("tokenizer.ggml.merges");
  const auto types = file.Integers("tokenizer.ggml.token_type");
  if (!tokens.ok()) return tokens.status();
  if (!merges.ok()) return merges.status();
  if (!types.ok()) return types.status();
  json vocabulary = json::object(), added = json::array();
  for (size_t id = 0; id < tokens->size(); ++id) {
    const std::string token((*tokens)[id]);
    vocabulary[token] = id;
    const int64_t type = (*types)[id];
    if (type != 2 && type != 3 && type != 4) continue;  // unknown, control, of a user
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != 4}});
  }
  json pairs = json::array();
  for (const std::string_view merge : *merges) pairs.push_back(std::string(merge));
  return json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", std::move(added)},
              {"normalizer", nullptr},
              {"pre_tokenizer", std::move(steps)},
              {"post_processor", nullptr},
              {"decoder", bytes},
              {"model",
               {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", false},
                {"byte_fallback", false},
                {"ignore_merges", false},
                {"vocab", std::move(vocabulary)},
                {"merges", std::move(pairs)}}}};
}

absl::Status ConvertGguf(const fs::path& path, const fs::path& folder) {
  const absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<json> config = ReadGgufConfig(**file);
  if (!config.ok()) return config.status();
  const absl::StatusOr<json> tokenizer = ByteLevelTokenizer(**file);
  if (!tokenizer.ok()) {
    return absl::Status(tokenizer.status().code(), absl::StrCat(path.string(), ": ", tokenizer.status().message()));
  }
  const auto tokens = (*file)->Strings("tokenizer.ggml.tokens");
  json tokenizer_config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                           {"clean_up_tokenization_spaces", false},
                           {"model_max_length", config->value("max_position_embeddings", 1024)}};
  json generation = json::object();
  constexpr std::pair<const char*, const char*> kNamed[] = {{"bos", "tokenizer.ggml.bos_token_id"},
                                                            {"eos", "tokenizer.ggml.eos_token_id"},
                                                            {"unk", "tokenizer.ggml.unknown_token_id"},
                                                            {"pad", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, key] : kNamed) {
    const auto id = (*file)->Integer(key);
    if (!id.ok() || *id < 0 || *id >= std::ssize(*tokens)) continue;
    tokenizer_config[absl::StrCat(name, "_token")] = std::string((*tokens)[static_cast<size_t>(*id)]);
    if (std::string_view(name) == "unk") continue;
    generation[absl::StrCat(name, "_token_id")] = *id;
    (*config)[absl::StrCat(name, "_token_id")] = *id;
  }
  const auto adds_bos = (*file)->Bool("tokenizer.ggml.add_bos_token");
  if (adds_bos.ok()) tokenizer_config["add_bos_token"] = *adds_bos;
  const auto chat = (*file)->String("tokenizer.chat_template");
  if (chat.ok()) tokenizer_config["chat_template"] = std::string(*chat);
  SetFp32(*config);
  const std::pair<const char*, const json*> files[] = {{"config.json", &*config},
                                                       {"tokenizer.json", &*tokenizer},
                                                       {"tokenizer_config.json", &tokenizer_config},
                                                       {"generation_config.json", &generation}};
  for (const auto& [name, value] : files) {
    if (absl::Status status = WriteJson(folder / name, *value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteModelFolder(const fs::path& folder, const language::LanguageModel& model, const fs::path& base,
                              const std::map<std::string, std::string>& notes) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return absl::UnavailableError(absl::StrCat("the folder ", folder.string(), " cannot be made: ", error.message()));
  fs::path gguf = base;
  if (fs::is_directory(base, error)) {
    gguf.clear();
    if (!fs::exists(base / "config.json", error)) {
      absl::StatusOr<fs::path> found = FindGguf(base);
      if (!found.ok()) return found.status();
      gguf = *std::move(found);
    }
  }
  if (absl::Status status = gguf.empty() ? CopyFolder(base, folder) : ConvertGguf(gguf, folder); !status.ok())
    return status;
  TensorMap tensors;
  for (const language::Parameter& parameter : model.parameters()) {
    if (!parameter.tensor.defined())
      return absl::InvalidArgumentError(
          absl::StrCat("the weight ", parameter.name, " is quantised; load it with fp32"));
    at::Tensor tensor = parameter.tensor.detach();
    if (parameter.offset != 0.0) tensor = tensor - parameter.offset;
    tensors[parameter.checkpoint_name] = parameter.transposed ? tensor.t() : tensor;
  }
  std::map<std::string, std::string> metadata = notes;
  metadata["format"] = "pt";
  return WriteSafetensors(folder / "model.safetensors", tensors, metadata);
}

}  // namespace blazon::service
