#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "service/rpc/convert.h"
#include "service/rpc/convert_fields.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr size_t kMaxPromptBytes = 4u << 20;
constexpr size_t kMaxInstructionBytes = 4096;
constexpr int kMaxMessages = 1024;
constexpr size_t kMaxImages = 64;
constexpr int kMaxQuestionImages = 4, kMaxTurns = 64;

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
  auto filter = FromProto(request.filter());
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

}  // namespace

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

}  // namespace blazon::service::rpc
