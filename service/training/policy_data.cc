#include "service/training/policy_data.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "language/reasoning.h"
#include "service/training/example_texts.h"

namespace blazon::service {
namespace {

using nlohmann::json;

absl::Status BadPrompt(const std::string& what) { return absl::InvalidArgumentError(what); }

std::string Stripped(std::string_view text) {
  return std::string(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
}

absl::StatusOr<PolicyPrompt> ParsePrompt(std::string_view line, const LoadedLanguageModel& model,
                                         const PolicyDataOptions& options) {
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return BadPrompt("the line is no JSON object in UTF-8");
  if (absl::Status status = CheckMembers(value, {"prompt", "messages", "answer", "pattern"}); !status.ok())
    return status;
  absl::StatusOr<std::vector<language::TokenId>> tokens = PromptTokens(value, model);
  if (!tokens.ok()) return tokens.status();
  PolicyPrompt prompt{.tokens = *std::move(tokens), .answer = {}, .pattern = nullptr};
  const int64_t context = model.model->config().context_length;
  // One more for the token that ends the text.
  if (std::ssize(prompt.tokens) + options.max_new_tokens + 1 > context) {
    return BadPrompt(absl::StrCat("the prompt has ", prompt.tokens.size(), " tokens, and with --max-new-tokens ",
                                  options.max_new_tokens, " and the end of the text it is longer than the context, ",
                                  context));
  }
  if (value.contains("answer") && value.contains("pattern")) return BadPrompt("it has both \"answer\" and \"pattern\"");
  if (value.contains("pattern")) {
    const absl::StatusOr<std::string> pattern = TextMember(value, "pattern");
    if (!pattern.ok()) return pattern.status();
    absl::StatusOr<language::Regex> regex = language::Regex::Create({.text = *pattern, .regex = true});
    if (!regex.ok()) return regex.status();
    prompt.pattern = std::make_shared<const language::Regex>(*std::move(regex));
  } else if (value.contains("answer")) {
    const absl::StatusOr<std::string> answer = TextMember(value, "answer");
    if (!answer.ok()) return answer.status();
    prompt.answer = Stripped(*answer);
    if (prompt.answer->empty()) return BadPrompt("\"answer\" is empty");
  } else if (!options.judged) {
    return BadPrompt("it has neither \"answer\" nor \"pattern\"; give one, or a reward model with --reward-model");
  }
  return prompt;
}

}  // namespace

absl::StatusOr<std::vector<PolicyPrompt>> ReadPolicyData(const std::vector<std::filesystem::path>& files,
                                                         const LoadedLanguageModel& model,
                                                         const PolicyDataOptions& options) {
  std::vector<PolicyPrompt> prompts;
  const absl::Status read = ForEachLine(files, [&](std::string_view line) -> absl::Status {
    absl::StatusOr<PolicyPrompt> prompt = ParsePrompt(line, model, options);
    if (!prompt.ok()) return prompt.status();
    prompts.push_back(*std::move(prompt));
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  if (prompts.empty()) return BadPrompt("there is no prompt to learn from");
  return prompts;
}

double ScoreCompletion(const PolicyPrompt& prompt, std::string_view completion, bool finished,
                       const ScorerOptions& options) {
  const language::ReasoningSplitter::Pieces pieces = language::SplitReasoning(completion);
  std::vector<language::TextSpan> spans;
  const std::string& said = pieces.answer;
  bool right = false;
  if (prompt.pattern != nullptr) {
    prompt.pattern->Split(said, &spans);
    for (const language::TextSpan& span : spans) right |= span.matched;
  } else if (prompt.answer) {
    std::string answer = said;
    if (options.answer_pattern != nullptr) {
      answer.clear();
      options.answer_pattern->Split(said, &spans);
      for (const language::TextSpan& span : spans) {
        if (span.matched) answer = said.substr(span.begin, span.end - span.begin);
      }
    }
    right = Stripped(answer) == *prompt.answer;
  }
  const bool reasoned = !pieces.reasoning.empty() && completion.find(language::kReasoningEnd) != std::string_view::npos;
  return (right && finished ? 1.0 : 0.0) + (reasoned ? options.reasoning_score : 0.0) -
         (finished ? 0.0 : options.unfinished_penalty);
}

}  // namespace blazon::service
