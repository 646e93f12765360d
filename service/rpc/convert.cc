#include "service/rpc/convert.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/rpc/convert_fields.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr int kMaxStopTokens = 64;

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "{}";
}

absl::StatusOr<language::GenerationOptions> FromProto(const v1::GenerationOptions& options,
                                                      language::GenerationOptions defaults) {
  language::GenerationOptions result = std::move(defaults);
  if (options.has_max_new_tokens()) result.max_new_tokens = options.max_new_tokens();
  if (options.has_temperature()) result.temperature = options.temperature();
  if (options.has_top_k()) result.top_k = options.top_k();
  if (options.has_top_p()) result.top_p = options.top_p();
  if (options.has_min_p()) result.min_p = options.min_p();
  if (options.has_typical_p()) result.typical_p = options.typical_p();
  if (options.logit_bias_size() > 0) result.logit_bias = {options.logit_bias().begin(), options.logit_bias().end()};
  if (options.has_repetition_penalty()) result.repetition_penalty = options.repetition_penalty();
  if (options.has_presence_penalty()) result.presence_penalty = options.presence_penalty();
  if (options.has_frequency_penalty()) result.frequency_penalty = options.frequency_penalty();
  if (options.has_no_repeat_ngram_size()) result.no_repeat_ngram_size = options.no_repeat_ngram_size();
  if (options.has_seed()) result.seed = options.seed();
  if (options.stop_size() > 0) result.stop.assign(options.stop().begin(), options.stop().end());
  if (options.stop_token_ids_size() > kMaxStopTokens) {
    return FieldError("options.stop_token_ids",
                      absl::StrCat("has ", options.stop_token_ids_size(), " entries; the limit is ", kMaxStopTokens));
  }
  if (options.stop_token_ids_size() > 0)
    result.stop_token_ids.assign(options.stop_token_ids().begin(), options.stop_token_ids().end());
  if (options.has_ignore_eos()) result.ignore_eos = options.ignore_eos();
  if (options.has_allow_repetition()) result.allow_repetition = options.allow_repetition();
  if (options.has_num_sequences()) result.num_sequences = options.num_sequences();
  if (options.has_num_beams()) result.num_beams = options.num_beams();
  if (options.has_length_penalty()) result.length_penalty = options.length_penalty();
  if (options.has_num_beam_groups()) result.num_beam_groups = options.num_beam_groups();
  if (options.has_diversity_penalty()) result.diversity_penalty = options.diversity_penalty();
  if (options.has_early_stopping()) {
    if (!v1::EarlyStopping_IsValid(options.early_stopping())) {
      return FieldError("options.early_stopping", absl::StrCat("is ", static_cast<int>(options.early_stopping()),
                                                               ", which this server does not know"));
    }
    result.early_stopping = options.early_stopping() == v1::EARLY_STOPPING_FIRST ? language::EarlyStopping::kFirst
                            : options.early_stopping() == v1::EARLY_STOPPING_NEVER
                                ? language::EarlyStopping::kNever
                                : language::EarlyStopping::kHeuristic;
  }
  if (options.has_echo()) result.echo = options.echo();
  if (options.has_explain()) result.explain = options.explain();
  if (options.has_prompt_logprobs()) {
    result.prompt_logprobs = options.prompt_logprobs();
    if (result.prompt_logprobs < 0)
      return FieldError("options.prompt_logprobs",
                        absl::StrCat("is ", result.prompt_logprobs, "; its range is 0 to 20"));
  }
  if (options.has_logprobs()) {
    if (!options.logprobs() && options.has_top_logprobs())
      return FieldError("options.logprobs", "is false, but top_logprobs asks for them; leave one of the two out");
    result.top_logprobs = options.logprobs() ? std::max<int64_t>(result.top_logprobs, 0) : -1;
  }
  if (options.has_top_logprobs()) {
    result.top_logprobs = options.top_logprobs();
    if (result.top_logprobs < 0) {  // -1 means "none" in the library; on the wire that is leaving it out
      return FieldError("options.top_logprobs", absl::StrCat("is ", result.top_logprobs, "; its range is 0 to 20"));
    }
  }
  constexpr int64_t kAny = std::numeric_limits<int32_t>::max();  // the model may not be loaded yet
  if (absl::Status status = language::Validate(result, kAny, kAny); !status.ok()) return status;
  return result;
}

