#include "service/passage_judge.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/answer_prompt.h"

namespace blazon::service {

Passage PassageAround(const retrieval::ScoredSentence& sentence, const retrieval::ScoredChunk& chunk,
                      int64_t neighbours, int64_t max_tokens, const language::Tokenizer& tokenizer) {
  const std::vector<retrieval::Span> spans = retrieval::SplitSentences(chunk.text);
  const size_t offset = chunk.span.begin;
  const auto passage = [&](retrieval::Span span) {
    Passage result{AnswerPassage(chunk.title, chunk.heading_path,
                                 std::string_view(chunk.text).substr(span.begin - offset, span.size())),
                   span};
    if (static_cast<int64_t>(tokenizer.Encode(result.text).size()) > max_tokens) result.text.clear();
    return result;
  };
  const auto own = std::find_if(spans.begin(), spans.end(), [&](const retrieval::Span& span) {
    return span.begin + offset == sentence.span.begin;
  });
  if (own != spans.end()) {
    const auto first = own - std::min<int64_t>(neighbours, own - spans.begin());
    const auto last = own + std::min<int64_t>(neighbours, spans.end() - own - 1);
    Passage result = passage({first->begin + offset, last->end + offset});
    if (!result.text.empty()) return result;
  }
  return passage(sentence.span);
}

std::vector<language::TokenId> AnswerTokens(const language::Tokenizer& tokenizer, const std::string& passage,
                                            std::string_view question) {
  std::vector<language::TokenId> tokens = tokenizer.Encode(passage);
  const std::vector<language::TokenId> asked = tokenizer.Encode(AnswerQuestion(question));
  tokens.insert(tokens.end(), asked.begin(), asked.end());
  return tokens;
}

absl::StatusOr<std::vector<double>> JudgePassages(const language::LanguageModel& model,
                                                  const language::Adapter& adapter,
                                                  const language::Tokenizer& tokenizer, std::string_view question,
                                                  absl::Span<const std::string> passages) {
  std::vector<double> odds;
  if (passages.empty()) return odds;
  const language::TokenId refusal = tokenizer.Encode(absl::StrCat(" ", std::string(kNotStated))).front();
  try {
    const c10::InferenceMode inference;
    std::vector<language::ModelInput> batch;
    std::vector<int64_t> ends;
    int64_t rows = 0;
    for (const std::string& passage : passages) {
      const std::vector<language::TokenId> tokens = AnswerTokens(tokenizer, passage, question);
      const std::vector<int64_t> ids(tokens.begin(), tokens.end());
      if (static_cast<int64_t>(ids.size()) > model.config().context_length) {
        return absl::InvalidArgumentError(absl::StrCat("a passage has ", ids.size(), " tokens with the question; the ",
                                                       "model's context is ", model.config().context_length));
      }
      batch.push_back({.tokens = at::tensor(at::ArrayRef<int64_t>(ids), at::kLong), .adapter = &adapter});
      ends.push_back((rows += static_cast<int64_t>(ids.size())) - 1);
    }
    const at::Tensor hidden = model.Forward(batch);  // [N, D]
    const at::Tensor rows_at = at::tensor(at::ArrayRef<int64_t>(ends), at::kLong).to(hidden.device());
    const at::Tensor last = hidden.index_select(0, rows_at);  // [B, D]
    const at::Tensor refused =
        at::log_softmax(model.Logits(last.contiguous()), -1).select(1, refusal).cpu().contiguous();  // [B]
    for (int64_t i = 0; i < refused.size(0); ++i) {
      const double log_no = std::min<double>(refused.const_data_ptr<float>()[i], -1e-9);
      odds.push_back(std::log(-std::expm1(log_no)) - log_no);
    }
  } catch (const c10::Error&) {
    return absl::InternalError("the language model failed while judging passages; is there enough memory?");
  }
  return odds;
}

}  // namespace blazon::service
