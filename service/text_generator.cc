#include "service/text_generator.h"

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <future>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "language/completion_score.h"
#include "language/encodes_prompt.h"
#include "language/prompt_checks.h"
#include "language/reasoning.h"
#include "language/text_embedder.h"
#include "service/families/checkpoint_family.h"
#include "service/families/vision_language_models.h"
#include "service/language_runtime.h"
#include "service/milliseconds_since.h"
#include "service/reasoning_apart.h"
#include "vision/decode_image.h"

namespace blazon::service {
namespace {

constexpr size_t kMaxPromptBytes = 4u << 20;
constexpr size_t kMaxImages = 64;
constexpr size_t kMaxTokenizeBytes = 8u << 20;
constexpr size_t kMaxEmbedTexts = 1024;

// Null: the model continues its prompt.
const language::EncodesPrompt* EncoderOf(const LoadedLanguageModel& loaded) {
  return dynamic_cast<const language::EncodesPrompt*>(loaded.model.get());
}

// Ends a prompt as the model expects it; returns the spans that its tokens see one another in.
std::vector<language::TokenSpan> AddStart(const language::EncodesPrompt& encoder,
                                          std::vector<language::TokenId>* prompt) {
  const auto source = static_cast<int64_t>(prompt->size());
  prompt->push_back(encoder.start_token());
  return {{0, source}};
}

absl::Status CheckBytes(absl::string_view field, size_t bytes, size_t limit) {
  if (bytes <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " has ", bytes, " bytes; the limit is ", limit, ". Give less text."));
}

absl::Status CheckTokenId(language::TokenId id, const language::Tokenizer& tokenizer) {
  if (id >= 0 && id < tokenizer.vocabulary_size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("token id ", id, " is out of range; the vocabulary has ids 0 to ", tokenizer.vocabulary_size() - 1));
}

// A tokenizer may know tokens that the model has no row for.
absl::Status CheckRows(absl::string_view field, const std::vector<language::TokenId>& tokens,
                       const LoadedLanguageModel& loaded) {
  const int64_t vocabulary = loaded.model->config().vocabulary_size;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < vocabulary) continue;
    return absl::InvalidArgumentError(absl::StrCat(field, " token ", i, " has id ", tokens[i],
                                                   ", which is out of range; the vocabulary has ids 0 to ",
                                                   vocabulary - 1));
  }
  return absl::OkStatus();
}

// The tokens of a text that may be given as tokens. Those of a text to write on from stand behind what the model
// expects at the beginning of every text; given ones are taken as they are.
absl::StatusOr<std::vector<language::TokenId>> TokensOf(absl::string_view field, const std::string& text,
                                                        const std::vector<language::TokenId>& given,
                                                        const LoadedLanguageModel& loaded,
                                                        absl::Span<const language::TokenId> prefix = {}) {
  std::vector<language::TokenId> tokens = given;
  if (tokens.empty()) {
    tokens.assign(prefix.begin(), prefix.end());
    const std::vector<language::TokenId> encoded = loaded.tokenizer->Encode(text);
    tokens.insert(tokens.end(), encoded.begin(), encoded.end());
  }
  if (absl::Status status = CheckRows(field, tokens, loaded); !status.ok()) return status;
  return tokens;
}

size_t TextBytes(const std::vector<language::ChatPart>& parts) {
  size_t bytes = 0;
  for (const language::ChatPart& part : parts) bytes += part.text.size();
  return bytes;
}

absl::Status CheckPictures(size_t pictures) {
  if (pictures <= kMaxImages) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the prompt has ", pictures, " pictures; the limit is ", kMaxImages));
}

// What needs no model to be refused.
absl::Status CheckRequest(const GenerateRequest& request) {
  size_t bytes = request.prompt.size() + TextBytes(request.parts);
  for (const language::ChatMessage& message : request.messages)
    bytes += message.content.size() + TextBytes(message.parts);
  if (absl::Status status = CheckBytes("prompt", bytes, kMaxPromptBytes); !status.ok()) return status;
  return CheckPictures(request.images.size());
}

