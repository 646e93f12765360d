#include "service/checkpoint/gguf_export.h"

#include <ATen/ops/matmul.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/language_model.h"
#include "language/training/lora.h"
#include "service/checkpoint/adapter_folder.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_architectures.h"
#include "service/checkpoint/gguf_format.h"
#include "service/checkpoint/gguf_language_model.h"
#include "service/checkpoint/gguf_vocabulary.h"
#include "service/checkpoint/gguf_writer.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/checkpoint/mapped_file.h"
#include "service/checkpoint/quoted.h"
#include "service/checkpoint/tokenizer_json.h"

namespace blazon::service {
namespace {

using language::Parameter;
using nlohmann::json;

constexpr uint32_t kFileTypeF32 = 0, kFileTypeF16 = 1, kFileTypeQ8_0 = 7;  // "general.file_type"

// A model that is to be written, and where its other parts come from.
struct Source {
  std::filesystem::path path;      // the folder, or the file
  std::unique_ptr<GgufFile> gguf;  // null: a folder
  json config;                     // config.json, or what the GGUF says in its words
  json generation_config;          // an empty object when there is none
  LoadedLanguageModel loaded;      // in fp32
};

absl::StatusOr<Source> OpenSource(const std::filesystem::path& given) {
  std::error_code error;
  std::filesystem::path path = given;
  if (std::filesystem::is_directory(path, error) && !std::filesystem::exists(path / "config.json", error)) {
    absl::StatusOr<std::filesystem::path> file = FindGguf(path);
    if (!file.ok()) return file.status();
    path = *std::move(file);
  }
  std::unique_ptr<GgufFile> gguf;
  absl::StatusOr<json> config, generation_config = json::object();
  if (std::filesystem::is_directory(path, error)) {
    config = ReadJsonFile(path / "config.json");
    if (std::filesystem::exists(path / "generation_config.json", error))
      generation_config = ReadJsonFile(path / "generation_config.json");
  } else {
    absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
    if (!file.ok()) return file.status();
    gguf = *std::move(file);
    config = ReadGgufConfig(*gguf);
  }
  if (!config.ok()) return config.status();
  if (!generation_config.ok()) return generation_config.status();
  absl::StatusOr<LoadedLanguageModel> loaded = LoadLanguageModel(path, {.dtype = language::Dtype::kFp32});
  if (!loaded.ok()) return loaded.status();
  return Source{path, std::move(gguf), *std::move(config), *std::move(generation_config), *std::move(loaded)};
}

// Those whose every option GGUF and llama.cpp can express.
constexpr const char* kWritten[] = {"gpt2", "llama", "qwen2", "qwen3"};

absl::StatusOr<std::string> ArchitectureOf(const json& config) {
  const std::string type = config.value("model_type", "");
  if (type == "mistral") return "llama";  // whose name GGUF gives it
  if (std::find(std::begin(kWritten), std::end(kWritten), type) != std::end(kWritten)) return type;
  return absl::UnimplementedError(absl::StrCat("models of type ", Quoted(type),
                                               " are not written as GGUF; Blazon writes ",
                                               absl::StrJoin(kWritten, ", "), " and mistral"));
}

// What a config may ask for and llama.cpp would not do.
absl::Status CheckExpressible(ConfigReader& reader, const std::string& architecture, int64_t context) {
  if (architecture == "gpt2") {
    reader.Expect("activation_function", {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"});
    if (reader.Flag({"scale_attn_by_inverse_layer_idx"}, false) || !reader.Flag({"scale_attn_weights"}, true))
      reader.Refuse("GGUF has no word for how this GPT-2 scales its attention");
    return reader.status();
  }
  // Qwen's configs give a window that counts only when asked for.
  const bool qwen = architecture != "llama";
  if (reader.Has({"sliding_window"}) && (!qwen || reader.Flag({"use_sliding_window"}, false)) &&
      reader.Count({"sliding_window"}) < context)
    reader.Refuse("llama.cpp gives this architecture no attention window (sliding_window)");
  if (architecture == "qwen3" && reader.Flag({"attention_bias"}, false))
    reader.Refuse("llama.cpp gives this architecture no biases in attention (attention_bias)");
  if (const json* rope = reader.Find({"rope_parameters", "rope_scaling"}); rope != nullptr) {
    ConfigReader parameters(*rope);
    if (!rope->is_object() || parameters.Text({"rope_type", "type"}, "default") != "default")
      reader.Refuse("stretched rotary positions (rope_scaling) are not written as GGUF");
  }
  return reader.status();
}

// The shape of the model, in GGUF's words.
absl::Status WriteConfig(const json& config, const std::string& architecture,
                         const language::LanguageModelConfig& model, GgufWriter& writer) {
  ConfigReader reader(config);
  if (absl::Status status = CheckExpressible(reader, architecture, model.context_length); !status.ok()) return status;
  const auto key = [&](const char* name) { return absl::StrCat(architecture, ".", name); };
  const auto set = [&](const char* name, int64_t value) {
    writer.SetUnsigned(key(name), static_cast<uint32_t>(value));
  };
  const int64_t width = reader.Count({"hidden_size", "n_embd"});
  const int64_t heads = reader.Count({"num_attention_heads", "n_head"});
  set("context_length", model.context_length);
  set("embedding_length", width);
  set("block_count", reader.Count({"num_hidden_layers", "n_layer"}));
  set("feed_forward_length", reader.Count({"intermediate_size", "n_inner"}, 4 * width));
  set("attention.head_count", heads);
  set("attention.head_count_kv", reader.Count({"num_key_value_heads"}, heads));
  set("vocab_size", model.vocabulary_size);
  if (architecture == "gpt2") {
    writer.SetFloat(key("attention.layer_norm_epsilon"),
                    static_cast<float>(reader.Positive({"layer_norm_epsilon"}, 1e-5)));
    return reader.status();
  }
  const int64_t head_width = reader.Count({"head_dim"}, std::max<int64_t>(width / heads, 1));
  writer.SetFloat(key("attention.layer_norm_rms_epsilon"), static_cast<float>(reader.Positive({"rms_norm_eps"}, 1e-6)));
  set("attention.key_length", head_width);
  set("attention.value_length", head_width);
  set("rope.dimension_count", head_width);
  double theta = reader.Positive({"rope_theta"}, 10000.0);
  if (const json* rope = reader.Find({"rope_parameters"}); rope != nullptr)
    theta = ConfigReader(*rope).Positive({"rope_theta"}, theta);
  writer.SetFloat(key("rope.freq_base"), static_cast<float>(theta));
  return reader.status();
}

// What the converter does to a tensor; the inverse of what reading undoes. Matrices lie [outputs, inputs] in the model,
// as they do in the file.
at::Tensor Redo(const at::Tensor& values, GgufChange change, int64_t heads, int64_t key_heads) {
  if (change != GgufChange::kRotaryQueries && change != GgufChange::kRotaryKeys) return values;
  const int64_t count = change == GgufChange::kRotaryQueries ? heads : key_heads;
  return values.reshape({count, 2, values.size(0) / count / 2, -1})
      .transpose(1, 2)
      .reshape(values.sizes())
      .contiguous();
}

struct NamedTensor {
  std::string gguf;
  GgufChange change;
};

// GGUF's name of each of Hugging Face's.
std::map<std::string, NamedTensor> NamesOf(const GgufArchitecture& architecture, int64_t layers) {
  std::map<std::string, NamedTensor> names;
  for (const GgufTensorName& entry : architecture.whole) names[entry.hugging_face] = {entry.gguf, entry.change};
  for (int64_t i = 0; i < layers; ++i) {
    for (const GgufTensorName& entry : architecture.layer) {
      names[absl::StrCat(architecture.layer_prefix, i, ".", entry.hugging_face)] = {
          absl::StrCat("blk.", i, ".", entry.gguf), entry.change};
    }
  }
  return names;
}

uint32_t TypeOf(const Parameter& parameter, GgufEncoding encoding) {
  if (encoding == GgufEncoding::kF32 || parameter.tensor.dim() < 2) return gguf::kF32;
  const bool blocks = parameter.tensor.size(-1) % language::kQuantBlockValues == 0;
  return encoding == GgufEncoding::kQ8_0 && blocks ? gguf::kQ8_0 : gguf::kF16;
}

absl::Status AddTensors(const Source& source, const std::string& architecture, const language::Adapter* adapter,
                        GgufEncoding encoding, GgufWriter& writer) {
  const language::LanguageModel& model = *source.loaded.model;
  ConfigReader reader(source.config);
  const int64_t heads = reader.Count({"num_attention_heads", "n_head"});
  const int64_t key_heads = reader.Count({"num_key_value_heads"}, heads);
  if (!reader.status().ok()) return reader.status();
  const std::map<std::string, NamedTensor> names =
      NamesOf(GgufArchitectureTable().at(architecture), model.config().layers);
  for (const Parameter& parameter : model.parameters()) {
    auto found = names.find(parameter.name);
    if (found == names.end()) found = names.find(parameter.checkpoint_name);
    if (found == names.end()) {
      return absl::UnimplementedError(
          absl::StrCat("GGUF has no name for tensor ", Quoted(parameter.checkpoint_name), " of a ", architecture));
    }
    const language::LoraWeights* update = nullptr;
    if (adapter != nullptr && parameter.linear) {
      const auto module = adapter->modules.find(parameter.name.substr(0, parameter.name.rfind(".weight")));
      if (module != adapter->modules.end()) update = &module->second;
    }
    writer.AddTensor(found->second.gguf, TypeOf(parameter, encoding), parameter.tensor.sizes().vec(),
                     [&parameter, update, change = found->second.change, heads, key_heads] {
                       at::Tensor values = parameter.tensor.detach().to(at::kCPU, at::kFloat);
                       if (update != nullptr)
                         values =
                             values + at::matmul(update->b.to(at::kFloat), update->a.to(at::kFloat)) * update->scale;
                       return Redo(values, change, heads, key_heads);
                     });
  }
  return absl::OkStatus();
}

// The first of the ids that one of the configs gives for `name`.
std::optional<int64_t> TokenNamed(const Source& source, const char* name) {
  for (const json* config : {&source.generation_config, &source.config}) {
    const auto found = config->find(name);
    if (found == config->end()) continue;
    const json& id = found->is_array() && !found->empty() ? found->front() : *found;
    if (id.is_number_unsigned()) return id.get<int64_t>();
  }
  return std::nullopt;
}

absl::Status WriteTokenizer(const Source& source, GgufWriter& writer) {
  if (source.gguf != nullptr) return CopyGgufVocabulary(*source.gguf, writer);
  const absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(source.path / "tokenizer.json");
  if (!file.ok()) return file.status();
  const absl::StatusOr<language::TokenizerConfig> config =
      ReadTokenizerJson({reinterpret_cast<const char*>((*file)->bytes().data()), (*file)->bytes().size()});
  if (!config.ok()) return config.status();
  if (absl::Status status = WriteGgufVocabulary(*config, source.loaded.model->config().vocabulary_size, writer);
      !status.ok())
    return status;
  for (const auto& [key, name] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                  std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                  std::pair{"tokenizer.ggml.padding_token_id", "pad_token_id"}}) {
    if (const std::optional<int64_t> id = TokenNamed(source, name)) writer.SetUnsigned(key, static_cast<uint32_t>(*id));
  }
  const absl::StatusOr<std::string> jinja = ReadChatTemplateText(source.path);
  if (!jinja.ok()) return jinja.status();
  if (!jinja->empty()) writer.Set("tokenizer.chat_template", *jinja);
  return absl::OkStatus();
}

}  // namespace

absl::Status ExportGguf(const std::filesystem::path& path, const std::filesystem::path& file,
                        const GgufExportOptions& options) {
  std::error_code error;
  if (std::filesystem::exists(file, error))
    return absl::AlreadyExistsError(absl::StrCat(file.string(), " is there already; remove it, or give another name"));
  absl::StatusOr<Source> source = OpenSource(path);
  if (!source.ok()) return source.status();
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
  };
  std::shared_ptr<language::Adapter> adapter;
  if (!options.adapter.empty()) {
    absl::StatusOr<std::shared_ptr<language::Adapter>> read = ReadAdapter(options.adapter, *source->loaded.model);
    if (!read.ok()) return read.status();
    adapter = *std::move(read);
  }
  const absl::StatusOr<std::string> architecture = ArchitectureOf(source->config);
  if (!architecture.ok()) return named(architecture.status());

  GgufWriter writer;
  writer.Set("general.architecture", *architecture);
  writer.Set("general.name",
             adapter == nullptr ? source->loaded.name : absl::StrCat(source->loaded.name, " with ", adapter->name));
  writer.SetUnsigned("general.file_type", options.encoding == GgufEncoding::kF32   ? kFileTypeF32
                                          : options.encoding == GgufEncoding::kF16 ? kFileTypeF16
                                                                                   : kFileTypeQ8_0);
  if (options.encoding == GgufEncoding::kQ8_0) writer.SetUnsigned("general.quantization_version", 2);
  absl::Status status = WriteConfig(source->config, *architecture, source->loaded.model->config(), writer);
  if (status.ok()) status = WriteTokenizer(*source, writer);
  if (status.ok()) status = AddTensors(*source, *architecture, adapter.get(), options.encoding, writer);
  if (!status.ok()) return named(status);
  return writer.Write(file);
}

}  // namespace blazon::service
