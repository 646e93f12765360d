#include "service/answer_prompt.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace blazon::service {

AnswerPrompt BuildAnswerPrompt(std::string_view question, const std::vector<std::string>& sentences,
                               size_t max_sentences, int64_t context_tokens,
                               const std::function<int64_t(std::string_view)>& count_tokens) {
  AnswerPrompt prompt;
  std::string context;
  int64_t left = context_tokens;
  for (size_t i = 0; i < sentences.size() && prompt.used.size() < max_sentences; ++i) {
    // A line break would end the context for the model.
    const std::string sentence = absl::StrReplaceAll(sentences[i], {{"\n", " "}});
    const int64_t tokens = count_tokens(sentence) + 1;
    if (tokens > left) {
      prompt.dropped.push_back(i);
      continue;
    }
    left -= tokens;
    absl::StrAppend(&context, context.empty() ? "" : " ", sentence);
    prompt.used.push_back(i);
  }
  prompt.text = absl::StrCat("Context: ", context,
                             "\nQuestion: ", absl::StrReplaceAll(std::string(question), {{"\n", " "}}), "\nAnswer:");
  return prompt;
}

}  // namespace blazon::service