absl::StatusOr<std::vector<language::TokenId>> EncodeRequest(const GenerateRequest& request,
                                                             const LoadedLanguageModel& loaded) {
  if (!request.messages.empty()) {
    if (!loaded.chat_template.ok()) return loaded.chat_template.status();
    auto tokens = loaded.chat_template->Render(request.messages, true, *loaded.tokenizer);
    if (!tokens.ok()) return tokens.status();
    if (absl::Status status = CheckRows("chat", *tokens, loaded); !status.ok()) return status;
    return tokens;
  }
  std::string prompt = request.prompt;
  for (const language::ChatPart& part : request.parts) prompt += part.text;
  if (prompt.empty() && request.prompt_tokens.empty()) {
    return absl::InvalidArgumentError("prompt is empty; give at least one character");
  }
  return TokensOf("prompt", prompt, request.prompt_tokens, loaded, loaded.tokenizer->prefix());
}

// Passes all on, with what the pictures took and the adapter's name beside it.
class WithPreparation : public language::TextSink {
 public:
  WithPreparation(double decode_ms, double encode_ms, const AdapterInfo& adapter,
                  std::shared_ptr<language::TextSink> next)
      : decode_ms_(decode_ms),
        encode_ms_(encode_ms),
        adapter_(adapter.name),
        adapter_digest_(adapter.digest),
        next_(std::move(next)) {}
  bool OnText(std::string_view text) override { return next_->OnText(text); }
  bool OnSequenceText(int64_t index, std::string_view text) override { return next_->OnSequenceText(index, text); }
  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override {
    absl::StatusOr<language::GenerationResult> complete = result;
    if (complete.ok()) {
      complete->decode_ms = decode_ms_;
      complete->encode_ms = encode_ms_;
      complete->adapter = adapter_;
      complete->adapter_digest = adapter_digest_;
    }
    next_->OnDone(complete);
  }

 private:
  const double decode_ms_, encode_ms_;
  const std::string adapter_, adapter_digest_;
  const std::shared_ptr<language::TextSink> next_;
};

// Gathers a generation for who waits for it.
class GenerationWait : public language::TextSink {
 public:
  bool OnText(std::string_view text) override {
    text_ += text;
    return true;
  }
  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override {
    if (!result.ok()) return promise_.set_value(result.status());
    promise_.set_value(GeneratedText{std::move(text_), *result});
  }
  absl::StatusOr<GeneratedText> Get() { return promise_.get_future().get(); }

 private:
  std::string text_;
  std::promise<absl::StatusOr<GeneratedText>> promise_;
};

// A request with its pictures read.
struct Pictures {
  std::vector<EncodedImage> encoded;
  double decode_ms = 0, encode_ms = 0;
};

absl::StatusOr<Pictures> ReadPictures(const std::vector<std::string>& files, const LanguageRuntime& runtime) {
  Pictures pictures;
  if (files.empty()) return pictures;
  if (runtime.pictures == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        runtime.loaded.name, " is a model of text and takes no pictures; name a vision-language model (",
        absl::StrJoin(VisionLanguageModelTypes(), ", "), " or nanoVLM) with --model, or leave the pictures out"));
  }
  auto start = std::chrono::steady_clock::now();
  std::vector<vision::Image> images;
  for (const std::string& bytes : files) {
    absl::StatusOr<vision::Image> image = vision::DecodeImage(bytes);
    if (!image.ok()) {
      return absl::Status(image.status().code(),
                          absl::StrCat("image ", images.size() + 1, ": ", image.status().message()));
    }
    images.push_back(*std::move(image));
  }
  pictures.decode_ms = MillisecondsSince(start);
  start = std::chrono::steady_clock::now();
  absl::StatusOr<std::vector<EncodedImage>> encoded = runtime.pictures->Encode(images);
  if (!encoded.ok()) return encoded.status();
  pictures.encoded = *std::move(encoded);
  pictures.encode_ms = MillisecondsSince(start);
  return pictures;
}

