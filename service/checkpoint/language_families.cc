#include "service/checkpoint/language_families.h"

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/models/bloom.h"
#include "language/models/gemma.h"
#include "language/models/gpt2.h"
#include "language/models/llama.h"
#include "language/models/lstm.h"
#include "language/models/openai_gpt.h"
#include "language/models/seq2seq.h"
#include "service/checkpoint/config_reader.h"

namespace blazon::service {
namespace {

using language::LanguageModel;
using language::Placement;
using language::RopeScaling;
using language::StateDict;
using nlohmann::json;

using Created = absl::StatusOr<std::unique_ptr<LanguageModel>>;

constexpr char kFull[] = "full_attention", kSliding[] = "sliding_attention";

struct RopeParameters {
  double theta = 0.0;
  RopeScaling scaling;
};

// The rotation of the layers of one kind. transformers 5 writes rope_parameters, once or for each kind of layer;
// hub files have rope_theta and rope_scaling.
RopeParameters ReadRope(ConfigReader& config, double default_theta, const char* kind = kFull) {
  RopeParameters rope;
  rope.theta = kind == kFull ? config.Positive({"rope_theta"}, default_theta) : default_theta;
  const json* parameters = config.Find({"rope_parameters", "rope_scaling"});
  if (parameters == nullptr) return rope;
  if (parameters->is_object() && parameters->contains(kind)) parameters = &(*parameters)[kind];
  if (parameters->is_null()) return rope;
  if (!parameters->is_object()) {
    config.Refuse("rope_parameters is not an object");
    return rope;
  }
  ConfigReader reader(*parameters);
  rope.theta = reader.Positive({"rope_theta"}, rope.theta);
  const std::string type = reader.Text({"rope_type", "type"}, "default");
  if (type == "linear" || type == "llama3") rope.scaling.factor = reader.Positive({"factor"});
  if (type == "linear") {
    rope.scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type == "llama3") {
    rope.scaling.kind = RopeScaling::Kind::kLlama3;
    rope.scaling.low_frequency_factor = reader.Positive({"low_freq_factor"});
    rope.scaling.high_frequency_factor = reader.Positive({"high_freq_factor"});
    rope.scaling.original_context = reader.Count({"original_max_position_embeddings"});
    if (rope.scaling.low_frequency_factor >= rope.scaling.high_frequency_factor) {
      reader.Refuse("low_freq_factor must be below high_freq_factor");
    }
  } else if (type != "default") {
    reader.Refuse(absl::StrCat("rope_type is \"", type, "\"; Blazon computes default, linear and llama3"));
  }
  if (reader.Positive({"partial_rotary_factor"}, 1.0) != 1.0) {
    reader.Refuse("partial_rotary_factor is not 1; Blazon turns all channels of a head");
  }
  if (!reader.status().ok()) config.Refuse(std::string(reader.status().message()));
  return rope;
}

// The window of each layer. `slides` says which layers have one where the config has no layer_types.
std::vector<int64_t> ReadWindows(ConfigReader& config, int64_t layers, const std::function<bool(int64_t)>& slides) {
  const json* types = config.Find({"layer_types"});
  if (!config.Has({"sliding_window"})) return {};
  const int64_t window = config.Count({"sliding_window"});
  std::vector<int64_t> windows;
  if (types == nullptr) {
    for (int64_t i = 0; i < layers; ++i) windows.push_back(slides(i) ? window : 0);
    return windows;
  }
  if (!types->is_array()) {
    config.Refuse("layer_types is not a list");
    return {};
  }
  for (const json& type : *types) {
    if (type != kFull && type != kSliding) {
      config.Refuse(absl::StrCat("layer_types has ", type.is_string() ? type.get<std::string>() : "an entry",
                                 "; Blazon computes ", kFull, " and ", kSliding));
    }
    windows.push_back(type == kSliding ? window : 0);
  }
  return windows;
}

// What the members of this shape have in common.
language::LlamaConfig ReadLlamaConfig(ConfigReader& config) {
  language::LlamaConfig result;
  config.Expect("hidden_act", {"silu"});
  result.width = config.Count({"hidden_size"});
  result.layers = config.Count({"num_hidden_layers"});
  result.heads = config.Count({"num_attention_heads"});
  result.key_heads = config.Count({"num_key_value_heads"}, result.heads);
  result.head_width = config.Has({"head_dim"}) ? config.Count({"head_dim"}) : 0;
  result.mlp_width = config.Count({"intermediate_size"});
  result.vocabulary_size = config.Count({"vocab_size"});
  result.context_length = config.Count({"max_position_embeddings"}, 2048);
  result.norm_epsilon = config.Positive({"rms_norm_eps"}, 1e-6);
  result.tie_embeddings = config.Flag({"tie_word_embeddings"}, false);
  const RopeParameters rope = ReadRope(config, 10000.0);
  result.rope_theta = rope.theta;
  result.rope_scaling = rope.scaling;
  return result;
}

Created Finish(const ConfigReader& reader, const language::LlamaConfig& config, StateDict weights,
               const Placement& placement) {
  if (!reader.status().ok()) return reader.status();
  auto model = language::LlamaModel::Create(config, std::move(weights), placement);
  if (!model.ok()) return model.status();
  return std::unique_ptr<LanguageModel>(*std::move(model));
}

Created CreateLlama(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::LlamaConfig config = ReadLlamaConfig(reader);
  config.query_bias = config.output_bias = reader.Flag({"attention_bias"}, false);
  config.mlp_bias = reader.Flag({"mlp_bias"}, false);
  return Finish(reader, config, std::move(weights), placement);
}

Created CreateMistral(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::LlamaConfig config = ReadLlamaConfig(reader);
  config.windows = ReadWindows(reader, config.layers, [](int64_t) { return true; });
  return Finish(reader, config, std::move(weights), placement);
}

// Qwen's checkpoints name a window and switch it off.
std::vector<int64_t> ReadQwenWindows(ConfigReader& reader, int64_t layers) {
  if (!reader.Flag({"use_sliding_window"}, false)) return {};
  const int64_t first = reader.Find({"max_window_layers"}) != nullptr && *reader.Find({"max_window_layers"}) == 0
                            ? 0
                            : reader.Count({"max_window_layers"}, 28);
  return ReadWindows(reader, layers, [first](int64_t layer) { return layer >= first; });
}

Created CreateQwen2(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::LlamaConfig config = ReadLlamaConfig(reader);
  config.query_bias = true;
  config.windows = ReadQwenWindows(reader, config.layers);
  return Finish(reader, config, std::move(weights), placement);
}

Created CreateQwen3(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::LlamaConfig config = ReadLlamaConfig(reader);
  if (config.head_width == 0) config.head_width = 128;
  config.query_bias = config.output_bias = reader.Flag({"attention_bias"}, false);
  config.query_key_norm = true;
  config.windows = ReadQwenWindows(reader, config.layers);
  return Finish(reader, config, std::move(weights), placement);
}

Created CreateGemmaOf(int generation, const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::GemmaConfig config;
  config.generation = generation;
  // The first Gemma's files say "gelu" and mean its approximation by tanh.
  const char* const activation = reader.Has({"hidden_activation"}) ? "hidden_activation" : "hidden_act";
  reader.Expect(activation, generation == 1 ? std::initializer_list<const char*>{"gelu_pytorch_tanh", "gelu"}
                                            : std::initializer_list<const char*>{"gelu_pytorch_tanh"});
  config.width = reader.Count({"hidden_size"});
  config.layers = reader.Count({"num_hidden_layers"});
  config.heads = reader.Count({"num_attention_heads"});
  config.key_heads = reader.Count({"num_key_value_heads"}, config.heads);
  config.head_width = reader.Count({"head_dim"}, 256);
  config.mlp_width = reader.Count({"intermediate_size"});
  config.vocabulary_size = reader.Count({"vocab_size"});
  config.context_length = reader.Count({"max_position_embeddings"}, generation == 3 ? 131072 : 8192);
  config.norm_epsilon = reader.Positive({"rms_norm_eps"}, 1e-6);
  config.tie_embeddings = reader.Flag({"tie_word_embeddings"}, true);
  const RopeParameters rope = ReadRope(reader, generation == 3 ? 1e6 : 1e4);
  config.rope_theta = rope.theta;
  config.rope_scaling = rope.scaling;
  if (reader.Flag({"attention_bias"}, false)) reader.Refuse("attention_bias is set; Blazon's Gemma has none");
  if (reader.Flag({"use_bidirectional_attention"}, false)) {
    reader.Refuse("use_bidirectional_attention is set: this is an encoder, and cannot generate");
  }
  if (generation >= 2) {
    config.query_scalar = reader.Positive({"query_pre_attn_scalar"}, 256.0);
    config.score_softcap = reader.PositiveOrOff({"attn_logit_softcapping"});
    config.logit_softcap = reader.PositiveOrOff({"final_logit_softcapping"});
    const int64_t pattern = generation == 2 ? 2 : reader.Count({"sliding_window_pattern"}, 6);
    config.windows = ReadWindows(reader, config.layers, [pattern](int64_t i) { return (i + 1) % pattern != 0; });
  }
  if (generation == 3) {
    config.local_rope_theta = reader.Positive({"rope_local_base_freq"}, 10000.0);
    const json* parameters = reader.Find({"rope_parameters"});
    if (parameters != nullptr && parameters->is_object() && parameters->contains(kSliding)) {
      const RopeParameters local = ReadRope(reader, config.local_rope_theta, kSliding);
      if (local.scaling.kind != RopeScaling::Kind::kNone) reader.Refuse("the layers with a window are scaled");
      config.local_rope_theta = local.theta;
    }
  }
  if (!reader.status().ok()) return reader.status();
  return language::GemmaModel::Create(config, std::move(weights), placement);
}

Created CreateGemma1(const json& config, StateDict weights, const Placement& placement) {
  return CreateGemmaOf(1, config, std::move(weights), placement);
}
Created CreateGemma2(const json& config, StateDict weights, const Placement& placement) {
  return CreateGemmaOf(2, config, std::move(weights), placement);
}
Created CreateGemma3(const json& config, StateDict weights, const Placement& placement) {
  return CreateGemmaOf(3, config, std::move(weights), placement);
}

Created CreateGpt2(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::Gpt2Config config;
  reader.Expect("activation_function", {"gelu_new", "gelu_pytorch_tanh"});
  config.width = reader.Count({"n_embd", "hidden_size"});
  config.layers = reader.Count({"n_layer", "num_hidden_layers"});
  config.heads = reader.Count({"n_head", "num_attention_heads"});
  config.mlp_width = reader.Has({"n_inner"}) ? reader.Count({"n_inner"}) : 0;
  config.vocabulary_size = reader.Count({"vocab_size"});
  config.context_length = reader.Count({"n_positions", "max_position_embeddings", "n_ctx"});
  config.norm_epsilon = reader.Positive({"layer_norm_epsilon"}, 1e-5);
  config.tie_embeddings = reader.Flag({"tie_word_embeddings"}, true);
  config.scale_scores = reader.Flag({"scale_attn_weights"}, true);
  config.scale_scores_by_layer = reader.Flag({"scale_attn_by_inverse_layer_idx"}, false);
  if (reader.Flag({"add_cross_attention"}, false)) reader.Refuse("add_cross_attention is set; Blazon's GPT-2 has none");
  if (!reader.status().ok()) return reader.status();
  return language::Gpt2Model::Create(config, std::move(weights), placement);
}

Created CreateBloom(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::BloomConfig config;
  config.width = reader.Count({"hidden_size", "n_embed"});
  config.layers = reader.Count({"n_layer", "num_hidden_layers"});
  config.heads = reader.Count({"n_head", "num_attention_heads"});
  config.vocabulary_size = reader.Count({"vocab_size"});
  config.context_length = reader.Count({"seq_length"}, 2048);
  config.norm_epsilon = reader.Positive({"layer_norm_epsilon"}, 1e-5);
  config.tie_embeddings = reader.Flag({"tie_word_embeddings"}, true);
  config.residual_from_norm = reader.Flag({"apply_residual_connection_post_layernorm"}, false);
  if (!reader.status().ok()) return reader.status();
  return language::BloomModel::Create(config, std::move(weights), placement);
}

Created CreateOpenAiGpt(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::Gpt2Config config;
  reader.Expect("afn", {"gelu"});  // which is the approximation by tanh
  config.width = reader.Count({"n_embd", "hidden_size"});
  config.layers = reader.Count({"n_layer", "num_hidden_layers"});
  config.heads = reader.Count({"n_head", "num_attention_heads"});
  config.vocabulary_size = reader.Count({"vocab_size"});
  config.context_length = reader.Count({"n_positions", "max_position_embeddings"});
  config.norm_epsilon = reader.Positive({"layer_norm_epsilon"}, 1e-5);
  config.tie_embeddings = reader.Flag({"tie_word_embeddings"}, true);
  if (!reader.status().ok()) return reader.status();
  return language::OpenAiGptModel::Create(config, std::move(weights), placement);
}

Created CreateLstm(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::LstmConfig config;
  config.width = reader.Count({"hidden_size"});
  config.layers = reader.Count({"num_hidden_layers"});
  config.vocabulary_size = reader.Count({"vocab_size"});
  config.context_length = reader.Count({"max_position_embeddings"});
  config.tie_embeddings = reader.Flag({"tie_word_embeddings"}, true);
  if (!reader.status().ok()) return reader.status();
  return language::LstmModel::Create(config, std::move(weights), placement);
}

Created CreateSeq2Seq(const json& json_config, StateDict weights, const Placement& placement) {
  ConfigReader reader(json_config);
  language::Seq2SeqConfig config;
  config.width = reader.Count({"d_model"});
  config.layers = reader.Count({"num_layers"});
  config.heads = reader.Count({"num_heads"});
  config.mlp_width = reader.Count({"d_ff"});
  config.vocabulary_size = reader.Count({"vocab_size"});
  config.context_length = reader.Count({"max_position_embeddings"});
  config.pre_norm = reader.Flag({"pre_norm"}, true);
  const json* start = reader.Find({"decoder_start_token_id"});
  if (start == nullptr || !start->is_number_integer()) {
    reader.Refuse("decoder_start_token_id is not a whole number");
  } else {
    config.start_token = start->get<int64_t>();
  }
  if (!reader.status().ok()) return reader.status();
  return language::Seq2SeqModel::Create(config, std::move(weights), placement);
}

using CreateFunction = Created (*)(const json&, StateDict, const Placement&);

const std::map<std::string, CreateFunction>& Families() {
  static const auto& families = *new std::map<std::string, CreateFunction>{
      {"blazon_lstm", CreateLstm}, {"blazon_seq2seq", CreateSeq2Seq}, {"bloom", CreateBloom}, {"gemma", CreateGemma1},
      {"gemma2", CreateGemma2},    {"gemma3_text", CreateGemma3},     {"gpt2", CreateGpt2},   {"llama", CreateLlama},
      {"mistral", CreateMistral},  {"openai-gpt", CreateOpenAiGpt},   {"qwen2", CreateQwen2}, {"qwen3", CreateQwen3},
  };
  return families;
}

}  // namespace

std::vector<std::string> LanguageModelTypes() {
  std::vector<std::string> types;
  for (const auto& [type, create] : Families()) types.push_back(type);
  return types;
}

Created CreateLanguageModel(const json& config, StateDict weights, const Placement& placement) {
  ConfigReader reader(config);
  const std::string type = reader.Text({"model_type"}, "");
  if (!reader.status().ok()) return reader.status();
  const auto family = Families().find(type);
  if (family == Families().end()) {
    return absl::UnimplementedError(
        absl::StrCat("config: model_type is \"", type, "\"; Blazon runs ", absl::StrJoin(LanguageModelTypes(), ", ")));
  }
  return family->second(config, std::move(weights), placement);
}

}  // namespace blazon::service