v1::GenerationOptions ToProto(const language::GenerationOptions& options) {
  v1::GenerationOptions result;
  result.set_max_new_tokens(Int32(options.max_new_tokens));
  result.set_temperature(options.temperature);
  result.set_top_k(Int32(options.top_k));
  result.set_top_p(options.top_p);
  result.set_min_p(options.min_p);
  result.set_typical_p(options.typical_p);
  result.mutable_logit_bias()->insert(options.logit_bias.begin(), options.logit_bias.end());
  result.set_repetition_penalty(options.repetition_penalty);
  result.set_presence_penalty(options.presence_penalty);
  result.set_frequency_penalty(options.frequency_penalty);
  result.set_no_repeat_ngram_size(Int32(options.no_repeat_ngram_size));
  if (options.seed.has_value()) result.set_seed(*options.seed);
  result.mutable_stop()->Assign(options.stop.begin(), options.stop.end());
  result.mutable_stop_token_ids()->Assign(options.stop_token_ids.begin(), options.stop_token_ids.end());
  result.set_ignore_eos(options.ignore_eos);
  result.set_allow_repetition(options.allow_repetition);
  result.set_num_sequences(Int32(options.num_sequences));
  result.set_num_beams(Int32(options.num_beams));
  result.set_length_penalty(options.length_penalty);
  result.set_early_stopping(options.early_stopping == language::EarlyStopping::kFirst   ? v1::EARLY_STOPPING_FIRST
                            : options.early_stopping == language::EarlyStopping::kNever ? v1::EARLY_STOPPING_NEVER
                                                                                        : v1::EARLY_STOPPING_HEURISTIC);
  result.set_num_beam_groups(Int32(options.num_beam_groups));
  result.set_diversity_penalty(options.diversity_penalty);
  result.set_echo(options.echo);
  if (options.explain > 0) result.set_explain(Int32(options.explain));
  if (options.prompt_logprobs >= 0) result.set_prompt_logprobs(Int32(options.prompt_logprobs));
  if (options.top_logprobs >= 0) result.set_top_logprobs(Int32(options.top_logprobs));
  return result;
}

absl::Status CheckModel(const std::string& name, ModelRole role, const ModelStore& models) {
  if (name.empty()) return absl::OkStatus();
  if (name == models.Info(role).name) return absl::OkStatus();
  const absl::StatusOr<ModelInfo> info = models.Get(name);
  std::string message =
      info.ok() ? absl::StrCat("model \"", name, "\" is not for this call; use \"", models.Info(role).name, "\"")
                : std::string(info.status().message());
  return WithReason(WithField(absl::NotFoundError(message), "model"), "MODEL_NOT_FOUND");
}

v1::Model ToProto(const ModelInfo& info) {
  v1::Model result;
  result.set_name(info.name);
  result.set_kind(info.role == ModelRole::kLanguage   ? v1::MODEL_KIND_LANGUAGE
                  : info.role == ModelRole::kEmbedder ? v1::MODEL_KIND_EMBEDDER
                                                      : v1::MODEL_KIND_CAPTIONER);
  result.set_state(info.loaded           ? v1::MODEL_STATE_LOADED
                   : !info.error.empty() ? v1::MODEL_STATE_FAILED
                   : info.present        ? v1::MODEL_STATE_AVAILABLE
                                         : v1::MODEL_STATE_MISSING);
  result.set_error(info.error);
  result.set_source(info.source);
  result.set_digest(info.digest);
  result.set_dtype(info.dtype);
  result.set_context_length(Int32(info.context_length));
  result.set_vocabulary_size(Int32(info.vocabulary_size));
  result.set_dimension(Int32(info.width));
  result.set_sees_pictures(info.sees_pictures);
  return result;
}

v1::Adapter ToProto(const AdapterInfo& info) {
  v1::Adapter result;
  result.set_name(info.name);
  result.set_source(info.source);
  result.set_digest(info.digest);
  result.set_rank(Int32(info.rank));
  result.set_layers(Int32(info.layers));
  result.set_bytes(info.bytes);
  result.set_is_default(info.is_default);
  return result;
}

v1::ModelIdentity ToIdentity(const std::string& name, const std::string& digest) {
  v1::ModelIdentity result;
  result.set_name(name);
  result.set_digest(digest);
  return result;
}

v1::ModelIdentity ToIdentity(const ModelInfo& info) { return ToIdentity(info.name, info.digest); }

v1::FinishReason ToProto(language::FinishReason reason) {
  switch (reason) {
    case language::FinishReason::kEndOfText:
      return v1::FINISH_REASON_END_OF_TEXT;
    case language::FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case language::FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case language::FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case language::FinishReason::kDeadline:
      return v1::FINISH_REASON_DEADLINE;
    case language::FinishReason::kRepetition:
      return v1::FINISH_REASON_REPETITION;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

}  // namespace blazon::service::rpc