// The plain prompt of a vision-language model, with pictures or without: of a GenerateRequest or a ScoreRequest.
template <typename Request>
absl::StatusOr<language::Prompt> LayOutPrompt(const Request& request, const Pictures& pictures,
                                              const LanguageRuntime& runtime) {
  const CheckpointFamily& family = *runtime.pictures;
  if (!request.prompt_tokens.empty()) {
    if (absl::Status status = CheckRows("prompt", request.prompt_tokens, runtime.loaded); !status.ok()) return status;
    return family.LayOutTokens(pictures.encoded, request.prompt_tokens);
  }
  if (!request.parts.empty()) return family.LayOut(pictures.encoded, request.parts);
  const language::ChatPart text = {.kind = language::ChatPart::Kind::kText, .text = request.prompt};
  return family.LayOut(pictures.encoded, {&text, 1});
}

absl::StatusOr<language::Prompt> LayOut(const GenerateRequest& request, const Pictures& pictures,
                                        const LanguageRuntime& runtime) {
  if (!request.messages.empty()) return runtime.pictures->LayOutChat(pictures.encoded, request.messages);
  if (request.prompt_tokens.empty() && request.parts.empty() && request.prompt.empty()) {
    return absl::InvalidArgumentError("prompt is empty; give at least one character or a picture");
  }
  return LayOutPrompt(request, pictures, runtime);
}

// What a completion is scored after; empty: nothing.
absl::StatusOr<language::Prompt> ScoredPrompt(const ScoreRequest& request, const Pictures& pictures,
                                              const LanguageRuntime& runtime) {
  if (runtime.pictures != nullptr) return LayOutPrompt(request, pictures, runtime);
  const LoadedLanguageModel& loaded = runtime.loaded;
  std::string prompt = request.prompt;
  for (const language::ChatPart& part : request.parts) prompt += part.text;
  auto tokens = TokensOf("prompt", prompt, request.prompt_tokens, loaded, loaded.tokenizer->prefix());
  if (!tokens.ok()) return tokens.status();
  return tokens->empty() ? language::Prompt() : language::Prompt{*std::move(tokens)};
}

// Whether the prompt ends with an opened span of reasoning.
bool OpensReasoning(const language::Prompt& prompt, const language::Tokenizer& tokenizer) {
  constexpr size_t kTokens = 24;  // the mark, letter by letter, and white space
  if (prompt.empty()) return false;
  const auto* const last = std::get_if<std::vector<language::TokenId>>(&prompt.back());
  if (last == nullptr) return false;
  const auto tokens = absl::MakeConstSpan(*last);
  return language::OpensReasoning(
      tokenizer.Decode(tokens.subspan(tokens.size() - std::min(tokens.size(), kTokens)), /*skip_special=*/false));
}

absl::StatusOr<language::GenerationRequest> ToScheduler(const GenerateRequest& request, const LanguageRuntime& runtime,
                                                        const ChosenAdapter& adapter,
                                                        std::shared_ptr<language::TextSink> sink) {
  if (absl::Status status = CheckRequest(request); !status.ok()) return status;
  const language::LanguageModelConfig& config = runtime.loaded.model->config();
  if (absl::Status status = language::Validate(request.options, config.vocabulary_size, config.context_length);
      !status.ok()) {
    return status;
  }
  const absl::StatusOr<Pictures> pictures = ReadPictures(request.images, runtime);
  if (!pictures.ok()) return pictures.status();
  language::GenerationRequest result;
  const language::EncodesPrompt* const encoder = EncoderOf(runtime.loaded);
  if (runtime.pictures != nullptr) {
    absl::StatusOr<language::Prompt> prompt = LayOut(request, *pictures, runtime);
    if (!prompt.ok()) return prompt.status();
    result.prompt = *std::move(prompt);
    result.bidirectional = runtime.pictures->Spans(result.prompt);
  } else {
    absl::StatusOr<std::vector<language::TokenId>> tokens = EncodeRequest(request, runtime.loaded);
    if (!tokens.ok()) return tokens.status();
    if (encoder != nullptr) result.bidirectional = AddStart(*encoder, &*tokens);
    result.prompt = {*std::move(tokens)};
  }
  result.options = request.options;
  result.adapter = adapter.weights;
  result.begins_text = !request.messages.empty() || encoder != nullptr;
  result.deadline = request.deadline;
  result.sink = std::move(sink);
  if (request.reasoning != ReasoningMode::kInline) {
    result.sink = std::make_shared<ReasoningApart>(OpensReasoning(result.prompt, *runtime.loaded.tokenizer),
                                                   request.reasoning == ReasoningMode::kHidden,
                                                   request.options.num_sequences, std::move(result.sink));
  }
  if (!request.images.empty() || adapter.weights != nullptr) {
    result.sink = std::make_shared<WithPreparation>(pictures->decode_ms, pictures->encode_ms, adapter.info,
                                                    std::move(result.sink));
  }
  return result;
}

}  // namespace

