#include "service/checkpoint/embedder_loader.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "language/models/bert_embedder.h"
#include "language/models/cross_encoder.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/tokenizer_loader.h"
#include "service/checkpoint/weights_digest.h"

namespace blazon::service {
namespace {

using nlohmann::json;

absl::Status Refuse(const std::filesystem::path& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", what));
}

// An integer member of an object of config.json; 0 when it is missing or no integer, which the model then refuses by
// name.
int64_t Integer(const json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_number_integer() ? object[name].get<int64_t>()
                                                                                         : 0;
}

bool Is(const json& object, const char* name, const json& wanted, bool when_missing) {
  return object.is_object() && object.contains(name) ? object[name] == wanted : when_missing;
}

absl::StatusOr<language::BertConfig> ReadBertConfig(const std::filesystem::path& path) {
  absl::StatusOr<json> config = ReadJsonFile(path);
  if (!config.ok()) return config.status();
  if (!Is(*config, "model_type", "bert", false))
    return Refuse(
        path, absl::StrCat("model_type is ", config->value("model_type", json()).dump(), "; only \"bert\" is read"));
  if (!Is(*config, "hidden_act", "gelu", true))
    return Refuse(path, absl::StrCat("hidden_act is ", (*config)["hidden_act"].dump(), "; only \"gelu\" is read"));
  if (!Is(*config, "position_embedding_type", "absolute", true)) {
    return Refuse(path, absl::StrCat("position_embedding_type is ", (*config)["position_embedding_type"].dump(),
                                     "; only \"absolute\" is read"));
  }
  language::BertConfig result;
  result.width = Integer(*config, "hidden_size");
  result.layers = Integer(*config, "num_hidden_layers");
  result.heads = Integer(*config, "num_attention_heads");
  result.mlp_width = Integer(*config, "intermediate_size");
  result.vocabulary_size = Integer(*config, "vocab_size");
  result.max_positions = Integer(*config, "max_position_embeddings");
  if (config->contains("layer_norm_eps") && (*config)["layer_norm_eps"].is_number())
    result.norm_epsilon = (*config)["layer_norm_eps"];
  return result;
}

// Mean pooling, then L2 normalisation, and nothing else.
absl::Status CheckProcedure(const std::filesystem::path& folder) {
  const std::filesystem::path modules_path = folder / "modules.json",
                              pooling_path = folder / "1_Pooling" / "config.json";
  absl::StatusOr<json> modules = ReadJsonArrayFile(modules_path);
  if (!modules.ok()) return modules.status();
  std::string types;
  for (const json& module : *modules) {
    const json type = module.is_object() ? module.value("type", json()) : json();
    if (!type.is_string()) return Refuse(modules_path, "a module has no type");
    const std::string name = type.get<std::string>();
    absl::StrAppend(&types, types.empty() ? "" : ", ", name.substr(name.rfind('.') + 1));
  }
  if (types != "Transformer, Pooling, Normalize") {
    return Refuse(modules_path,
                  absl::StrCat("the procedure is \"", types, "\"; only \"Transformer, Pooling, Normalize\" is read"));
  }
  absl::StatusOr<json> pooling = ReadJsonFile(pooling_path);
  if (!pooling.ok()) return pooling.status();
  for (const auto& [name, value] : pooling->items()) {
    if (!absl::StartsWith(name, "pooling_mode_")) continue;
    if (value != json(name == "pooling_mode_mean_tokens")) {
      return Refuse(pooling_path,
                    absl::StrCat(name, " is ", value.dump(), "; only pooling by the mean of the tokens is read"));
    }
  }
  if (!Is(*pooling, "pooling_mode_mean_tokens", true, false))
    return Refuse(pooling_path, "pooling_mode_mean_tokens is not set");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<language::TextEmbedder>> LoadTextEmbedder(const std::filesystem::path& folder,
                                                                         at::Device device,
                                                                         language::EmbedderPrecision precision) {
  absl::StatusOr<language::BertConfig> config = ReadBertConfig(folder / "config.json");
  if (!config.ok()) return config.status();
  if (absl::Status status = CheckProcedure(folder); !status.ok()) return status;
  absl::StatusOr<json> limits = ReadJsonFile(folder / "sentence_bert_config.json");
  if (!limits.ok()) return limits.status();
  config->max_tokens = Integer(*limits, "max_seq_length");

  const std::filesystem::path weights_path = folder / "model.safetensors";
  absl::StatusOr<TensorMap> tensors = ReadSafetensors(weights_path);
  if (!tensors.ok()) return tensors.status();
  absl::StatusOr<std::string> digest = WeightsDigest({weights_path}).Get();
  if (!digest.ok()) return digest.status();
  config->weights_digest = *std::move(digest);
  auto tokenizer = LoadTokenizer(folder);
  if (!tokenizer.ok()) return tokenizer.status();

  const language::StateDict weights(tensors->begin(), tensors->end());
  auto embedder = language::BertEmbedder::Create(*config, weights, *std::move(tokenizer), device, precision);
  if (!embedder.ok())
    return absl::Status(embedder.status().code(),
                        absl::StrCat(folder.string(), ": ", std::string(embedder.status().message())));
  return std::unique_ptr<language::TextEmbedder>(*std::move(embedder));
}

absl::StatusOr<std::unique_ptr<language::PassageScorer>> LoadReranker(const std::filesystem::path& folder) {
  const std::filesystem::path config_path = folder / "config.json";
  absl::StatusOr<language::BertConfig> config = ReadBertConfig(config_path);
  if (!config.ok()) return config.status();
  const absl::StatusOr<json> raw = ReadJsonFile(config_path);
  if (!raw.ok()) return raw.status();
  const json architectures = raw->value("architectures", json::array());
  if (architectures != json::array({"BertForSequenceClassification"})) {
    return Refuse(config_path, absl::StrCat("architectures is ", architectures.dump(),
                                            "; a reranker is a BertForSequenceClassification"));
  }
  config->max_tokens = config->max_positions;
  absl::StatusOr<TensorMap> tensors = ReadSafetensors(folder / "model.safetensors");
  if (!tensors.ok()) return tensors.status();
  auto tokenizer = LoadTokenizer(folder);
  if (!tokenizer.ok()) return tokenizer.status();
  const language::StateDict weights(tensors->begin(), tensors->end());
  auto scorer = language::CrossEncoder::Create(*config, weights, *std::move(tokenizer));
  if (!scorer.ok())
    return absl::Status(scorer.status().code(),
                        absl::StrCat(folder.string(), ": ", std::string(scorer.status().message())));
  return std::unique_ptr<language::PassageScorer>(*std::move(scorer));
}

}  // namespace blazon::service
