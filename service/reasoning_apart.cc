#include "service/reasoning_apart.h"

#include <utility>

namespace blazon::service {

ReasoningApart::ReasoningApart(bool open, bool hidden, int64_t sequences, std::shared_ptr<language::TextSink> next)
    : open_(open),
      hidden_(hidden),
      next_(std::move(next)),
      splitters_(static_cast<size_t>(sequences), language::ReasoningSplitter(open)) {}

bool ReasoningApart::OnText(std::string_view text) { return Pass(0, splitters_[0].Push(text)); }

bool ReasoningApart::OnSequenceText(int64_t index, std::string_view text) {
  return Pass(index, splitters_.at(static_cast<size_t>(index)).Push(text));
}

void ReasoningApart::OnDone(const absl::StatusOr<language::GenerationResult>& result) {
  if (!result.ok()) return next_->OnDone(result);
  for (size_t i = 0; i < splitters_.size(); ++i) Pass(static_cast<int64_t>(i), splitters_[i].Finish());
  absl::StatusOr<language::GenerationResult> apart = result;
  apart->reasoning = reasoning_;
  apart->hides_tokens = hidden_;
  for (language::GeneratedSequence& sequence : apart->sequences) {
    language::ReasoningSplitter::Pieces pieces = language::SplitReasoning(sequence.text, open_);
    sequence.text = std::move(pieces.answer);
    if (!hidden_) sequence.reasoning = std::move(pieces.reasoning);
  }
  next_->OnDone(apart);
}

bool ReasoningApart::Pass(int64_t index, const language::ReasoningSplitter::Pieces& pieces) {
  bool go_on = true;
  if (!pieces.reasoning.empty() && !hidden_) {
    if (index == 0) reasoning_ += pieces.reasoning;
    go_on = next_->OnReasoning(index, pieces.reasoning);
  }
  if (pieces.answer.empty()) return go_on;
  return (index == 0 ? next_->OnText(pieces.answer) : next_->OnSequenceText(index, pieces.answer)) && go_on;
}

}  // namespace blazon::service