absl::StatusOr<CancelFunction> TextGenerator::Start(const GenerateRequest& request,
                                                    std::shared_ptr<language::TextSink> sink) {
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  const absl::StatusOr<ChosenAdapter> adapter = models_.adapters().Choose(request.adapter);
  if (!adapter.ok()) return adapter.status();
  absl::StatusOr<language::GenerationRequest> prepared = ToScheduler(request, **runtime, *adapter, std::move(sink));
  if (!prepared.ok()) return prepared.status();
  return (*runtime)->scheduler->Submit(*std::move(prepared));
}

absl::StatusOr<GeneratedText> TextGenerator::Generate(const GenerateRequest& request) {
  auto wait = std::make_shared<GenerationWait>();
  const absl::StatusOr<CancelFunction> started = Start(request, wait);
  if (!started.ok()) return started.status();
  return wait->Get();
}

absl::StatusOr<CompletionScore> TextGenerator::Score(const ScoreRequest& request) {
  for (const absl::Status& status :
       {CheckBytes("prompt", request.prompt.size() + TextBytes(request.parts), kMaxPromptBytes),
        CheckBytes("completion", request.completion.size(), kMaxPromptBytes), CheckPictures(request.images.size())}) {
    if (!status.ok()) return status;
  }
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  const absl::StatusOr<ChosenAdapter> adapter = models_.adapters().Choose(request.adapter);
  if (!adapter.ok()) return adapter.status();
  const LoadedLanguageModel& loaded = (*runtime)->loaded;
  const language::LanguageModelConfig& config = loaded.model->config();

  const absl::StatusOr<Pictures> pictures = ReadPictures(request.images, **runtime);
  if (!pictures.ok()) return pictures.status();
  absl::StatusOr<language::Prompt> prompt = ScoredPrompt(request, *pictures, **runtime);
  if (!prompt.ok()) return prompt.status();
  const auto completion = TokensOf("completion", request.completion, request.completion_tokens, loaded);
  if (!completion.ok()) return completion.status();
  if (completion->empty()) return absl::InvalidArgumentError("completion is empty; give at least one character");
  language::GenerationRequest read;
  if (const language::EncodesPrompt* const encoder = EncoderOf(loaded)) {
    if (prompt->empty()) return absl::InvalidArgumentError("prompt is empty; this model reads one before it writes");
    read.bidirectional = AddStart(*encoder, &std::get<std::vector<language::TokenId>>(prompt->front()));
  }
  if (config.memory_width > 0) {
    if (absl::Status status = language::CheckMemory(*prompt); !status.ok()) return status;
  }
  CompletionScore score;
  score.decode_ms = pictures->decode_ms;
  score.encode_ms = pictures->encode_ms;
  for (const language::PromptPart& part : *prompt) {
    score.prompt_tokens += language::PartLength(part);
    if (std::holds_alternative<at::Tensor>(part)) score.image_tokens += language::PartLength(part);
  }
  const int64_t length = score.prompt_tokens + static_cast<int64_t>(completion->size());
  if (length > config.context_length) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt and completion have ", length, " tokens together; the model's context has ",
                     config.context_length, ". Give less text", request.images.empty() ? "." : " or fewer pictures."));
  }

  const auto start = std::chrono::steady_clock::now();
  if ((*runtime)->pictures != nullptr) read.bidirectional = (*runtime)->pictures->Spans(*prompt);
  read.prompt = *std::move(prompt);
  read.adapter = adapter->weights;
  score.adapter = adapter->info.name;
  score.adapter_digest = adapter->info.digest;
  try {
    score.tokens = language::ScoreCompletion(*loaded.model, *loaded.tokenizer, std::move(read), *completion);
  } catch (const c10::Error&) {
    return absl::InternalError("the language model failed while scoring; is there enough memory?");
  }
  score.prefill_ms = MillisecondsSince(start);
  for (const language::TokenLogprob& token : score.tokens) {
    score.pieces.push_back(loaded.tokenizer->TokenBytes(token.id));
    score.total_logprob += token.logprob;
  }
  if (!score.tokens.empty()) score.mean_logprob = score.total_logprob / static_cast<double>(score.tokens.size());
  return score;
}

