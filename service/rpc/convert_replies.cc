#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/rpc/convert.h"
#include "service/rpc/convert_fields.h"

namespace blazon::service::rpc {
namespace {

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

void Fill(v1::TokenLogprob& out, language::TokenId id, double logprob, std::string bytes) {
  out.set_id(id);
  out.set_logprob(logprob);
  out.set_text(ReadableText(bytes));
  out.set_bytes(std::move(bytes));
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
    *reply.mutable_adapter() = ToIdentity(result.result.adapter, result.result.adapter_digest);
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
  if (!result.adapter.empty()) *reply.mutable_adapter() = ToIdentity(result.adapter, result.adapter_digest);
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

}  // namespace blazon::service::rpc
