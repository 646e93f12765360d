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

namespace blazon::service {
namespace {

using language::QuantizedTensor;
using language::StateDict;
using language::Weight;
using nlohmann::json;

// How GGUF's converter changed a tensor, to be undone.
enum class Change {
  kNone,
  kRotaryQueries,  // the two halves of each rotary head interleaved, row by row
  kRotaryKeys,
  kPlusOne,     // Gemma multiplies by 1 + weight; the file holds the sum
  kTransposed,  // GPT-2's Conv1D lies [inputs, outputs] in Hugging Face's files
  kFusedHeads,  // BLOOM's queries, keys and values, head by head there and apart here
};

struct TensorName {
  const char* gguf;
  const char* hugging_face;
  Change change = Change::kNone;
  bool optional = false;
};

struct Architecture {
  const char* model_type;
  std::vector<TensorName> whole;  // of the model
  std::vector<TensorName> layer;  // after "blk.I." and `layer_prefix`I.
  const char* layer_prefix;
};

constexpr bool kOptional = true;

std::vector<TensorName> LlamaWhole() {
  return {{"token_embd.weight", "model.embed_tokens.weight"},
          {"output_norm.weight", "model.norm.weight"},
          {"output.weight", "lm_head.weight", Change::kNone, kOptional}};
}

std::vector<TensorName> LlamaLayer(Change queries, Change keys) {
  return {{"attn_norm.weight", "input_layernorm.weight"},
          {"attn_q.weight", "self_attn.q_proj.weight", queries},
          {"attn_q.bias", "self_attn.q_proj.bias", queries, kOptional},
          {"attn_k.weight", "self_attn.k_proj.weight", keys},
          {"attn_k.bias", "self_attn.k_proj.bias", keys, kOptional},
          {"attn_v.weight", "self_attn.v_proj.weight"},
          {"attn_v.bias", "self_attn.v_proj.bias", Change::kNone, kOptional},
          {"attn_output.weight", "self_attn.o_proj.weight"},
          {"attn_output.bias", "self_attn.o_proj.bias", Change::kNone, kOptional},
          {"attn_q_norm.weight", "self_attn.q_norm.weight", Change::kNone, kOptional},
          {"attn_k_norm.weight", "self_attn.k_norm.weight", Change::kNone, kOptional},
          {"ffn_norm.weight", "post_attention_layernorm.weight"},
          {"ffn_gate.weight", "mlp.gate_proj.weight"},
          {"ffn_up.weight", "mlp.up_proj.weight"},
          {"ffn_down.weight", "mlp.down_proj.weight"}};
}

std::vector<TensorName> GemmaWhole() {
  std::vector<TensorName> names = LlamaWhole();
  names[1].change = Change::kPlusOne;
  return names;
}

std::vector<TensorName> GemmaLayer(int generation) {
  std::vector<TensorName> names = {
      {"attn_norm.weight", "input_layernorm.weight", Change::kPlusOne},
      {"attn_q.weight", "self_attn.q_proj.weight"},
      {"attn_k.weight", "self_attn.k_proj.weight"},
      {"attn_v.weight", "self_attn.v_proj.weight"},
      {"attn_output.weight", "self_attn.o_proj.weight"},
      {"ffn_gate.weight", "mlp.gate_proj.weight"},
      {"ffn_up.weight", "mlp.up_proj.weight"},
      {"ffn_down.weight", "mlp.down_proj.weight"},
      {"ffn_norm.weight", generation == 1 ? "post_attention_layernorm.weight" : "pre_feedforward_layernorm.weight",
       Change::kPlusOne}};
  if (generation >= 2) {
    names.push_back({"post_attention_norm.weight", "post_attention_layernorm.weight", Change::kPlusOne});
    names.push_back({"post_ffw_norm.weight", "post_feedforward_layernorm.weight", Change::kPlusOne});
  }
  if (generation >= 3) {
    names.push_back({"attn_q_norm.weight", "self_attn.q_norm.weight", Change::kPlusOne});
    names.push_back({"attn_k_norm.weight", "self_attn.k_norm.weight", Change::kPlusOne});
  }
  return names;
}

const std::map<std::string, Architecture>& Architectures() {
  static const auto& architectures = *new std::map<std::string, Architecture>{
      {"bloom",
       {"bloom",
        {{"token_embd.weight", "word_embeddings.weight"},
         {"token_embd_norm.weight", "word_embeddings_layernorm.weight"},
         {"token_embd_norm.bias", "word_embeddings_layernorm.bias"},
         {"output_norm.weight", "ln_f.weight"},
         {"output_norm.bias", "ln_f.bias"},
         {"output.weight", "lm_head.weight", Change::kNone, kOptional}},
        {{"attn_norm.weight", "input_layernorm.weight"},
         {"attn_norm.bias", "input_layernorm.bias"},
         {"attn_qkv.weight", "self_attention.query_key_value.weight", Change::kFusedHeads},
         {"attn_qkv.bias", "self_attention.query_key_value.bias", Change::kFusedHeads},
         {"attn_output.weight", "self_attention.dense.weight"},
         {"attn_output.bias", "self_attention.dense.bias"},
         {"ffn_norm.weight", "post_attention_layernorm.weight"},
         {"ffn_norm.bias", "post_attention_layernorm.bias"},
         {"ffn_up.weight", "mlp.dense_h_to_4h.weight"},
         {"ffn_up.bias", "mlp.dense_h_to_4h.bias"},
         {"ffn_down.weight", "mlp.dense_4h_to_h.weight"},
         {"ffn_down.bias", "mlp.dense_4h_to_h.bias"}},
        "h."}},
      {"gemma", {"gemma", GemmaWhole(), GemmaLayer(1), "model.layers."}},
      {"gemma2", {"gemma2", GemmaWhole(), GemmaLayer(2), "model.layers."}},
      {"gemma3", {"gemma3_text", GemmaWhole(), GemmaLayer(3), "model.layers."}},
      {"gpt2",
       {"gpt2",
        {{"token_embd.weight", "wte.weight"},
         {"position_embd.weight", "wpe.weight"},
         {"output_norm.weight", "ln_f.weight"},
         {"output_norm.bias", "ln_f.bias"},
         {"output.weight", "lm_head.weight", Change::kNone, kOptional}},
        {{"attn_norm.weight", "ln_1.weight"},
         {"attn_norm.bias", "ln_1.bias"},
         {"attn_qkv.weight", "attn.c_attn.weight", Change::kTransposed},
         {"attn_qkv.bias", "attn.c_attn.bias"},
         {"attn_output.weight", "attn.c_proj.weight", Change::kTransposed},
         {"attn_output.bias", "attn.c_proj.bias"},
         {"ffn_norm.weight", "ln_2.weight"},
         {"ffn_norm.bias", "ln_2.bias"},
         {"ffn_up.weight", "mlp.c_fc.weight", Change::kTransposed},
         {"ffn_up.bias", "mlp.c_fc.bias"},
         {"ffn_down.weight", "mlp.c_proj.weight", Change::kTransposed},
         {"ffn_down.bias", "mlp.c_proj.bias"}},
        "h."}},
      {"llama", {"llama", LlamaWhole(), LlamaLayer(Change::kRotaryQueries, Change::kRotaryKeys), "model.layers."}},
      {"qwen2", {"qwen2", LlamaWhole(), LlamaLayer(Change::kNone, Change::kNone), "model.layers."}},
      {"qwen3", {"qwen3", LlamaWhole(), LlamaLayer(Change::kNone, Change::kNone), "model.layers."}},
  };
  return architectures;
}

absl::Status Unsupported(const GgufFile& file, const std::string& what) {
  return absl::UnimplementedError(absl::StrCat(file.path().string(), ": ", what));
}
absl::Status Broken(const GgufFile& file, const std::string& what) {
  return absl::DataLossError(absl::StrCat(file.path().string(), ": ", what));
}

absl::StatusOr<const Architecture*> Find(const GgufFile& file, std::string* name) {
  const absl::StatusOr<std::string_view> architecture = file.String("general.architecture");
  if (!architecture.ok()) return Broken(file, std::string(architecture.status().message()));
  *name = std::string(*architecture);
  const auto found = Architectures().find(*name);
  if (found == Architectures().end()) {
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

absl::StatusOr<Weight> Undo(Weight weight, Change change, int64_t heads, int64_t key_heads) {
  switch (change) {
    case Change::kNone:
      return weight;
    case Change::kRotaryQueries:
    case Change::kRotaryKeys: {
      const int64_t count = change == Change::kRotaryQueries ? heads : key_heads;
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
    case Change::kPlusOne:
      return Weight(ToDense(weight).to(at::kFloat) - 1.0);
    case Change::kTransposed:  // quantised blocks cannot be turned: the model takes them as they are
      if (std::holds_alternative<QuantizedTensor>(weight)) return weight;
      return Weight(std::get<at::Tensor>(weight).t());
    case Change::kFusedHeads:
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
  for (const auto& [name, architecture] : Architectures()) names.push_back(name);
  return names;
}

absl::StatusOr<json> ReadGgufConfig(const GgufFile& file) {
  std::string name;
  const absl::StatusOr<const Architecture*> architecture = Find(file, &name);
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
  const absl::StatusOr<const Architecture*> architecture = Find(file, &name);
  if (!architecture.ok()) return architecture.status();
  const auto count = [&](const char* key, int64_t fallback) {
    return file.Integer(absl::StrCat(name, ".", key)).value_or(fallback);
  };
  const int64_t heads = count("attention.head_count", 0), key_heads = count("attention.head_count_kv", heads);

  StateDict weights;
  std::set<std::string, std::less<>> taken;
  const auto take = [&](const TensorName& entry, const std::string& from, const std::string& to) -> absl::Status {
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
  for (const TensorName& entry : (*architecture)->whole) {
    if (absl::Status status = take(entry, "", ""); !status.ok()) return status;
  }
  const int64_t layers = count("block_count", 0);
  for (int64_t i = 0; i < layers; ++i) {
    for (const TensorName& entry : (*architecture)->layer) {
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
