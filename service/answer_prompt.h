// The prompt that asks a small language model to answer from the sentences it is shown.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace blazon::service {

struct AnswerPrompt {
  std::string text;
  std::vector<size_t> used;     // indices of the sentences that are in it, in the order given
  std::vector<size_t> dropped;  // those that did not fit the budget
};

// A completion prompt: context, question, and the beginning of the answer, which ends at the first line break.
// SmolLM2-135M reads it better than a chat turn or worked examples (measured on tests/reference/dev_questions.tsv).
// `sentences`: best first; the best that fit into `context_tokens` are used, at most `max_sentences`. A sentence is
// never cut.
AnswerPrompt BuildAnswerPrompt(std::string_view question, const std::vector<std::string>& sentences,
                               size_t max_sentences, int64_t context_tokens,
                               const std::function<int64_t(std::string_view)>& count_tokens);

// What the answering adapter is trained on and asked with (assets/answerer): a passage with what it stands under, then
// a question. The two are tokenised apart: several questions may share a passage's keys and values.
std::string AnswerPassage(std::string_view title, std::string_view heading_path, std::string_view text);
std::string AnswerQuestion(std::string_view question);
// Its answer, after a space, when the passage has none.
inline constexpr std::string_view kNotStated = "not stated";

}  // namespace blazon::service
