#include "service/text_generator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/text_embedder.h"
#include "service/language_runtime.h"
#include "service/milliseconds_since.h"

namespace blazon::service {
namespace {

constexpr size_t kMaxPromptBytes = 4u << 20;
constexpr size_t kMaxTokenizeBytes = 8u << 20;
constexpr size_t kMaxEmbedTexts = 1024;
constexpr int64_t kScoreChunk = 256;  // tokens of one forward pass: bounds the memory that logits take

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

absl::StatusOr<std::vector<language::TokenId>> EncodeRequest(const GenerateRequest& request,
                                                             const LoadedLanguageModel& loaded) {
  size_t bytes = request.prompt.size();
  for (const language::ChatMessage& message : request.messages) bytes += message.content.size();
  if (absl::Status status = CheckBytes("prompt", bytes, kMaxPromptBytes); !status.ok()) return status;
  if (!request.messages.empty()) {
    if (!loaded.chat_template.ok()) return loaded.chat_template.status();
    auto tokens = loaded.chat_template->Render(request.messages, true, *loaded.tokenizer);
    if (!tokens.ok()) return tokens.status();
    if (absl::Status status = CheckRows("chat", *tokens, loaded); !status.ok()) return status;
    return tokens;
  }
  if (request.prompt.empty() && request.prompt_tokens.empty()) {
    return absl::InvalidArgumentError("prompt is empty; give at least one character");
  }
  return TokensOf("prompt", request.prompt, request.prompt_tokens, loaded, loaded.tokenizer->prefix());
}

absl::StatusOr<language::GenerationRequest> ToScheduler(const GenerateRequest& request,
                                                        const LoadedLanguageModel& loaded) {
  absl::StatusOr<std::vector<language::TokenId>> tokens = EncodeRequest(request, loaded);
  if (!tokens.ok()) return tokens.status();
  language::GenerationRequest result;
  result.prompt = {*std::move(tokens)};
  result.options = request.options;
  result.deadline = request.deadline;
  return result;
}

// Log-probability of each of tokens[first..], given all tokens before it. tokens: [T] with T <= context.
std::vector<language::TokenLogprob> ScoreTokens(const language::LanguageModel& model,
                                                const std::vector<language::TokenId>& tokens, int64_t first) {
  c10::InferenceMode guard;
  const std::vector<int64_t> ids(tokens.begin(), tokens.end());
  const at::Tensor all = at::tensor(at::ArrayRef<int64_t>(ids), at::kLong);  // [T]
  const int64_t count = all.size(0);
  std::unique_ptr<language::ModelState> state = model.NewState();
  std::vector<language::TokenLogprob> scores;
  for (int64_t begin = 0; begin < count - 1; begin += kScoreChunk) {
    const int64_t end = std::min(begin + kScoreChunk, count - 1);  // the last token predicts nothing that is scored
    const language::ModelInput input{.tokens = all.slice(0, begin, end), .state = state.get()};
    const at::Tensor hidden = model.Forward({&input, 1});  // [end - begin, D]
    const int64_t from = std::max(begin, first - 1);       // the row that predicts tokens[first]
    if (from >= end) continue;
    const at::Tensor logprobs =
        at::log_softmax(model.Logits(hidden.slice(0, from - begin, end - begin).contiguous()), -1);  // [n, V]
    const at::Tensor chosen =
        logprobs.gather(1, all.slice(0, from + 1, end + 1).unsqueeze(1)).squeeze(1).contiguous();  // [n]
    for (int64_t row = 0; row < chosen.size(0); ++row) {
      scores.push_back({.id = tokens[from + 1 + row], .logprob = chosen.const_data_ptr<float>()[row], .top = {}});
    }
  }
  return scores;
}

}  // namespace

absl::StatusOr<CancelFunction> TextGenerator::Start(const GenerateRequest& request,
                                                    std::shared_ptr<language::TextSink> sink) {
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  absl::StatusOr<language::GenerationRequest> prepared = ToScheduler(request, (*runtime)->loaded);
  if (!prepared.ok()) return prepared.status();
  prepared->sink = std::move(sink);
  return (*runtime)->scheduler->Submit(*std::move(prepared));
}

absl::StatusOr<GeneratedText> TextGenerator::Generate(const GenerateRequest& request) {
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  absl::StatusOr<language::GenerationRequest> prepared = ToScheduler(request, (*runtime)->loaded);
  if (!prepared.ok()) return prepared.status();
  auto generated = (*runtime)->scheduler->Generate(*std::move(prepared));
  if (!generated.ok()) return generated.status();
  return GeneratedText{std::move(generated->first), std::move(generated->second)};
}

absl::StatusOr<CompletionScore> TextGenerator::Score(const ScoreRequest& request) {
  if (absl::Status status = CheckBytes("prompt", request.prompt.size(), kMaxPromptBytes); !status.ok()) return status;
  if (absl::Status status = CheckBytes("completion", request.completion.size(), kMaxPromptBytes); !status.ok())
    return status;
  absl::StatusOr<LanguageRuntime*> runtime = models_.Language();
  if (!runtime.ok()) return runtime.status();
  const LoadedLanguageModel& loaded = (*runtime)->loaded;

  auto encoded = TokensOf("prompt", request.prompt, request.prompt_tokens, loaded, loaded.tokenizer->prefix());
  if (!encoded.ok()) return encoded.status();
  const auto answer = TokensOf("completion", request.completion, request.completion_tokens, loaded);
  if (!answer.ok()) return answer.status();
  std::vector<language::TokenId> tokens = *std::move(encoded);
  if (answer->empty()) return absl::InvalidArgumentError("completion is empty; give at least one character");
  const int64_t prompt_tokens = tokens.size();
  tokens.insert(tokens.end(), answer->begin(), answer->end());
  const int64_t context = loaded.model->config().context_length;
  if (static_cast<int64_t>(tokens.size()) > context) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and completion have ", tokens.size(),
                                                   " tokens together; the model's context has ", context,
                                                   ". Give less text."));
  }

  CompletionScore score;
  score.prompt_tokens = prompt_tokens;
  const auto start = std::chrono::steady_clock::now();
  try {
    score.tokens = ScoreTokens(*loaded.model, tokens, std::max<int64_t>(prompt_tokens, 1));
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
