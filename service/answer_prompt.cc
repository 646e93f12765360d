#include "service/answer_prompt.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace blazon::service {

namespace {

// A line break would end its part for the model, so what ends a line by Unicode (TR 14's BK, CR, LF, NL and the
// separators of ASCII) becomes a space; white space runs become one.
std::string OnOneLine(std::string_view text) {
  std::string result =
      absl::StrReplaceAll(std::string(text), {{"\xc2\x85", " "}, {"\xe2\x80\xa8", " "}, {"\xe2\x80\xa9", " "}});
  std::replace_if(
      result.begin(), result.end(), [](char c) { return absl::ascii_isspace(c) || (c >= '\x1c' && c <= '\x1f'); }, ' ');
  absl::RemoveExtraAsciiWhitespace(&result);
  return result;
}

}  // namespace

AnswerPrompt BuildAnswerPrompt(std::string_view question, const std::vector<std::string>& sentences,
                               size_t max_sentences, int64_t context_tokens,
                               const std::function<int64_t(std::string_view)>& count_tokens) {
  AnswerPrompt prompt;
  std::string context;
  int64_t left = context_tokens;
  for (size_t i = 0; i < sentences.size() && prompt.used.size() < max_sentences; ++i) {
    const std::string sentence = OnOneLine(sentences[i]);
    const int64_t tokens = count_tokens(sentence) + 1;
    if (tokens > left) {
      prompt.dropped.push_back(i);
      continue;
    }
    left -= tokens;
    absl::StrAppend(&context, context.empty() ? "" : " ", sentence);
    prompt.used.push_back(i);
  }
  prompt.text = absl::StrCat("Context: ", context, "\nQuestion: ", OnOneLine(question), "\nAnswer:");
  return prompt;
}

std::string AnswerPassage(std::string_view title, std::string_view heading_path, std::string_view text) {
  std::string heading(title);
  if (!title.empty() && !heading_path.empty()) heading += " > ";
  heading += heading_path;
  return absl::StrCat("Context: ", OnOneLine(heading), heading.empty() ? "" : ": ", OnOneLine(text), "\n");
}

std::string AnswerQuestion(std::string_view question) {
  return absl::StrCat("Question: ", OnOneLine(question), "\nAnswer:");
}

}  // namespace blazon::service
