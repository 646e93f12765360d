#include "tests/language/formula_weights.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"

namespace blazon::language {

at::Tensor FormulaWeight(std::string_view name, const std::vector<int64_t>& shape) {
  uint64_t state = 0xCBF29CE484222325;  // FNV-1a
  for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  at::Tensor result = at::empty(shape, at::kFloat);
  float* values = result.data_ptr<float>();
  const float scale = shape.size() == 1 ? 0.0f : static_cast<float>(1.7 / std::sqrt(static_cast<double>(shape[1])));
  for (int64_t i = 0; i < result.numel(); ++i) {
    state += 0x9E3779B97F4A7C15;  // SplitMix64 (Steele et al. 2014)
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    const float uniform = static_cast<float>(static_cast<double>(z >> 40) / (1 << 23) - 1.0);
    values[i] = shape.size() == 1 ? 1.0f + 0.25f * uniform : uniform * scale;
  }
  return result;
}

StateDict FormulaLlama(const LlamaConfig& config) {
  StateDict weights;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    weights[name] = FormulaWeight(name, shape);
  };
  const int64_t head_width = config.head_width != 0 ? config.head_width : config.width / config.heads;
  const int64_t query_width = config.heads * head_width, key_width = config.key_heads * head_width;
  add("model.embed_tokens.weight", {config.vocabulary_size, config.width});
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    add(prefix + "input_layernorm.weight", {config.width});
    add(prefix + "self_attn.q_proj.weight", {query_width, config.width});
    add(prefix + "self_attn.k_proj.weight", {key_width, config.width});
    add(prefix + "self_attn.v_proj.weight", {key_width, config.width});
    add(prefix + "self_attn.o_proj.weight", {config.width, query_width});
    add(prefix + "post_attention_layernorm.weight", {config.width});
    add(prefix + "mlp.gate_proj.weight", {config.mlp_width, config.width});
    add(prefix + "mlp.up_proj.weight", {config.mlp_width, config.width});
    add(prefix + "mlp.down_proj.weight", {config.width, config.mlp_width});
  }
  add("model.norm.weight", {config.width});
  if (!config.tie_embeddings) add("lm_head.weight", {config.vocabulary_size, config.width});
  return weights;
}

}  // namespace blazon::language
