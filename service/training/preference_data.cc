#include "service/training/preference_data.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/training/example_texts.h"

namespace blazon::service {
namespace {

using language::TrainingExample;
using nlohmann::json;

absl::Status BadPair(const std::string& what) { return absl::InvalidArgumentError(what); }

// The prompt with one completion. Only the completion is learned, and nothing stands behind its end.
absl::StatusOr<TrainingExample> WithCompletion(const json& pair, const char* name, const LoadedLanguageModel& model) {
  const absl::StatusOr<std::string> completion = TextMember(pair, name);
  if (!completion.ok()) return completion.status();
  absl::StatusOr<TrainingExample> text;
  if (pair.contains("messages")) {
    absl::StatusOr<std::vector<language::ChatMessage>> messages = MessagesMember(pair);
    if (!messages.ok()) return messages.status();
    if (messages->empty() || messages->back().role == "assistant")
      return BadPair("\"messages\" has to end with the message that is answered");
    messages->push_back({.role = "assistant", .content = *completion});
    text = ConversationExample(*messages, model);
  } else {
    const absl::StatusOr<std::string> prompt = TextMember(pair, "prompt");
    if (!prompt.ok()) return prompt.status();
    text = CompletionExample(*prompt, *completion, model, /*end_token=*/true);
  }
  if (!text.ok()) return text.status();
  while (!text->learned.back()) {
    text->learned.pop_back();
    text->tokens.pop_back();
  }
  // Earlier turns of the assistant's are part of the prompt.
  const auto begin = std::find(text->learned.rbegin(), text->learned.rend(), 0).base();
  std::fill(text->learned.begin(), begin, 0);
  if (std::ssize(text->tokens) > model.model->config().context_length) {
    return BadPair(absl::StrCat("the prompt with \"", name, "\" has ", text->tokens.size(),
                                " tokens; the model's context has ", model.model->config().context_length));
  }
  return text;
}

// The pair, whatever its length.
absl::StatusOr<TrainingExample> ParsePair(std::string_view line, const LoadedLanguageModel& model) {
  const json pair = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!pair.is_object()) return BadPair("the line is no JSON object in UTF-8");
  if (pair.contains("messages") == pair.contains("prompt"))
    return BadPair("it has to have either \"prompt\" or \"messages\"");
  const absl::Status members = pair.contains("messages") ? CheckMembers(pair, {"messages", "chosen", "rejected"})
                                                         : CheckMembers(pair, {"prompt", "chosen", "rejected"});
  if (!members.ok()) return members;
  const absl::StatusOr<TrainingExample> chosen = WithCompletion(pair, "chosen", model);
  if (!chosen.ok()) return chosen.status();
  const absl::StatusOr<TrainingExample> rejected = WithCompletion(pair, "rejected", model);
  if (!rejected.ok()) return rejected.status();
  if (chosen->tokens == rejected->tokens)
    return BadPair("\"chosen\" and \"rejected\" are the same; there is nothing to prefer");
  const auto first_learned = [](const TrainingExample& text) {
    return std::find(text.learned.begin(), text.learned.end(), 1) - text.learned.begin();
  };
  int64_t common = std::min(first_learned(*chosen), first_learned(*rejected));
  common = std::mismatch(chosen->tokens.begin(), chosen->tokens.begin() + common, rejected->tokens.begin()).first -
           chosen->tokens.begin();
  if (common == 0) return BadPair("the two texts differ from the first token on");
  TrainingExample joined;
  joined.tokens.assign(chosen->tokens.begin(), chosen->tokens.begin() + common);
  joined.learned.assign(static_cast<size_t>(common), 0);
  for (const TrainingExample* text : {&*chosen, &*rejected}) {
    const int64_t begin = std::ssize(joined.tokens);
    joined.tokens.insert(joined.tokens.end(), text->tokens.begin() + common, text->tokens.end());
    joined.learned.insert(joined.learned.end(), text->learned.begin() + common, text->learned.end());
    joined.branches.push_back({begin, std::ssize(joined.tokens)});
  }
  if (absl::Status status = CheckRows(joined.tokens, model); !status.ok()) return status;
  return joined;
}

absl::Status CheckPairLength(const TrainingExample& pair, const PreferenceDataOptions& options) {
  if (std::ssize(pair.tokens) <= options.max_tokens) return absl::OkStatus();
  return BadPair(absl::StrCat("the pair has ", pair.tokens.size(), " tokens, more than --row-tokens ",
                              options.max_tokens, "; raise it, or leave such pairs out with --skip-long"));
}

}  // namespace

absl::StatusOr<TrainingExample> ParsePreference(std::string_view line, const LoadedLanguageModel& model,
                                                const PreferenceDataOptions& options) {
  absl::StatusOr<TrainingExample> pair = ParsePair(line, model);
  if (!pair.ok()) return pair.status();
  if (absl::Status status = CheckPairLength(*pair, options); !status.ok()) return status;
  return pair;
}

absl::StatusOr<PreferenceData> ReadPreferenceData(const std::vector<std::filesystem::path>& files,
                                                  const LoadedLanguageModel& model,
                                                  const PreferenceDataOptions& options) {
  PreferenceData data;
  const absl::Status read = ForEachLine(files, [&](std::string_view line) -> absl::Status {
    absl::StatusOr<TrainingExample> pair = ParsePair(line, model);
    if (!pair.ok()) return pair.status();
    if (absl::Status status = CheckPairLength(*pair, options); !status.ok()) {
      if (!options.skip_long) return status;
      ++data.skipped;
      return absl::OkStatus();
    }
    data.tokens += std::ssize(pair->tokens);
    data.pairs.push_back(*std::move(pair));
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  if (data.pairs.empty()) {
    return BadPair(absl::StrCat("there is no pair to learn from",
                                data.skipped > 0 ? absl::StrCat(": all ", data.skipped, " are too long") : ""));
  }
  return data;
}

std::string DescribePairs(const char* name, const PreferenceData& data, int64_t row_tokens) {
  return absl::StrFormat(
      "%s: %d pairs, %d tokens%s", name, data.pairs.size(), data.tokens,
      data.skipped > 0 ? absl::StrFormat("; %d pairs left out, over %d tokens", data.skipped, row_tokens) : "");
}

}  // namespace blazon::service
