#include "service/rpc/convert.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "service/rpc/convert_retrieval.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr size_t kMaxPromptBytes = 4u << 20;
constexpr size_t kMaxInstructionBytes = 4096;
constexpr size_t kMaxQuestionBytes = 8192;
constexpr int kMaxMessages = 1024;
constexpr size_t kMaxImages = 64;
constexpr int kMaxQuestionImages = 4, kMaxTurns = 64;
constexpr int kMaxFilterIds = 1000;
constexpr int kMaxStopTokens = 64;

int32_t Int32(int64_t value) {
  return static_cast<int32_t>(
      std::clamp<int64_t>(value, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
}

// The bytes as text that a string field may hold: what is no whole character becomes U+FFFD.
std::string ReadableText(const std::string& bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    const unsigned char lead = bytes[i];
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : lead >= 0xE0 && lead < 0xF0 ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    bool whole = length > 0 && i + length <= bytes.size();
    for (size_t k = 1; whole && k < length; ++k) whole = (static_cast<unsigned char>(bytes[i + k]) & 0xC0) == 0x80;
    if (whole && length >= 3) {  // overlong forms, surrogates, above U+10FFFF
      const unsigned char second = bytes[i + 1];
      whole = !(lead == 0xE0 && second < 0xA0) && !(lead == 0xED && second >= 0xA0) &&
              !(lead == 0xF0 && second < 0x90) && !(lead == 0xF4 && second >= 0x90);
    }
    absl::StrAppend(&text, whole ? bytes.substr(i, length) : std::string("\xEF\xBF\xBD"));
    i += whole ? length : 1;
  }
  return text;
}

absl::Status CheckLength(absl::string_view field, size_t bytes, size_t limit) {
  if (bytes <= limit) return absl::OkStatus();
  return FieldError(field, absl::StrCat("has ", bytes, " bytes; the limit is ", limit, ". Give less."));
}

// Parts of a prompt or a message: their text joined where there is nothing else, else one by one, and their pictures.
struct Content {
  std::string text;
  std::vector<language::ChatPart> parts;  // empty: text alone
};

// Appends the pictures to `images`. may_be_empty: no text and no picture are as good as any.
absl::StatusOr<Content> ReadParts(const google::protobuf::RepeatedPtrField<v1::Part>& parts, const std::string& field,
                                  std::vector<std::string>& images, bool may_be_empty = false) {
  size_t bytes = 0;
  for (const v1::Part& part : parts) bytes += part.text().size();
  if (absl::Status status = CheckLength(field, bytes, kMaxPromptBytes); !status.ok()) return status;
  Content content;
  bool pictures = false;
  for (int i = 0; i < parts.size(); ++i) {
    const v1::Part& part = parts[i];
    const std::string name = absl::StrCat(field, "[", i, "]");
    if (part.has_image()) {
      if (part.image().data().empty())
        return FieldError(name + ".image.data", "is empty; give the bytes of a JPEG, PNG, WebP or BMP file");
      if (images.size() == kMaxImages)
        return FieldError(name, absl::StrCat("is one picture more than the limit of ", kMaxImages, " in a request"));
      images.push_back(part.image().data());
      content.parts.push_back({.kind = language::ChatPart::Kind::kImage});
      pictures = true;
    } else if (part.part_case() == v1::Part::kText) {
      content.parts.push_back({.kind = language::ChatPart::Kind::kText, .text = part.text()});
      content.text += part.text();
    } else {
      return FieldError(name, "holds nothing; give it a text or an image");
    }
  }
  if (pictures) {
    content.text.clear();
  } else {
    content.parts.clear();
    if (content.text.empty() && !may_be_empty) return FieldError(field, "is empty; give at least one character");
  }
  return content;
}

absl::StatusOr<language::GenerationOptions> ToOptions(const v1::GenerationOptions& options,
                                                      language::GenerationOptions defaults, const ModelStore& models) {
  const ModelInfo model = models.Info(ModelRole::kLanguage);
  absl::StatusOr<language::GenerationOptions> result = FromProto(options, std::move(defaults));
  if (!result.ok() || !model.loaded) return result;
  const absl::Status status = language::Validate(*result, model.vocabulary_size, model.context_length);
  if (!status.ok()) return status;
  return result;
}

// What only Generate's reply has room for.
absl::Status CheckForOneText(const language::GenerationOptions& options, const v1::GenerationOptions& given) {
  const absl::string_view field = given.has_adapter()            ? "adapter"
                                  : options.num_sequences > 1    ? "num_sequences"
                                  : options.echo                 ? "echo"
                                  : options.prompt_logprobs >= 0 ? "prompt_logprobs"
                                  : options.explain > 0          ? "explain"
                                  : given.has_reasoning()        ? "reasoning"
                                                                 : "";
  if (field.empty()) return absl::OkStatus();
  return FieldError(absl::StrCat("options.", field), "is for GenerationService alone; leave it out");
}

template <typename Request>
absl::StatusOr<CaptionRequest> ToCaptionRequest(const Request& request, const ModelStore& models) {
  if (absl::Status status = CheckModel(request.model(), ModelRole::kCaptioner, models); !status.ok()) return status;
  if (request.image().data().empty())
    return FieldError("image.data", "is empty; give the bytes of a JPEG, PNG, WebP or BMP file");
  if (absl::Status status = CheckLength("instruction", request.instruction().size(), kMaxInstructionBytes);
      !status.ok())
    return status;
  CaptionRequest result;
  auto options = ToOptions(request.options(), CaptionRequest::DefaultOptions(), models);
  if (!options.ok()) return options.status();
  if (absl::Status status = CheckForOneText(*options, request.options()); !status.ok()) return status;
  result.options = *std::move(options);
  result.image = request.image().data();
  result.instruction = request.instruction();
  return result;
}

absl::StatusOr<retrieval::Filter> ToFilter(const v1::Filter& filter) {
  if (filter.document_ids_size() > kMaxFilterIds) {
    return FieldError("filter.document_ids",
                      absl::StrCat("has ", filter.document_ids_size(), " entries; the limit is ", kMaxFilterIds));
  }
  retrieval::Filter result;
  result.source = filter.source();
  result.path_prefix = filter.path_prefix();
  result.document_ids.assign(filter.document_ids().begin(), filter.document_ids().end());
  result.metadata.insert(filter.metadata().begin(), filter.metadata().end());
  if (filter.has_where()) {
    absl::StatusOr<retrieval::Condition> where = FromProto(filter.where());
    if (!where.ok()) return where.status();
    result.where = *std::move(where);
  }
  return result;
}

absl::StatusOr<std::vector<EarlierTurn>> ToTurns(const google::protobuf::RepeatedPtrField<v1::Message>& messages) {
  if (messages.size() > kMaxTurns)
    return FieldError("conversation", absl::StrCat("has ", messages.size(), " entries; the limit is ", kMaxTurns));
  std::vector<EarlierTurn> turns;
  for (int i = 0; i < messages.size(); ++i) {
    const v1::Message& message = messages[i];
    const std::string field = absl::StrCat("conversation[", i, "]");
    if (message.role() != v1::ROLE_USER && message.role() != v1::ROLE_ASSISTANT)
      return FieldError(field + ".role", "is neither the user's nor the assistant's");
    std::string text;
    for (const v1::Part& part : message.parts()) {
      if (part.part_case() != v1::Part::kText) return FieldError(field + ".parts", "has a part that is no text");
      text += part.text();
    }
    if (absl::Status status = CheckLength(field, text.size(), kMaxQuestionBytes); !status.ok()) return status;
    if (message.role() == v1::ROLE_USER) {
      turns.push_back({std::move(text), ""});
    } else if (!turns.empty()) {
      turns.back().answer = std::move(text);
    }
  }
  return turns;
}

template <typename Request>
absl::StatusOr<AskRequest> ToAskRequest(const Request& request, const ModelStore& models) {
  if (absl::Status status = CheckModel(request.model(), ModelRole::kLanguage, models); !status.ok()) return status;
  if (request.question().empty()) return FieldError("question", "is empty; ask something");
  if (absl::Status status = CheckLength("question", request.question().size(), kMaxQuestionBytes); !status.ok())
    return status;
  AskRequest result;
  if (request.has_count()) result.count = request.count();
  if (result.count < 1 || result.count > 50)
    return FieldError("count", absl::StrCat("is ", result.count, "; its range is 1 to 50"));
  if (request.has_context_tokens()) result.context_tokens = request.context_tokens();
  if (result.context_tokens < 16 || result.context_tokens > 4096) {
    return FieldError("context_tokens", absl::StrCat("is ", result.context_tokens, "; its range is 16 to 4096"));
  }
  if (request.has_refuse_below()) {
    result.refuse_below = request.refuse_below();
    if (!(*result.refuse_below >= 0 && *result.refuse_below <= 1))
      return FieldError("refuse_below", absl::StrCat("is ", *result.refuse_below, "; its range is 0 to 1"));
  }
  auto options = ToOptions(request.options(), AskRequest::DefaultOptions(), models);
  if (!options.ok()) return options.status();
  if (absl::Status status = CheckForOneText(*options, request.options()); !status.ok()) return status;
  result.options = *std::move(options);
  auto filter = ToFilter(request.filter());
  if (!filter.ok()) return filter.status();
  result.filter = *std::move(filter);
  result.question = request.question();
  result.extractive = request.extractive();
  if (request.images_size() > kMaxQuestionImages) {
    return FieldError("images",
                      absl::StrCat("has ", request.images_size(), " entries; the limit is ", kMaxQuestionImages));
  }
  for (int i = 0; i < request.images_size(); ++i) {
    if (request.images(i).data().empty())
      return FieldError(absl::StrCat("images[", i, "].data"),
                        "is empty; give the bytes of a JPEG, PNG, WebP or BMP file");
    result.images.push_back(request.images(i).data());
  }
  if (request.has_rewrite()) result.rewrite = request.rewrite();
  auto turns = ToTurns(request.conversation());
  if (!turns.ok()) return turns.status();
  result.turns = *std::move(turns);
  return result;
}

absl::string_view RoleName(v1::Role role) {
  switch (role) {
    case v1::ROLE_SYSTEM:
      return "system";
    case v1::ROLE_USER:
      return "user";
    case v1::ROLE_ASSISTANT:
      return "assistant";
    default:
      return "";
  }
}

absl::Status ToMessages(const v1::Chat& chat, GenerateRequest& request) {
  std::vector<language::ChatMessage>& messages = request.messages;
  if (chat.messages_size() < 1 || chat.messages_size() > kMaxMessages) {
    return FieldError("chat.messages",
                      absl::StrCat("has ", chat.messages_size(), " entries; its range is 1 to ", kMaxMessages));
  }
  for (int i = 0; i < chat.messages_size(); ++i) {
    const std::string field = absl::StrCat("chat.messages[", i, "]");
    const v1::Message& message = chat.messages(i);
    const absl::string_view role = RoleName(message.role());
    if (role.empty()) return FieldError(field + ".role", "is missing; say who speaks");
    if (role == "system" && i > 0) return FieldError(field + ".role", "is the system's; only the first message may be");
    // A model may have had nothing to say.
    auto content = ReadParts(message.parts(), field + ".parts", request.images, /*may_be_empty=*/role == "assistant");
    if (!content.ok()) return content.status();
    messages.push_back({std::string(role), std::move(content->text), std::move(content->parts)});
  }
  if (messages.back().role != "user")
    return FieldError("chat.messages", "ends with another's words; the last message must be the user's");
  return absl::OkStatus();
}

template <typename Request>
absl::StatusOr<GenerateRequest> ToGenerateRequest(const Request& request, const ModelStore& models) {
  if (absl::Status status = CheckModel(request.model(), ModelRole::kLanguage, models); !status.ok()) return status;
  GenerateRequest result;
  auto options = ToOptions(request.options(), {}, models);
  if (!options.ok()) return options.status();
  if (request.options().has_adapter()) result.adapter = request.options().adapter();
  result.options = *std::move(options);
  switch (request.options().reasoning()) {
    case v1::REASONING_MODE_UNSPECIFIED:
    case v1::REASONING_MODE_INLINE:
      break;
    case v1::REASONING_MODE_SEPARATE:
      result.reasoning = ReasoningMode::kSeparate;
      break;
    case v1::REASONING_MODE_HIDDEN:
      if (result.options.top_logprobs >= 0 || result.options.explain > 0)
        return FieldError("options.reasoning",
                          "is REASONING_MODE_HIDDEN, but logprobs, top_logprobs and explain report the tokens of what "
                          "is hidden; leave them out, or take REASONING_MODE_SEPARATE");
      result.reasoning = ReasoningMode::kHidden;
      break;
    default:
      return FieldError("options.reasoning", absl::StrCat("is ", static_cast<int>(request.options().reasoning()),
                                                          ", which this server does not know"));
  }
  if (request.has_chat()) {
    if (absl::Status status = ToMessages(request.chat(), result); !status.ok()) return status;
    return result;
  }
  if (!request.has_prompt()) return FieldError("prompt", "is missing, and so is chat; give one of them");
  const v1::Prompt& prompt = request.prompt();
  if (prompt.token_ids_size() > 0) {
    if (prompt.parts_size() > 0)
      return FieldError("prompt.token_ids", "stands beside prompt.parts; give one of the two");
    result.prompt_tokens.assign(prompt.token_ids().begin(), prompt.token_ids().end());
    return result;
  }
  auto content = ReadParts(prompt.parts(), "prompt.parts", result.images);
  if (!content.ok()) return content.status();
  result.prompt = std::move(content->text);
  result.parts = std::move(content->parts);
  return result;
}

void Fill(v1::TokenLogprob& out, language::TokenId id, double logprob, std::string bytes) {
  out.set_id(id);
  out.set_logprob(logprob);
  out.set_text(ReadableText(bytes));
  out.set_bytes(std::move(bytes));
}

v1::ModelIdentity Identity(const std::string& name, const std::string& digest) {
  v1::ModelIdentity result;
  result.set_name(name);
  result.set_digest(digest);
  return result;
}

using TokenBytes = std::function<std::string(language::TokenId)>;

void Fill(google::protobuf::RepeatedPtrField<v1::TokenLogprob>& out, const std::vector<language::TokenLogprob>& tokens,
          const TokenBytes& bytes) {
  for (const language::TokenLogprob& token : tokens) {
    v1::TokenLogprob& each = *out.Add();
    Fill(each, token.id, token.logprob, bytes(token.id));
    for (const auto& [id, logprob] : token.top) Fill(*each.add_top(), id, logprob, bytes(id));
  }
}

TokenBytes BytesFrom(ModelStore& models) {
  return [generator = std::make_shared<TextGenerator>(models)](language::TokenId id) {
    return generator->TokenBytes(id).value_or("");
  };
}

// What every reply with a generation tells about it; `Reply` is one of the *Response messages.
template <typename Reply>
void FillGeneration(Reply& reply, const language::GenerationResult& result, ModelStore& models, double waited_ms) {
  reply.set_finish_reason(ToProto(result.finish_reason));
  reply.set_mean_logprob(result.mean_logprob);
  reply.set_seed(result.seed);
  Fill(*reply.mutable_logprobs(), result.logprobs, BytesFrom(models));
  v1::Usage& usage = *reply.mutable_usage();
  usage.set_image_tokens(Int32(result.image_tokens));
  usage.set_prompt_tokens(Int32(result.prompt_tokens));
  size_t output = result.sequences.empty() ? result.tokens.size() : 0;
  for (const language::GeneratedSequence& sequence : result.sequences) output += sequence.tokens.size();
  usage.set_output_tokens(Int32(output));
  v1::Timings& timings = *reply.mutable_timings();
  timings.set_queue_ms(result.queue_ms + waited_ms);
  timings.set_decode_ms(result.decode_ms);
  timings.set_encode_ms(result.encode_ms);
  timings.set_prefill_ms(result.prefill_ms);
  timings.set_generate_ms(result.generate_ms);
}

template <typename Reply>
void FillEvidence(Reply& reply, const AnswerResult& result) {
  reply.set_outcome(result.outcome == AnswerOutcome::kAnswered        ? v1::ANSWER_OUTCOME_ANSWERED
                    : result.outcome == AnswerOutcome::kLowConfidence ? v1::ANSWER_OUTCOME_LOW_CONFIDENCE
                                                                      : v1::ANSWER_OUTCOME_NO_ANSWER);
  for (const retrieval::ScoredChunk& chunk : result.sources) *reply.add_sources() = ToProto(chunk);
  for (const retrieval::ScoredChunk& chunk : result.dropped) *reply.add_dropped() = ToProto(chunk);
  for (const SupportingSentence& sentence : result.sentences) {
    v1::SupportingSentence& out = *reply.add_sentences();
    out.set_source(Int32(sentence.source));
    out.set_begin_byte(Int32(sentence.byte_begin));
    out.set_end_byte(Int32(sentence.byte_end));
    out.set_line(Int32(sentence.line));
    out.set_text(sentence.text);
    out.set_score(sentence.score);
  }
  reply.set_asked(result.asked);
  for (const std::string& caption : result.image_captions) reply.add_image_captions(caption);
  for (const DropReason reason : result.drop_reasons) {
    reply.add_drop_reasons(reason == DropReason::kNoRoom    ? v1::DROP_REASON_NO_ROOM
                           : reason == DropReason::kNotRead ? v1::DROP_REASON_NOT_READ
                                                            : v1::DROP_REASON_FITS_BADLY);
  }
}

void Fill(v1::AnswerSentence& out, const AnswerSentence& sentence, const AnswerResult& result) {
  out.set_begin_byte(Int32(static_cast<int64_t>(sentence.span.begin)));
  out.set_end_byte(Int32(static_cast<int64_t>(sentence.span.end)));
  out.set_text(result.text.substr(sentence.span.begin, sentence.span.size()));
  out.set_supported(sentence.supported);
  out.set_score(sentence.score);
  for (const SentenceCitation& citation : sentence.citations) {
    v1::Citation& to = *out.add_citations();
    const size_t sources = result.sources.size();
    const retrieval::ScoredChunk& chunk =
        citation.piece < sources ? result.sources[citation.piece] : result.dropped[citation.piece - sources];
    to.set_piece(Int32(static_cast<int64_t>(citation.piece)));
    to.set_document_id(chunk.document_id);
    to.set_path(chunk.path);
    to.set_place(chunk.place);
    to.set_line(Int32(citation.line));
    to.set_begin_byte(Int32(static_cast<int64_t>(citation.span.begin)));
    to.set_end_byte(Int32(static_cast<int64_t>(citation.span.end)));
    to.set_text(citation.text);
    to.set_score(citation.score);
  }
}

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

absl::StatusOr<CaptionRequest> FromProto(const v1::CaptionRequest& request, const ModelStore& models) {
  return ToCaptionRequest(request, models);
}
absl::StatusOr<CaptionRequest> FromProto(const v1::StreamCaptionRequest& request, const ModelStore& models) {
  return ToCaptionRequest(request, models);
}
absl::StatusOr<CaptionRequest> FromProto(const v1::CaptionImagesRequest& request, const ModelStore& models) {
  return ToCaptionRequest(request, models);
}
absl::StatusOr<AskRequest> FromProto(const v1::AskRequest& request, const ModelStore& models) {
  return ToAskRequest(request, models);
}
absl::StatusOr<AskRequest> FromProto(const v1::StreamAskRequest& request, const ModelStore& models) {
  return ToAskRequest(request, models);
}
absl::StatusOr<GenerateRequest> FromProto(const v1::GenerateRequest& request, const ModelStore& models) {
  return ToGenerateRequest(request, models);
}
absl::StatusOr<GenerateRequest> FromProto(const v1::StreamGenerateRequest& request, const ModelStore& models) {
  return ToGenerateRequest(request, models);
}

absl::StatusOr<ScoreRequest> FromProto(const v1::ScoreRequest& request, const ModelStore& models) {
  if (absl::Status status = CheckModel(request.model(), ModelRole::kLanguage, models); !status.ok()) return status;
  if (!request.prompt().empty() && request.prompt_token_ids_size() > 0)
    return FieldError("prompt_token_ids", "stands beside prompt; give one of the two");
  if (!request.completion().empty() && request.completion_token_ids_size() > 0)
    return FieldError("completion_token_ids", "stands beside completion; give one of the two");
  ScoreRequest result;
  if (request.has_adapter()) result.adapter = request.adapter();
  if (request.prompt_parts_size() > 0) {
    if (!request.prompt().empty() || request.prompt_token_ids_size() > 0)
      return FieldError("prompt_parts", "stands beside prompt or prompt_token_ids; give one of them");
    auto content = ReadParts(request.prompt_parts(), "prompt_parts", result.images);
    if (!content.ok()) return content.status();
    result.prompt = std::move(content->text);
    result.parts = std::move(content->parts);
  } else {
    result.prompt = request.prompt();
  }
  result.prompt_tokens.assign(request.prompt_token_ids().begin(), request.prompt_token_ids().end());
  result.completion = request.completion();
  result.completion_tokens.assign(request.completion_token_ids().begin(), request.completion_token_ids().end());
  return result;
}

absl::StatusOr<retrieval::Query> FromProto(const v1::SearchRequest& request) {
  if (request.query().empty()) return FieldError("query", "is empty; say what to look for");
  if (absl::Status status = CheckLength("query", request.query().size(), kMaxQuestionBytes); !status.ok())
    return status;
  retrieval::Query query;
  query.text = request.query();
  if (request.has_count()) query.count = request.count();
  if (query.count < 1 || query.count > 1000)
    return FieldError("count", absl::StrCat("is ", query.count, "; its range is 1 to 1000"));
  switch (request.mode()) {
    case v1::SEARCH_MODE_UNSPECIFIED:
    case v1::SEARCH_MODE_HYBRID:
      query.mode = retrieval::SearchMode::kBoth;
      break;
    case v1::SEARCH_MODE_LEXICAL:
      query.mode = retrieval::SearchMode::kWords;
      break;
    case v1::SEARCH_MODE_VECTOR:
      query.mode = retrieval::SearchMode::kMeaning;
      break;
    default:
      return FieldError("mode",
                        absl::StrCat("is ", static_cast<int>(request.mode()), ", which this server does not know"));
  }
  query.max_per_document = request.max_per_document();
  if (query.max_per_document < 0) return FieldError("max_per_document", "is below 0");
  query.neighbours = request.neighbours();
  if (query.neighbours < 0 || query.neighbours > retrieval::kMaxNeighbours)
    return FieldError("neighbours",
                      absl::StrCat("is ", query.neighbours, "; its range is 0 to ", retrieval::kMaxNeighbours));
  switch (request.fusion()) {
    case v1::FUSION_UNSPECIFIED:
    case v1::FUSION_WEIGHTED_SUM:
      query.fusion = retrieval::Fusion::kWeightedSum;
      break;
    case v1::FUSION_RECIPROCAL_RANK:
      query.fusion = retrieval::Fusion::kReciprocalRank;
      break;
    default:
      return FieldError("fusion",
                        absl::StrCat("is ", static_cast<int>(request.fusion()), ", which this server does not know"));
  }
  if (request.has_word_weight()) query.word_weight = request.word_weight();
  if (!(query.word_weight >= 0 && query.word_weight <= 1))
    return FieldError("word_weight", absl::StrCat("is ", query.word_weight, "; its range is 0 to 1"));
  if (request.has_word_weight() &&
      (query.mode != retrieval::SearchMode::kBoth || query.fusion != retrieval::Fusion::kWeightedSum))
    return FieldError("word_weight", "is given, but only the weighted sum of a hybrid search has weights");
  if (absl::Status status = TakeVector(request, query); !status.ok()) return status;
  auto filter = FromProto(request.filter());
  if (!filter.ok()) return filter.status();
  query.filter = *std::move(filter);
  return query;
}

absl::StatusOr<retrieval::Filter> FromProto(const v1::Filter& filter) { return ToFilter(filter); }

absl::Status CheckModel(const std::string& name, ModelRole role, const ModelStore& models) {
  if (name.empty()) return absl::OkStatus();
  if (name == models.Info(role).name) return absl::OkStatus();
  const absl::StatusOr<ModelInfo> info = models.Get(name);
  std::string message =
      info.ok() ? absl::StrCat("model \"", name, "\" is not for this call; use \"", models.Info(role).name, "\"")
                : std::string(info.status().message());
  return WithReason(WithField(absl::NotFoundError(message), "model"), "MODEL_NOT_FOUND");
}

v1::CaptionResponse ToProto(const CaptionResult& result, ModelStore& models, double waited_ms) {
  v1::CaptionResponse reply;
  reply.set_text(result.text);
  *reply.mutable_labels() = std::move(*ToProto(result.labels).mutable_labels());
  FillGeneration(reply, result.result, models, waited_ms);
  reply.mutable_timings()->set_decode_ms(result.decode_ms);
  reply.mutable_timings()->set_encode_ms(result.encode_ms);
  *reply.mutable_model() = ToIdentity(models.Info(ModelRole::kCaptioner));
  return reply;
}

v1::AskResponse ToProto(const AnswerResult& result, ModelStore& models, double waited_ms) {
  v1::AskResponse reply;
  if (result.outcome != AnswerOutcome::kNoAnswer && !result.extractive) {
    FillGeneration(reply, result.result, models, waited_ms);
    *reply.mutable_model() = ToIdentity(models.Info(ModelRole::kLanguage));
  } else {
    reply.mutable_usage();
    reply.mutable_timings()->set_queue_ms(waited_ms);
  }
  FillEvidence(reply, result);
  reply.set_text(result.text);
  reply.set_confidence(result.confidence);
  for (const AnswerSentence& sentence : result.support) Fill(*reply.add_support(), sentence, result);
  reply.mutable_timings()->set_decode_ms(result.decode_ms);
  reply.mutable_timings()->set_encode_ms(result.encode_ms);
  reply.set_refuse_below(result.refuse_below);
  reply.mutable_timings()->set_retrieve_ms(result.retrieve_ms);
  reply.mutable_timings()->set_support_ms(result.support_ms);
  *reply.mutable_embedder() = ToIdentity(models.Info(ModelRole::kEmbedder));
  return reply;
}

v1::AskSources ToSources(const AnswerResult& so_far) {
  v1::AskSources sources;
  FillEvidence(sources, so_far);
  return sources;
}

v1::GenerateResponse ToProto(const GeneratedText& result, ModelStore& models, double waited_ms) {
  v1::GenerateResponse reply;
  reply.set_text(result.text);
  reply.set_reasoning(result.result.reasoning);
  FillGeneration(reply, result.result, models, waited_ms);
  const TokenBytes bytes = BytesFrom(models);
  for (const language::GeneratedSequence& sequence : result.result.sequences) {
    v1::GeneratedSequence& out = *reply.add_sequences();
    out.set_text(sequence.text);
    out.set_reasoning(sequence.reasoning);
    out.set_finish_reason(ToProto(sequence.finish_reason));
    out.set_mean_logprob(sequence.mean_logprob);
    out.set_score(sequence.score);
    Fill(*out.mutable_logprobs(), sequence.logprobs, bytes);
    if (!result.result.hides_tokens) out.mutable_token_ids()->Assign(sequence.tokens.begin(), sequence.tokens.end());
  }
  std::string prompt;
  for (const language::TokenId id : result.result.prompt) prompt += bytes(id);
  reply.set_prompt_text(ReadableText(prompt));
  reply.mutable_prompt_token_ids()->Assign(result.result.prompt.begin(), result.result.prompt.end());
  Fill(*reply.mutable_prompt_logprobs(), result.result.prompt_logprobs, bytes);
  for (const language::SamplingStep& step : result.result.steps) {
    v1::SamplingStep& out = *reply.add_steps();
    out.set_chosen(step.chosen);
    for (const language::TokenId id : step.tokens) {
      v1::Token& token = *out.add_tokens();
      token.set_id(id);
      token.set_bytes(bytes(id));
      token.set_text(ReadableText(token.bytes()));
    }
    for (const language::SamplingStage& stage : step.stages) {
      v1::SamplingStage& to = *out.add_stages();
      to.set_rule(stage.rule);
      to.set_candidates(Int32(stage.candidates));
      to.mutable_probabilities()->Assign(stage.probabilities.begin(), stage.probabilities.end());
    }
  }
  *reply.mutable_model() = ToIdentity(models.Info(ModelRole::kLanguage));
  if (!result.result.adapter.empty())
    *reply.mutable_adapter() = Identity(result.result.adapter, result.result.adapter_digest);
  return reply;
}

v1::ScoreResponse ToProto(const CompletionScore& result, ModelStore& models, double waited_ms) {
  v1::ScoreResponse reply;
  reply.set_logprob(result.total_logprob);
  reply.set_mean_logprob(result.mean_logprob);
  for (size_t i = 0; i < result.tokens.size(); ++i) {
    Fill(*reply.add_tokens(), result.tokens[i].id, result.tokens[i].logprob,
         i < result.pieces.size() ? result.pieces[i] : "");
  }
  reply.mutable_usage()->set_image_tokens(Int32(result.image_tokens));
  reply.mutable_usage()->set_prompt_tokens(Int32(result.prompt_tokens));
  reply.mutable_usage()->set_output_tokens(Int32(result.tokens.size()));
  reply.mutable_timings()->set_queue_ms(waited_ms);
  reply.mutable_timings()->set_decode_ms(result.decode_ms);
  reply.mutable_timings()->set_encode_ms(result.encode_ms);
  reply.mutable_timings()->set_prefill_ms(result.prefill_ms);
  *reply.mutable_model() = ToIdentity(models.Info(ModelRole::kLanguage));
  if (!result.adapter.empty()) *reply.mutable_adapter() = Identity(result.adapter, result.adapter_digest);
  return reply;
}

v1::TokenizeResponse ToProto(const std::vector<Token>& tokens, ModelStore& models) {
  v1::TokenizeResponse reply;
  for (const Token& token : tokens) {
    v1::Token& out = *reply.add_tokens();
    out.set_id(token.id);
    out.set_text(ReadableText(token.piece));
    out.set_bytes(token.piece);
  }
  *reply.mutable_model() = ToIdentity(models.Info(ModelRole::kLanguage));
  return reply;
}

v1::DetokenizeResponse ToDetokenizeResponse(std::string text, ModelStore& models) {
  v1::DetokenizeResponse reply;
  reply.set_text(std::move(text));
  *reply.mutable_model() = ToIdentity(models.Info(ModelRole::kLanguage));
  return reply;
}

v1::EmbedResponse ToProto(const Embeddings& result, ModelStore& models, double waited_ms) {
  v1::EmbedResponse reply;
  reply.set_dimension(Int32(result.dimension));
  for (size_t begin = 0; begin + result.dimension <= result.values.size(); begin += result.dimension) {
    const auto row = result.values.begin() + begin;
    reply.add_embeddings()->mutable_values()->Assign(row, row + result.dimension);
  }
  reply.mutable_usage()->set_prompt_tokens(Int32(result.tokens));
  reply.mutable_timings()->set_queue_ms(waited_ms);
  reply.mutable_timings()->set_encode_ms(result.encode_ms);
  *reply.mutable_model() = ToIdentity(models.Info(ModelRole::kEmbedder));
  return reply;
}

v1::Labels ToProto(const std::vector<CaptionLabel>& labels) {
  v1::Labels result;
  for (const CaptionLabel& label : labels) {
    v1::Label& out = *result.add_labels();
    out.set_name(label.name);
    out.set_probability(label.probability);
  }
  return result;
}

v1::ScoredChunk ToProto(const retrieval::ScoredChunk& chunk) {
  v1::ScoredChunk result;
  result.set_document_id(chunk.document_id);
  result.set_source(chunk.source);
  result.set_path(chunk.path);
  result.set_title(chunk.title);
  result.set_heading_path(chunk.heading_path);
  result.set_begin_byte(Int32(chunk.span.begin));
  result.set_end_byte(Int32(chunk.span.end));
  result.set_line(Int32(chunk.line));
  result.set_text(chunk.text);
  result.set_score(chunk.score);
  result.set_lexical_score(chunk.word_score);
  result.set_vector_score(chunk.cosine);
  result.set_place(chunk.place);
  if (!chunk.box.empty()) {
    result.mutable_box()->set_left(chunk.box.left);
    result.mutable_box()->set_top(chunk.box.top);
    result.mutable_box()->set_width(chunk.box.width);
    result.mutable_box()->set_height(chunk.box.height);
  }
  const auto add = [](const std::vector<retrieval::NeighbourChunk>& chunks, auto& out) {
    for (const retrieval::NeighbourChunk& neighbour : chunks) {
      v1::NeighbourChunk& piece = *out.Add();
      piece.set_begin_byte(Int32(neighbour.span.begin));
      piece.set_end_byte(Int32(neighbour.span.end));
      piece.set_line(Int32(neighbour.line));
      piece.set_text(neighbour.text);
    }
  };
  add(chunk.before, *result.mutable_before());
  add(chunk.after, *result.mutable_after());
  return result;
}

v1::Document ToProto(const retrieval::DocumentInfo& document) {
  v1::Document result;
  result.set_id(document.id);
  result.set_source(document.source);
  result.set_path(document.path);
  result.set_title(document.title);
  result.set_text_bytes(Int32(document.bytes));
  result.set_chunks(Int32(document.chunks));
  result.set_digest(document.content_digest);
  result.set_language(document.language);
  result.mutable_metadata()->insert(document.metadata.begin(), document.metadata.end());
  return result;
}

v1::Document ToProto(const retrieval::Document& document) {
  v1::Document result;
  result.set_id(retrieval::DocumentId(document.source, document.path));
  result.set_source(document.source);
  result.set_path(document.path);
  result.set_title(document.title);
  result.set_text_bytes(Int32(document.text.size()));
  result.set_digest(document.content_digest);
  result.set_language(document.language);
  result.mutable_metadata()->insert(document.metadata.begin(), document.metadata.end());
  return result;
}

v1::PutState ToProto(retrieval::PutOutcome outcome) {
  switch (outcome) {
    case retrieval::PutOutcome::kAdded:
      return v1::PUT_STATE_ADDED;
    case retrieval::PutOutcome::kReplaced:
      return v1::PUT_STATE_REPLACED;
    case retrieval::PutOutcome::kUnchanged:
      return v1::PUT_STATE_UNCHANGED;
  }
  return v1::PUT_STATE_UNSPECIFIED;
}

v1::VerifyCollectionResponse ToProto(const retrieval::VerifyReport& report) {
  v1::VerifyCollectionResponse response;
  for (const retrieval::Damage& damage : report.damage) {
    v1::CollectionDamage& out = *response.add_damage();
    out.set_file(damage.file);
    out.set_description(damage.what);
  }
  response.set_generation(std::max<int64_t>(0, report.generation));
  response.set_documents(static_cast<int32_t>(report.documents));
  response.set_chunks(static_cast<int32_t>(report.chunks));
  response.set_pages(report.pages);
  response.set_segments(static_cast<int32_t>(report.segments));
  response.set_without_checksums(!report.page_checksums);
  return response;
}

v1::SnapshotCollectionResponse ToProto(const retrieval::SnapshotReport& report) {
  v1::SnapshotCollectionResponse response;
  response.set_generation(report.generation);
  response.set_documents(static_cast<int32_t>(report.documents));
  response.set_chunks(static_cast<int32_t>(report.chunks));
  response.set_linked_segments(static_cast<int32_t>(report.linked));
  response.set_copied_segments(static_cast<int32_t>(report.copied));
  return response;
}

v1::PutResult ToProto(const retrieval::SkippedFile& skipped) {
  v1::PutResult result;
  result.set_id(skipped.id);
  result.set_path(skipped.path);
  result.set_state(v1::PUT_STATE_REFUSED);
  *result.mutable_error() = ToRpcStatus(skipped.reason);
  return result;
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

v1::ModelIdentity ToIdentity(const ModelInfo& info) { return Identity(info.name, info.digest); }

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
