#include "service/checkpoint/gguf_llama.h"

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::service {
namespace {

using language::QuantizedTensor;
using language::Weight;

constexpr int64_t kMaxCount = int64_t{1} << 24;  // far beyond any model; keeps products within 64 bits

// GGUF's converter stores the two halves of each rotary head interleaved: row 2 i + j of a head is row j D/2 + i here.
// Whole rows move, so quantised blocks stay as they are.
Weight UnpermuteRows(Weight weight, int64_t heads) {
  const auto unpermute = [heads](const at::Tensor& rows) {  // [H D, ...]
    const std::vector<int64_t> tail(rows.sizes().begin() + 1, rows.sizes().end());
    const int64_t head_width = rows.size(0) / heads;
    return rows.reshape({heads, head_width / 2, 2, -1}).transpose(1, 2).reshape(rows.sizes()).contiguous();
  };
  if (QuantizedTensor* quantized = std::get_if<QuantizedTensor>(&weight)) {
    quantized->blocks = unpermute(quantized->blocks);
  } else {
    weight = unpermute(std::get<at::Tensor>(weight));
  }
  return weight;
}

std::vector<int64_t> Shape(const Weight& weight) {
  if (const QuantizedTensor* quantized = std::get_if<QuantizedTensor>(&weight))
    return {quantized->rows, quantized->columns};
  return std::get<at::Tensor>(weight).sizes().vec();
}

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  absl::StatusOr<GgufLlama> Read() {
    if (absl::Status status = ReadConfig(); !status.ok()) return status;
    if (absl::Status status = ReadWeights(); !status.ok()) return status;
    return std::move(llama_);
  }

 private:
  absl::Status Unsupported(const std::string& what) const {
    return absl::UnimplementedError(absl::StrCat(file_.path().string(), ": ", what));
  }
  absl::Status Broken(const std::string& what) const {
    return absl::DataLossError(absl::StrCat(file_.path().string(), ": ", what));
  }

  // A count in 1 .. kMaxCount under "llama."; `fallback` stands in for a missing key.
  absl::Status Count(const std::string& key, int64_t* value, int64_t fallback = 0) const {
    const std::string full_key = absl::StrCat("llama.", key);
    if (fallback > 0 && !file_.Has(full_key)) {
      *value = fallback;
      return absl::OkStatus();
    }
    const absl::StatusOr<int64_t> read = file_.Integer(full_key);
    if (!read.ok()) return Broken(std::string(read.status().message()));
    if (*read < 1 || *read > kMaxCount)
      return Broken(absl::StrCat(full_key, " is ", *read, "; 1 to ", kMaxCount, " are possible"));
    *value = *read;
    return absl::OkStatus();
  }

  // A number in [low, high] under "llama."; a missing key leaves *value as it is.
  absl::Status Positive(const std::string& key, double low, double high, double* value) const {
    const std::string full_key = absl::StrCat("llama.", key);
    if (!file_.Has(full_key)) return absl::OkStatus();
    const absl::StatusOr<double> read = file_.Number(full_key);
    if (!read.ok()) return Broken(std::string(read.status().message()));
    if (!(*read >= low && *read <= high))
      return Broken(absl::StrCat(full_key, " is ", *read, "; ", low, " to ", high, " are possible"));
    *value = *read;
    return absl::OkStatus();
  }

  absl::Status ReadConfig() {
    const absl::StatusOr<std::string_view> architecture = file_.String("general.architecture");
    if (!architecture.ok()) return Broken(std::string(architecture.status().message()));
    if (*architecture != "llama") {
      return Unsupported(absl::StrCat("architecture \"", absl::CHexEscape(std::string(*architecture)),
                                      "\"; Blazon reads GGUF files of architecture \"llama\""));
    }
    if (const auto name = file_.String("general.name"); name.ok()) llama_.name = std::string(*name);

    absl::Status status;
    status.Update(Count("embedding_length", &llama_.width));
    status.Update(Count("block_count", &llama_.layers));
    status.Update(Count("attention.head_count", &llama_.heads));
    status.Update(Count("feed_forward_length", &llama_.mlp_width));
    status.Update(Count("context_length", &llama_.context_length));
    if (!status.ok()) return status;
    status.Update(Count("attention.head_count_kv", &llama_.key_heads, llama_.heads));
    if (llama_.width % llama_.heads != 0 && !file_.Has("llama.attention.key_length")) {
      return Broken(absl::StrCat(llama_.width, " values do not divide into ", llama_.heads, " heads"));
    }
    status.Update(Count("attention.key_length", &llama_.head_width, llama_.width / llama_.heads));
    int64_t value_width = 0, rope_width = 0;
    status.Update(Count("attention.value_length", &value_width, llama_.head_width));
    status.Update(Count("rope.dimension_count", &rope_width, llama_.head_width));
    status.Update(Positive("rope.freq_base", 1, 1e12, &llama_.rope_base));
    status.Update(Positive("attention.layer_norm_rms_epsilon", 1e-12, 1, &llama_.norm_epsilon));
    if (!status.ok()) return status;

    if (llama_.heads % llama_.key_heads != 0) {
      return Broken(absl::StrCat(llama_.heads, " heads do not divide among ", llama_.key_heads, " key heads"));
    }
    if (llama_.head_width % 2 != 0)
      return Broken(absl::StrCat("heads are ", llama_.head_width, " values wide; rotary positions need an even width"));
    if (value_width != llama_.head_width || rope_width != llama_.head_width) {
      return Unsupported(absl::StrCat("keys, values and rotary positions of different widths (", llama_.head_width,
                                      ", ", value_width, ", ", rope_width, ")"));
    }
    if (const auto scaling = file_.String("llama.rope.scaling.type"); scaling.ok() && *scaling != "none") {
      return Unsupported(
          absl::StrCat("rotary scaling of type \"", absl::CHexEscape(std::string(*scaling)), "\" is not computed yet"));
    }
    if (file_.HasTensor("rope_freqs.weight"))
      return Unsupported("rotary scaling by a tensor of factors (rope_freqs.weight) is not computed yet");
    if (file_.Has("llama.expert_count") && file_.Integer("llama.expert_count").value_or(1) != 0) {
      return Unsupported("mixtures of experts are not computed yet");
    }
    return absl::OkStatus();
  }

  // Takes one tensor of the file into the state dict. `rotary_heads`: undo the converter's row order of that many
  // heads.
  absl::Status Take(const std::string& from, std::string to, const std::vector<int64_t>& shape,
                    int64_t rotary_heads = 0) {
    absl::StatusOr<Weight> weight = file_.Tensor(from);
    if (absl::IsNotFound(weight.status())) return Broken(std::string(weight.status().message()));
    if (!weight.ok()) return weight.status();
    const bool vector = shape.size() == 1;
    if (vector && std::holds_alternative<QuantizedTensor>(*weight)) {
      return Unsupported(absl::StrCat("tensor ", from, " is a quantised vector"));
    }
    if (Shape(*weight) != shape) {
      return Broken(absl::StrCat("tensor ", from, " has the shape [", absl::StrJoin(Shape(*weight), ", "),
                                 "]; the metadata asks for [", absl::StrJoin(shape, ", "), "]"));
    }
    if (rotary_heads > 0) *weight = UnpermuteRows(*std::move(weight), rotary_heads);
    llama_.weights.emplace(std::move(to), *std::move(weight));
    taken_.insert(from);
    return absl::OkStatus();
  }

  absl::Status ReadWeights() {
    const int64_t width = llama_.width, mlp_width = llama_.mlp_width;
    const int64_t query_width = llama_.heads * llama_.head_width, key_width = llama_.key_heads * llama_.head_width;
    if (llama_.layers > static_cast<int64_t>(file_.tensors().size())) {
      return Broken(absl::StrCat(llama_.layers, " layers, but only ", file_.tensors().size(), " tensors"));
    }
    for (const GgufTensorInfo& tensor : file_.tensors()) {
      if (tensor.name == "token_embd.weight") llama_.vocabulary_size = tensor.shape[0];
    }
    const int64_t vocabulary = llama_.vocabulary_size;
    if (file_.Has("llama.vocab_size") && file_.Integer("llama.vocab_size").value_or(0) != vocabulary) {
      return Broken(absl::StrCat("llama.vocab_size differs from the ", vocabulary, " rows of token_embd.weight"));
    }
    llama_.tied_output = !file_.HasTensor("output.weight");

    absl::Status status = Take("token_embd.weight", "model.embed_tokens.weight", {vocabulary, width});
    status.Update(Take("output_norm.weight", "model.norm.weight", {width}));
    if (!llama_.tied_output) status.Update(Take("output.weight", "lm_head.weight", {vocabulary, width}));
    for (int64_t layer = 0; layer < llama_.layers && status.ok(); ++layer) {
      const std::string from = absl::StrCat("blk.", layer, "."), to = absl::StrCat("model.layers.", layer, ".");
      const auto take = [&](const char* gguf, const char* hugging_face, const std::vector<int64_t>& shape,
                            int64_t rotary_heads = 0) {
        if (status.ok())
          status =
              Take(absl::StrCat(from, gguf, ".weight"), absl::StrCat(to, hugging_face, ".weight"), shape, rotary_heads);
      };
      take("attn_norm", "input_layernorm", {width});
      take("attn_q", "self_attn.q_proj", {query_width, width}, llama_.heads);
      take("attn_k", "self_attn.k_proj", {key_width, width}, llama_.key_heads);
      take("attn_v", "self_attn.v_proj", {key_width, width});
      take("attn_output", "self_attn.o_proj", {width, query_width});
      take("ffn_norm", "post_attention_layernorm", {width});
      take("ffn_gate", "mlp.gate_proj", {mlp_width, width});
      take("ffn_up", "mlp.up_proj", {mlp_width, width});
      take("ffn_down", "mlp.down_proj", {width, mlp_width});
    }
    if (!status.ok()) return status;
    for (const GgufTensorInfo& tensor : file_.tensors()) {
      if (!taken_.contains(tensor.name))
        return Broken(absl::StrCat("unknown tensor ", absl::CHexEscape(std::string(tensor.name)), " of type ",
                                   GgufTypeName(tensor.type)));
    }
    return absl::OkStatus();
  }

  const GgufFile& file_;
  GgufLlama llama_;
  std::set<std::string, std::less<>> taken_;  // names in the file
};

}  // namespace

absl::StatusOr<GgufLlama> ReadGgufLlama(const GgufFile& file) { return Reader(file).Read(); }

}  // namespace blazon::service
