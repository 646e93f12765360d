#include "service/checkpoint/gguf_language_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/checkpoint/gguf_architectures.h"

namespace blazon::service {
namespace {

using language::QuantizedTensor;
using language::StateDict;
using language::Weight;
using nlohmann::json;

absl::Status Unsupported(const GgufFile& file, const std::string& what) {
  return absl::UnimplementedError(absl::StrCat(file.path().string(), ": ", what));
}
absl::Status Broken(const GgufFile& file, const std::string& what) {
  return absl::DataLossError(absl::StrCat(file.path().string(), ": ", what));
}

absl::StatusOr<const GgufArchitecture*> Find(const GgufFile& file, std::string* name) {
  const absl::StatusOr<std::string_view> architecture = file.String("general.architecture");
  if (!architecture.ok()) return Broken(file, std::string(architecture.status().message()));
  *name = std::string(*architecture);
  const auto found = GgufArchitectureTable().find(*name);
  if (found == GgufArchitectureTable().end()) {
    return Unsupported(file, absl::StrCat("architecture \"", absl::CHexEscape(*name), "\"; Blazon reads ",
                                          absl::StrJoin(GgufArchitectures(), ", ")));
  }
  return &found->second;
}

// Copies metadata under Hugging Face's keys; the family checks their range.
class ConfigWriter {
 public:
  ConfigWriter(const GgufFile& file, const std::string& architecture) : file_(file), prefix_(architecture + ".") {}

  bool Has(const std::string& key) const { return file_.Has(prefix_ + key); }

  // A value that every file has, or (required false) may have.
  void Integer(const std::string& key, const char* name, bool required = true) {
    if (!required && !Has(key)) return;
    const absl::StatusOr<int64_t> value = file_.Integer(prefix_ + key);
    if (!value.ok()) {
      status_.Update(Broken(file_, std::string(value.status().message())));
      return;
    }
    config[name] = *value;
  }
  void Number(const std::string& key, const char* name) {
    if (!Has(key)) return;
    const absl::StatusOr<double> value = file_.Number(prefix_ + key);
    if (!value.ok()) {
      status_.Update(Broken(file_, std::string(value.status().message())));
      return;
    }
    config[name] = *value;
  }
  // Refuses a file in which `key` differs from `expected`.
  void Expect(const std::string& key, int64_t expected, const std::string& what) {
    if (!Has(key) || !status_.ok()) return;
    const absl::StatusOr<int64_t> value = file_.Integer(prefix_ + key);
    if (!value.ok()) {
      status_.Update(Broken(file_, std::string(value.status().message())));
    } else if (*value != expected) {
      status_.Update(Unsupported(file_, absl::StrCat(prefix_, key, " is ", *value, ": ", what)));
    }
  }
  void RopeScaling() {
    const auto type = file_.String(prefix_ + "rope.scaling.type");
    if (!type.ok() || *type == "none") return;
    config["rope_scaling"] = {{"rope_type", absl::CHexEscape(std::string(*type))}};
    if (const auto factor = file_.Number(prefix_ + "rope.scaling.factor"); factor.ok()) {
      config["rope_scaling"]["factor"] = *factor;
    }
  }

  const absl::Status& status() const { return status_; }
  void Fail(absl::Status status) { status_.Update(std::move(status)); }

  json config = json::object();