absl::StatusOr<std::vector<Token>> TextGenerator::Tokenize(std::string_view text) {
  if (absl::Status status = CheckBytes("text", text.size(), kMaxTokenizeBytes); !status.ok()) return status;
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  const language::Tokenizer& tokenizer = *(*runtime)->loaded.tokenizer;
  std::vector<Token> tokens;
  for (language::TokenId id : tokenizer.Encode(text)) tokens.push_back({id, tokenizer.TokenBytes(id)});
  return tokens;
}

absl::StatusOr<std::string> TextGenerator::Detokenize(absl::Span<const language::TokenId> ids) {
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  const language::Tokenizer& tokenizer = *(*runtime)->loaded.tokenizer;
  for (language::TokenId id : ids) {
    if (absl::Status status = CheckTokenId(id, tokenizer); !status.ok()) return status;
  }
  return tokenizer.Decode(ids, /*skip_special=*/true);
}

absl::StatusOr<std::string> TextGenerator::TokenBytes(language::TokenId id) {
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  const language::Tokenizer& tokenizer = *(*runtime)->loaded.tokenizer;
  if (absl::Status status = CheckTokenId(id, tokenizer); !status.ok()) return status;
  return tokenizer.TokenBytes(id);
}

absl::StatusOr<Embeddings> TextGenerator::Embed(absl::Span<const std::string> texts) {
  if (texts.empty()) return absl::InvalidArgumentError("texts is empty; give at least one text");
  if (texts.size() > kMaxEmbedTexts) {
    return absl::InvalidArgumentError(
        absl::StrCat("texts has ", texts.size(), " entries; the limit is ", kMaxEmbedTexts));
  }
  absl::StatusOr<const language::TextEmbedder*> embedder = models_.Embedder();
  if (!embedder.ok()) return embedder.status();
  Embeddings embeddings;
  embeddings.dimension = (*embedder)->dimension();
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string field = absl::StrCat("texts[", i, "]");
    if (texts[i].empty())
      return absl::InvalidArgumentError(absl::StrCat(field, " is empty; give at least one character"));
    if (absl::Status status = CheckBytes(field, texts[i].size(), kMaxPromptBytes); !status.ok()) return status;
    const int64_t tokens = (*embedder)->CountTokens(texts[i]);
    if (tokens > (*embedder)->max_tokens()) {
      return absl::InvalidArgumentError(absl::StrCat(field, " has ", tokens, " tokens; the embedder takes ",
                                                     (*embedder)->max_tokens(), ". Cut the text into pieces."));
    }
    embeddings.tokens += tokens;
  }
  absl::StatusOr<std::vector<float>> values = (*embedder)->Embed(texts);
  if (!values.ok()) return values.status();
  embeddings.values = *std::move(values);
  embeddings.encode_ms = MillisecondsSince(start);
  return embeddings;
}

}  // namespace blazon::service
