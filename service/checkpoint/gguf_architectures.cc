#include "service/checkpoint/gguf_architectures.h"

namespace blazon::service {
namespace {

constexpr bool kOptional = true;

std::vector<GgufTensorName> LlamaWhole() {
  return {{"token_embd.weight", "model.embed_tokens.weight"},
          {"output_norm.weight", "model.norm.weight"},
          {"output.weight", "lm_head.weight", GgufChange::kNone, kOptional}};
}

std::vector<GgufTensorName> LlamaLayer(GgufChange queries, GgufChange keys) {
  return {{"attn_norm.weight", "input_layernorm.weight"},
          {"attn_q.weight", "self_attn.q_proj.weight", queries},
          {"attn_q.bias", "self_attn.q_proj.bias", queries, kOptional},
          {"attn_k.weight", "self_attn.k_proj.weight", keys},
          {"attn_k.bias", "self_attn.k_proj.bias", keys, kOptional},
          {"attn_v.weight", "self_attn.v_proj.weight"},
          {"attn_v.bias", "self_attn.v_proj.bias", GgufChange::kNone, kOptional},
          {"attn_output.weight", "self_attn.o_proj.weight"},
          {"attn_output.bias", "self_attn.o_proj.bias", GgufChange::kNone, kOptional},
          {"attn_q_norm.weight", "self_attn.q_norm.weight", GgufChange::kNone, kOptional},
          {"attn_k_norm.weight", "self_attn.k_norm.weight", GgufChange::kNone, kOptional},
          {"ffn_norm.weight", "post_attention_layernorm.weight"},
          {"ffn_gate.weight", "mlp.gate_proj.weight"},
          {"ffn_up.weight", "mlp.up_proj.weight"},
          {"ffn_down.weight", "mlp.down_proj.weight"}};
}

std::vector<GgufTensorName> GemmaWhole() {
  std::vector<GgufTensorName> names = LlamaWhole();
  names[1].change = GgufChange::kPlusOne;
  return names;
}

std::vector<GgufTensorName> GemmaLayer(int generation) {
  std::vector<GgufTensorName> names = {
      {"attn_norm.weight", "input_layernorm.weight", GgufChange::kPlusOne},
      {"attn_q.weight", "self_attn.q_proj.weight"},
      {"attn_k.weight", "self_attn.k_proj.weight"},
      {"attn_v.weight", "self_attn.v_proj.weight"},
      {"attn_output.weight", "self_attn.o_proj.weight"},
      {"ffn_gate.weight", "mlp.gate_proj.weight"},
      {"ffn_up.weight", "mlp.up_proj.weight"},
      {"ffn_down.weight", "mlp.down_proj.weight"},
      {"ffn_norm.weight", generation == 1 ? "post_attention_layernorm.weight" : "pre_feedforward_layernorm.weight",
       GgufChange::kPlusOne}};
  if (generation >= 2) {
    names.push_back({"post_attention_norm.weight", "post_attention_layernorm.weight", GgufChange::kPlusOne});
    names.push_back({"post_ffw_norm.weight", "post_feedforward_layernorm.weight", GgufChange::kPlusOne});
  }
  if (generation >= 3) {
    names.push_back({"attn_q_norm.weight", "self_attn.q_norm.weight", GgufChange::kPlusOne});
    names.push_back({"attn_k_norm.weight", "self_attn.k_norm.weight", GgufChange::kPlusOne});
  }
  return names;
}

}  // namespace

const std::map<std::string, GgufArchitecture>& GgufArchitectureTable() {
  static const auto& architectures = *new std::map<std::string, GgufArchitecture>{
      {"bloom",
       {"bloom",
        {{"token_embd.weight", "word_embeddings.weight"},
         {"token_embd_norm.weight", "word_embeddings_layernorm.weight"},
         {"token_embd_norm.bias", "word_embeddings_layernorm.bias"},
         {"output_norm.weight", "ln_f.weight"},
         {"output_norm.bias", "ln_f.bias"},
         {"output.weight", "lm_head.weight", GgufChange::kNone, kOptional}},
        {{"attn_norm.weight", "input_layernorm.weight"},
         {"attn_norm.bias", "input_layernorm.bias"},
         {"attn_qkv.weight", "self_attention.query_key_value.weight", GgufChange::kFusedHeads},
         {"attn_qkv.bias", "self_attention.query_key_value.bias", GgufChange::kFusedHeads},
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
         {"output.weight", "lm_head.weight", GgufChange::kNone, kOptional}},
        {{"attn_norm.weight", "ln_1.weight"},
         {"attn_norm.bias", "ln_1.bias"},
         {"attn_qkv.weight", "attn.c_attn.weight", GgufChange::kTransposed},
         {"attn_qkv.bias", "attn.c_attn.bias"},
         {"attn_output.weight", "attn.c_proj.weight", GgufChange::kTransposed},
         {"attn_output.bias", "attn.c_proj.bias"},
         {"ffn_norm.weight", "ln_2.weight"},
         {"ffn_norm.bias", "ln_2.bias"},
         {"ffn_up.weight", "mlp.c_fc.weight", GgufChange::kTransposed},
         {"ffn_up.bias", "mlp.c_fc.bias"},
         {"ffn_down.weight", "mlp.c_proj.weight", GgufChange::kTransposed},
         {"ffn_down.bias", "mlp.c_proj.bias"}},
        "h."}},
      {"llama",
       {"llama", LlamaWhole(), LlamaLayer(GgufChange::kRotaryQueries, GgufChange::kRotaryKeys), "model.layers."}},
      {"qwen2", {"qwen2", LlamaWhole(), LlamaLayer(GgufChange::kNone, GgufChange::kNone), "model.layers."}},
      {"qwen3", {"qwen3", LlamaWhole(), LlamaLayer(GgufChange::kNone, GgufChange::kNone), "model.layers."}},
  };
  return architectures;
}

}  // namespace blazon::service