 private:
  const GgufFile& file_;
  const std::string prefix_;
  absl::Status status_;
};

int64_t IntegerAt(const json& config, const char* name) {
  return config.contains(name) ? config[name].get<int64_t>() : 0;
}

// Moves whole rows: `order` gets and gives back a dense [rows, ...] tensor. Blocks stay quantised.
Weight MoveRows(Weight weight, const std::function<at::Tensor(const at::Tensor&)>& order) {
  if (QuantizedTensor* quantized = std::get_if<QuantizedTensor>(&weight)) {
    quantized->blocks = order(quantized->blocks);
  } else {
    weight = order(std::get<at::Tensor>(weight));
  }
  return weight;
}

int64_t Rows(const Weight& weight) {
  const auto* quantized = std::get_if<QuantizedTensor>(&weight);
  return quantized != nullptr ? quantized->rows : std::get<at::Tensor>(weight).size(0);
}

at::Tensor ToDense(const Weight& weight) {
  const auto* quantized = std::get_if<QuantizedTensor>(&weight);
  return quantized != nullptr ? language::Dequantize(*quantized) : std::get<at::Tensor>(weight);
}

absl::StatusOr<Weight> Undo(Weight weight, GgufChange change, int64_t heads, int64_t key_heads) {
  switch (change) {
    case GgufChange::kNone:
      return weight;
    case GgufChange::kRotaryQueries:
    case GgufChange::kRotaryKeys: {
      const int64_t count = change == GgufChange::kRotaryQueries ? heads : key_heads;
      if (count < 1 || Rows(weight) % (2 * count) != 0) {
        return absl::DataLossError(absl::StrCat(Rows(weight), " rows do not divide into ", count, " rotary heads"));
      }
      // Row 2 i + j of a head there is row j D/2 + i here.
      return MoveRows(std::move(weight), [count](const at::Tensor& rows) {
        return rows.reshape({count, rows.size(0) / count / 2, 2, -1})
            .transpose(1, 2)
            .reshape(rows.sizes())
            .contiguous();
      });
    }
    case GgufChange::kPlusOne:
      return Weight(ToDense(weight).to(at::kFloat) - 1.0);
    case GgufChange::kTransposed:  // quantised blocks cannot be turned: the model takes them as they are
      if (std::holds_alternative<QuantizedTensor>(weight)) return weight;
      return Weight(std::get<at::Tensor>(weight).t());
    case GgufChange::kFusedHeads:
      if (heads < 1 || Rows(weight) % (3 * heads) != 0) {
        return absl::DataLossError(absl::StrCat(Rows(weight), " rows do not divide into ", heads, " heads"));
      }
      return MoveRows(std::move(weight), [heads](const at::Tensor& rows) {
        return rows.reshape({3, heads, rows.size(0) / heads / 3, -1})
            .transpose(0, 1)
            .reshape(rows.sizes())
            .contiguous();
      });
  }
  return weight;
}

}  // namespace

std::vector<std::string> GgufArchitectures() {
  std::vector<std::string> names;
  for (const auto& [name, architecture] : GgufArchitectureTable()) names.push_back(name);
  return names;
}

absl::StatusOr<json> ReadGgufConfig(const GgufFile& file) {
  std::string name;
  const absl::StatusOr<const GgufArchitecture*> architecture = Find(file, &name);
  if (!architecture.ok()) return architecture.status();
  ConfigWriter writer(file, name);
  writer.Integer("embedding_length", "hidden_size");
  writer.Integer("block_count", "num_hidden_layers");
  writer.Integer("attention.head_count", "num_attention_heads");
  writer.Integer("attention.head_count_kv", "num_key_value_heads", /*required=*/false);
  writer.Integer("feed_forward_length", "intermediate_size");
  writer.Integer("context_length", "max_position_embeddings");
  writer.Integer("attention.key_length", "head_dim", /*required=*/false);
  writer.Integer("attention.sliding_window", "sliding_window", /*required=*/false);
  writer.Number("attention.layer_norm_rms_epsilon", "rms_norm_eps");
  writer.Number("attention.layer_norm_epsilon", "layer_norm_epsilon");
  writer.Number("rope.freq_base", "rope_theta");
  writer.Number("attn_logit_softcapping", "attn_logit_softcapping");
  writer.Number("final_logit_softcapping", "final_logit_softcapping");
  writer.Expect("expert_count", 0, "mixtures of experts are not computed");
  writer.RopeScaling();
  json& config = writer.config;
  config["model_type"] = (*architecture)->model_type;
  config["tie_word_embeddings"] = !file.HasTensor("output.weight");
  const GgufTensorInfo* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr) return Broken(file, "no tensor \"token_embd.weight\"");
  config["vocab_size"] = embedding->shape[0];
  writer.Expect("vocab_size", embedding->shape[0],
                absl::StrCat("token_embd.weight has ", embedding->shape[0], " rows"));

