#include "language/prompt_checks.h"

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

// In order, apart from one another, within a prompt of `length` tokens.
absl::Status CheckSpans(const std::vector<TokenSpan>& spans, int64_t length) {
  int64_t free = 0;
  for (const TokenSpan& span : spans) {
    if (span.begin < free || span.end <= span.begin || span.end > length) {
      return absl::InvalidArgumentError(absl::StrCat("bidirectional span [", span.begin, ", ", span.end,
                                                     ") does not lie behind the one before it and within the ", length,
                                                     " tokens of the prompt"));
    }
    free = span.end;
  }
  return absl::OkStatus();
}

}  // namespace

int64_t PartLength(const PromptPart& part) {
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&part)) return static_cast<int64_t>(tokens->size());
  return std::get<at::Tensor>(part).size(0);
}

absl::Status CheckMemory(const Prompt& prompt) {
  const int64_t pictures = std::count_if(
      prompt.begin(), prompt.end(), [](const PromptPart& part) { return std::holds_alternative<at::Tensor>(part); });
  if (pictures != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt has ", pictures, " pictures; this model writes about one picture at a time"));
  }
  if (!std::holds_alternative<at::Tensor>(prompt.front()))
    return absl::InvalidArgumentError("prompt has text before its picture; this model takes the picture first");
  const int64_t memory = std::get<at::Tensor>(prompt.front()).size(0);
  int64_t length = 0;
  for (const PromptPart& part : prompt) length += PartLength(part);
  if (memory == 0 || memory == length)
    return absl::InvalidArgumentError("prompt has no picture tokens or no text tokens; this model takes both");
  return absl::OkStatus();
}

absl::Status CheckPrompt(const GenerationRequest& request, const LanguageModelConfig& config) {
  const Prompt& prompt = request.prompt;
  const int64_t image_width = config.memory_width > 0 ? config.memory_width : config.width;
  int64_t length = 0, image_tokens = 0;
  for (const PromptPart& part : prompt) {
    if (const auto* tokens = std::get_if<std::vector<TokenId>>(&part)) {
      for (const TokenId id : *tokens) {
        if (id < 0 || id >= config.vocabulary_size) {
          return absl::InvalidArgumentError(
              absl::StrCat("prompt has token ", id, "; ids are 0 to ", config.vocabulary_size - 1));
        }
      }
      length += static_cast<int64_t>(tokens->size());
    } else {
      const at::Tensor& image = std::get<at::Tensor>(part);
      if (!image.defined() || image.dim() != 2 || image.size(1) != image_width || !image.is_floating_point()) {
        return absl::InvalidArgumentError(
            absl::StrCat("prompt has image tokens of a wrong shape; they must be [tokens, ", image_width, "]"));
      }
      length += image.size(0);
      image_tokens += image.size(0);
    }
  }
  if (length == 0) return absl::InvalidArgumentError("prompt is empty; give at least one token");
  if (length >= config.context_length) {
    const std::string pictures =
        image_tokens > 0 ? absl::StrCat(", ", image_tokens, " of them for its pictures") : std::string();
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt has ", length, " tokens", pictures, "; the model's context has ", config.context_length,
        " and one must be left for the answer. Give a shorter prompt", image_tokens > 0 ? " or fewer pictures." : "."));
  }
  if (config.memory_width > 0) {
    if (absl::Status status = CheckMemory(prompt); !status.ok()) return status;
  }
  return CheckSpans(request.bidirectional, length);
}

absl::Status CheckPromptScores(const GenerationRequest& request) {
  if (request.options.prompt_logprobs < 0) return absl::OkStatus();
  int64_t begin = 0;
  for (const PromptPart& part : request.prompt) {
    const auto* tokens = std::get_if<std::vector<TokenId>>(&part);
    const int64_t end = begin + PartLength(part);
    for (const TokenSpan& span : request.bidirectional) {
      if (tokens == nullptr || span.begin >= end || span.end <= begin) continue;
      return absl::InvalidArgumentError(
          "prompt_logprobs cannot be given: in this model the words of a prompt see one another in both directions");
    }
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace blazon::language