  const int64_t width = IntegerAt(config, "hidden_size"), heads = IntegerAt(config, "num_attention_heads");
  int64_t head_width = IntegerAt(config, "head_dim");
  if (head_width == 0 && heads > 0) head_width = width / heads;
  if (writer.status().ok() && !config.contains("head_dim") && heads > 0) {
    if (width % heads != 0) return Broken(file, absl::StrCat(width, " values do not divide into ", heads, " heads"));
    config["head_dim"] = head_width;
  }
  writer.Expect("attention.value_length", head_width,
                absl::StrCat("keys are ", head_width, " wide, values must be too"));
  writer.Expect("rope.dimension_count", head_width,
                absl::StrCat("Blazon turns all ", head_width, " channels of a head"));
  if (name == "gpt2") config["n_inner"] = config["intermediate_size"];
  if (name == "bloom") config["seq_length"] = config["max_position_embeddings"];
  if (name == "qwen2" || name == "qwen3") config.erase("sliding_window");
  if (name == "llama" && config.contains("sliding_window")) config["model_type"] = "mistral";
  if (name == "llama" && file.HasTensor("blk.0.attn_q.bias")) config["attention_bias"] = true;
  if (name == "gemma2" || name == "gemma3") {
    // The file does not say by what scores are divided: by the root of a head's width, but in the 27B models.
    const int64_t layers = IntegerAt(config, "num_hidden_layers");
    const bool largest = (name == "gemma2" && layers == 46) || (name == "gemma3" && layers == 62);
    config["query_pre_attn_scalar"] = largest ? width / std::max<int64_t>(1, heads) : head_width;
  }
  if (!writer.status().ok()) return writer.status();
  return config;
}

namespace {

// read: gives one tensor of the file.
absl::StatusOr<StateDict> ReadTensors(const GgufFile& file,
                                      const std::function<absl::StatusOr<Weight>(const GgufTensorInfo& tensor)>& read) {
  std::string name;
  const absl::StatusOr<const GgufArchitecture*> architecture = Find(file, &name);
  if (!architecture.ok()) return architecture.status();
  const auto count = [&](const char* key, int64_t fallback) {
    return file.Integer(absl::StrCat(name, ".", key)).value_or(fallback);
  };
  const int64_t heads = count("attention.head_count", 0), key_heads = count("attention.head_count_kv", heads);

  StateDict weights;
  std::set<std::string, std::less<>> taken;
  const auto take = [&](const GgufTensorName& entry, const std::string& from, const std::string& to) -> absl::Status {
    const std::string gguf_name = from + entry.gguf;
    if (!file.HasTensor(gguf_name)) {
      return entry.optional ? absl::OkStatus() : Broken(file, absl::StrCat("no tensor \"", gguf_name, "\""));
    }
    absl::StatusOr<Weight> weight = read(*file.FindTensor(gguf_name));
    if (!weight.ok()) return weight.status();
    weight = Undo(*std::move(weight), entry.change, heads, key_heads);
    if (!weight.ok()) return Broken(file, absl::StrCat("tensor ", gguf_name, ": ", weight.status().message()));
    taken.insert(gguf_name);
    weights[to + entry.hugging_face] = *std::move(weight);
    return absl::OkStatus();
  };
  for (const GgufTensorName& entry : (*architecture)->whole) {
    if (absl::Status status = take(entry, "", ""); !status.ok()) return status;
  }
  const int64_t layers = count("block_count", 0);
  for (int64_t i = 0; i < layers; ++i) {
    for (const GgufTensorName& entry : (*architecture)->layer) {
      absl::Status status =
          take(entry, absl::StrCat("blk.", i, "."), absl::StrCat((*architecture)->layer_prefix, i, "."));
      if (!status.ok()) return status;
    }
  }
  // Llama 3's stretched rotation, as one divisor for each frequency.
  if (name == "llama" && file.HasTensor("rope_freqs.weight")) {
    if (absl::Status status = take({"rope_freqs.weight", "rope_freqs.weight"}, "", ""); !status.ok()) return status;
  }
  for (const GgufTensorInfo& tensor : file.tensors()) {
    if (!taken.contains(tensor.name)) {
      return Broken(file, absl::StrCat("unknown tensor ", absl::CHexEscape(std::string(tensor.name)), " of type ",
                                       GgufTypeName(tensor.type)));
    }
  }
  return weights;
}

}  // namespace

absl::StatusOr<StateDict> ReadGgufWeights(const GgufFile& file) {
  return ReadTensors(file, [&file](const GgufTensorInfo& tensor) { return file.Tensor(tensor.name); });
}

absl::StatusOr<StateDict> ReadGgufShapes(const GgufFile& file) {
  return ReadTensors(file, [](const GgufTensorInfo& tensor) -> absl::StatusOr<Weight> {
    return at::empty(tensor.shape, at::TensorOptions().device(at::kMeta).dtype(at::kFloat));
  });
}

}  // namespace blazon::service
